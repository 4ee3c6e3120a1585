#include "ops/cases.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ops/case_runner.h"

namespace realm {
namespace {

template <size_t... kIndex>
std::vector<std::string> all_op_names(std::index_sequence<kIndex...>) {
  return {op_name(Op(std::in_place_index<kIndex>))...};
}

TEST(Cases, EveryOpHasSomeAndEachIsWellFormed) {
  std::map<std::string, int> by_op;
  std::set<std::string> names;
  for (const CaseRow& row : check_cases()) {
    EXPECT_TRUE(names.insert(row.op + "/" + row.name).second) << row.op << " " << row.name;
    const OpCase made = row.make();
    EXPECT_EQ(row.op, op_name(made.op)) << row.name;
    ++by_op[op_name(made.op)];
    const Status status = check_op(made.op);
    EXPECT_TRUE(status.ok()) << row.name << ": " << status.error().message;
  }
  for (const std::string& name :
       all_op_names(std::make_index_sequence<std::variant_size_v<Op>>())) {
    EXPECT_GE(by_op[name], 2) << name;
  }
}

TEST(Cases, TheSameSeedMakesTheSameBytes) {
  for (const CaseRow& row : check_cases()) {
    if (row.op == "matmul") continue;  // many, and made by the same builder
    const OpCase a = row.make(), b = row.make();
    ASSERT_EQ(a.tensors.size(), b.tensors.size());
    for (size_t i = 0; i < a.tensors.size(); ++i) {
      EXPECT_TRUE(a.tensors[i].initial == b.tensors[i].initial) << row.op << " " << row.name;
    }
  }
}

// A backend that does what the test says, on host memory.
class Fake final : public Backend {
 public:
  explicit Fake(std::function<void(const Add&)> body) : body_(std::move(body)) {}
  std::string name() const override { return "fake"; }
  Result<Buffer> allocate(size_t size) override {
    auto* memory = new std::byte[size]();
    return Buffer{std::shared_ptr<std::byte>(memory, [](std::byte* p) { delete[] p; }), size};
  }
  Status upload(std::byte* to, std::span<const std::byte> from) override {
    std::copy(from.begin(), from.end(), to);
    return {};
  }
  Status download(std::span<std::byte> to, const std::byte* from) override {
    std::copy(from, from + to.size(), to.begin());
    return {};
  }
  Result<TensorView> import_weight(const TensorView& host) override { return host; }
  Result<std::string> support(const Op&) const override { return std::string("fake"); }
  Status run(std::span<const Op> ops) override {
    for (const Op& op : ops) body_(std::get<Add>(op));
    return {};
  }

 private:
  std::function<void(const Add&)> body_;
};

float* row_of(const TensorView& view, int64_t row) {
  return reinterpret_cast<float*>(view.data + row * view.stride[0]);
}

void add_rows(const Add& op) {
  for (int64_t r = 0; r < op.a.dim(0); ++r) {
    for (int64_t c = 0; c < op.a.dim(1); ++c) {
      row_of(op.out, r)[c] = row_of(op.a, r)[c] + row_of(op.b, r)[c];
    }
  }
}

TEST(CaseRunner, FindsWrongValuesAndStrayWrites) {
  const CaseRow* strided = nullptr;
  for (const CaseRow& row : check_cases()) {
    if (row.op == "add" && row.name == "two tensors, dim 15") strided = &row;
  }
  ASSERT_NE(strided, nullptr);
  const OpCase op_case = strided->make();
  Fake right(add_rows);
  const auto expected = run_case(op_case, right).value();
  const auto difference = [&](const std::function<void(const Add&)>& body, double tolerance) {
    Fake backend(body);
    return find_difference(op_case, expected, run_case(op_case, backend).value(), tolerance);
  };
  EXPECT_EQ(difference(add_rows, 0), std::nullopt);
  EXPECT_EQ(difference(add_rows, 1e-6), std::nullopt);
  const auto slightly_off = [](const Add& op) {
    add_rows(op);
    row_of(op.out, 2)[7] += 1e-4f;
  };
  EXPECT_NE(difference(slightly_off, 0), std::nullopt);
  EXPECT_NE(difference(slightly_off, 1e-6), std::nullopt);
  EXPECT_EQ(difference(slightly_off, 1e-2), std::nullopt);
  const auto not_a_number = [](const Add& op) {
    add_rows(op);
    row_of(op.out, 0)[0] = std::numeric_limits<float>::quiet_NaN();
  };
  EXPECT_NE(difference(not_a_number, 1e-2), std::nullopt);
  const auto past_the_row = [](const Add& op) {
    add_rows(op);
    row_of(op.out, 1)[15] = 0.0f;
  };
  EXPECT_NE(difference(past_the_row, 0), std::nullopt);
  EXPECT_NE(difference(past_the_row, 1e-2), std::nullopt);
  const auto into_an_input = [](const Add& op) {
    add_rows(op);
    row_of(op.b, 3)[3] = 0.0f;
  };
  EXPECT_NE(difference(into_an_input, 1e-2), std::nullopt);
}

}  // namespace
}  // namespace realm
