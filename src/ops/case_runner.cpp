#include "ops/case_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

size_t index_of(const OpCase& op_case, const TensorView& view) {
  const auto address = reinterpret_cast<uintptr_t>(view.data);
  const auto after =
      std::upper_bound(op_case.tensors.begin(), op_case.tensors.end(), address,
                       [](uintptr_t a, const CaseTensor& tensor) { return a < tensor.address; });
  CHECK(after != op_case.tensors.begin());
  return static_cast<size_t>(after - op_case.tensors.begin()) - 1;
}

// Calls f(byte offset within the view) for each row of the innermost dimension.
template <typename F>
void for_each_row(const TensorView& view, F&& f) {
  for (int64_t row = 0; row < view.num_rows(); ++row) {
    int64_t rest = row, offset = 0;
    for (int d = view.rank - 2; d >= 0; --d) {
      offset += rest % view.shape[d] * view.stride[d];
      rest /= view.shape[d];
    }
    f(static_cast<size_t>(offset));
  }
}

size_t bytes_of_row(const TensorView& view) {
  if (view.dtype == DType::kI32) return static_cast<size_t>(view.last_dim()) * sizeof(int32_t);
  const BlockFormat* format = find_block_format(view.dtype);
  CHECK(format != nullptr);  // ops write floats, cache types and 32-bit ids
  return row_bytes(*format, view.last_dim());
}

// What an op leaves in memory that it is lent to work in is its own affair.
bool is_working_memory(const Op& op, const TensorView& view) {
  const auto* sample = std::get_if<SampleTokens>(&op);
  return sample != nullptr && sample->work.data == view.data;
}

// Ids are right or wrong, whatever the tolerance of values is.
std::optional<std::string> compare_ids(const TensorView& view, size_t start,
                                       const std::vector<std::byte>& expected,
                                       const std::vector<std::byte>& actual) {
  std::optional<std::string> wrong;
  int64_t row = 0;
  for_each_row(view, [&](size_t offset) {
    const size_t size = bytes_of_row(view);
    if (!wrong &&
        std::memcmp(expected.data() + start + offset, actual.data() + start + offset, size) != 0) {
      wrong = "row " + std::to_string(row) + ": other ids";
    }
    ++row;
  });
  return wrong;
}

std::optional<std::string> compare_values(const TensorView& view, size_t start,
                                          const std::vector<std::byte>& expected,
                                          const std::vector<std::byte>& actual, double tolerance) {
  if (view.dtype == DType::kI32) return compare_ids(view, start, expected, actual);
  const BlockFormat& format = *find_block_format(view.dtype);
  const auto columns = static_cast<size_t>(view.last_dim());
  std::vector<float> e(columns), a(columns);
  double sum = 0;
  for_each_row(view, [&](size_t offset) {
    format.decode(expected.data() + start + offset, e.data(), view.last_dim());
    for (const float value : e) sum += static_cast<double>(value) * static_cast<double>(value);
  });
  const double limit =
      tolerance * std::sqrt(sum / static_cast<double>(std::max<int64_t>(1, view.num_elements())));
  std::optional<std::string> wrong;
  int64_t row = 0;
  for_each_row(view, [&](size_t offset) {
    format.decode(expected.data() + start + offset, e.data(), view.last_dim());
    format.decode(actual.data() + start + offset, a.data(), view.last_dim());
    for (size_t c = 0; c < columns && !wrong; ++c) {
      const double difference = std::fabs(static_cast<double>(a[c]) - static_cast<double>(e[c]));
      if (difference <= limit) continue;  // false for NaN
      wrong = "row " + std::to_string(row) + ", column " + std::to_string(c) + ": " +
              std::to_string(a[c]) + " instead of " + std::to_string(e[c]) + " (limit " +
              std::to_string(limit) + ")";
    }
    ++row;
  });
  return wrong;
}

}  // namespace

Result<PlacedCase> PlacedCase::place(const OpCase& op_case, Backend& backend) {
  PlacedCase placed(op_case, backend);
  placed.op_ = op_case.op;
  placed.weights_.resize(op_case.tensors.size());
  for (size_t i = 0; i < op_case.tensors.size(); ++i) {
    const CaseTensor& tensor = op_case.tensors[i];
    constexpr size_t kAlignment = 64;
    const size_t size = tensor.initial.size() + tensor.misalignment + kAlignment;
    if (tensor.is_weight) {
      std::vector<std::byte>& memory = placed.weights_[i];
      memory.resize(size);
      const size_t past = reinterpret_cast<uintptr_t>(memory.data()) % kAlignment;
      std::byte* data = memory.data() + (kAlignment - past) % kAlignment + tensor.misalignment;
      std::copy(tensor.initial.begin(), tensor.initial.end(), data);
      placed.addresses_.push_back(data);
    } else {
      const Buffer buffer = TRY(backend.allocate(size));
      const size_t past = reinterpret_cast<uintptr_t>(buffer.data.get()) % kAlignment;
      std::byte* data = buffer.data.get() + (kAlignment - past) % kAlignment + tensor.misalignment;
      TRY(backend.upload(data, tensor.initial));
      placed.buffers_.push_back(buffer);
      placed.addresses_.push_back(data);
    }
  }
  Status status;
  for_each_tensor(placed.op_, [&](TensorView& view, bool) {
    const auto address = reinterpret_cast<uintptr_t>(view.data);
    if (address < op_case.tensors.front().address || !status.ok()) return;
    const size_t index = index_of(op_case, view);
    view.data = placed.addresses_[index] + (address - op_case.tensors[index].address);
    if (!op_case.tensors[index].is_weight) return;
    auto imported = backend.import_weight(view);
    if (!imported.ok()) {
      status = imported.error();
    } else {
      view = *imported;
    }
  });
  if (!status.ok()) return status.error();
  return placed;
}

Result<std::vector<std::vector<std::byte>>> PlacedCase::download() const {
  std::vector<std::vector<std::byte>> result;
  for (size_t i = 0; i < case_->tensors.size(); ++i) {
    std::vector<std::byte>& bytes = result.emplace_back();
    if (case_->tensors[i].is_weight) continue;
    bytes.resize(case_->tensors[i].initial.size());
    TRY(backend_->download(bytes, addresses_[i]));
  }
  return result;
}

Result<std::vector<std::vector<std::byte>>> run_case(const OpCase& op_case, Backend& backend) {
  PlacedCase placed = TRY(PlacedCase::place(op_case, backend));
  TRY(placed.run());
  return placed.download();
}

std::optional<std::string> find_difference(const OpCase& op_case,
                                           const std::vector<std::vector<std::byte>>& expected,
                                           const std::vector<std::vector<std::byte>>& actual,
                                           double tolerance) {
  std::vector<std::vector<bool>> may_change;
  for (const CaseTensor& tensor : op_case.tensors) may_change.emplace_back(tensor.initial.size());
  std::optional<std::string> wrong;
  Op op = op_case.op;
  for_each_tensor(op, [&](TensorView& view, bool written) {
    if (!written || wrong) return;
    const size_t index = index_of(op_case, view);
    const size_t start = reinterpret_cast<uintptr_t>(view.data) - op_case.tensors[index].address;
    const size_t row_size = view.num_elements() == 0 ? 0 : bytes_of_row(view);
    for_each_row(view, [&](size_t offset) {
      const auto begin = may_change[index].begin() + static_cast<ptrdiff_t>(start + offset);
      std::fill(begin, begin + static_cast<ptrdiff_t>(row_size), true);
    });
    if (tolerance > 0 && !is_working_memory(op, view))
      wrong = compare_values(view, start, expected[index], actual[index], tolerance);
  });
  if (wrong) return wrong;
  for (size_t i = 0; i < op_case.tensors.size(); ++i) {
    if (op_case.tensors[i].is_weight) continue;
    for (size_t b = 0; b < actual[i].size(); ++b) {
      const std::byte was = op_case.tensors[i].initial[b];
      const bool changed_wrongly = !may_change[i][b] && actual[i][b] != was;
      const bool differs = tolerance == 0 && actual[i][b] != expected[i][b];
      if (!changed_wrongly && !differs) continue;
      return "tensor " + std::to_string(i) + ", byte " + std::to_string(b) +
             (changed_wrongly ? " was written and belongs to no output" : " differs");
    }
  }
  return std::nullopt;
}

}  // namespace realm
