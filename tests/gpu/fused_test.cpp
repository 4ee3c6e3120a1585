// Prepared programs, whose ops run in groups and are recorded, against the same ops one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "backends/cuda/cuda_backend.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

constexpr int64_t kHidden = 512;

// K-quants have rows of whole blocks of 256; of the others, one that is not.
int64_t ffn_of(DType type) {
  return find_block_format(type)->block_elements == 256 ? 1280 : 800;
}

std::vector<float> random_floats(int64_t count, float scale, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

// A feed-forward with its norm: [tokens, kHidden] to [tokens, kHidden], added to what is there.
class FeedForward {
 public:
  static Result<std::unique_ptr<FeedForward>> make(Backend& backend, DType type, int64_t tokens,
                                                   Activation activation) {
    std::unique_ptr<FeedForward> self(new FeedForward(backend, tokens));
    const int64_t ffn = ffn_of(type);
    const TensorView x = TRY(self->tensor({tokens, kHidden}));
    const TensorView normed = TRY(self->tensor({tokens, kHidden}));
    const TensorView gate = TRY(self->tensor({tokens, ffn}));
    const TensorView up = TRY(self->tensor({tokens, ffn}));
    self->out_ = TRY(self->tensor({tokens, kHidden}));
    self->x_ = x;
    const TensorView scale = TRY(self->weight(DType::kF32, 1, kHidden, 1)).reshaped({kHidden});
    self->ops_.push_back(RmsNorm{.x = x, .weight = scale, .out = normed});
    MatMul first;
    first.x = normed;
    first.num_parts = 2;
    first.parts[0] = {.weight = TRY(self->weight(type, ffn, kHidden, 2)), .bias = {}, .out = gate};
    first.parts[1] = {.weight = TRY(self->weight(type, ffn, kHidden, 3)), .bias = {}, .out = up};
    self->ops_.push_back(first);
    self->ops_.push_back(
        GatedActivation{.gate = gate, .up = up, .out = gate, .activation = activation});
    MatMul second;
    second.x = gate;
    second.accumulate = true;
    second.parts[0] = {
        .weight = TRY(self->weight(type, kHidden, ffn, 4)), .bias = {}, .out = self->out_};
    self->ops_.push_back(second);
    return self;
  }

  std::span<const Op> ops() const { return ops_; }
  // Of one run from the same start.
  template <typename Run>
  Result<std::vector<float>> outputs(Run&& run) {
    const std::vector<float> x = random_floats(tokens_ * kHidden, 1.0f, 5);
    TRY(backend_.upload(x_.data, std::as_bytes(std::span(x))));
    TRY(backend_.upload(out_.data, std::as_bytes(std::span(x))));
    TRY(run());
    std::vector<float> out(x.size());
    TRY(backend_.download(std::as_writable_bytes(std::span(out)), out_.data));
    return out;
  }

 private:
  FeedForward(Backend& backend, int64_t tokens) : backend_(backend), tokens_(tokens) {}

  Result<TensorView> tensor(std::initializer_list<int64_t> shape) {
    TensorView view = make_view(nullptr, DType::kF32, shape);
    Buffer buffer = TRY(backend_.allocate(static_cast<size_t>(view.num_elements()) * 4));
    view.data = buffer.data.get();
    buffers_.push_back(std::move(buffer));
    return view;
  }
  Result<TensorView> weight(DType type, int64_t rows, int64_t columns, uint64_t seed) {
    const BlockFormat& format = *find_block_format(type);
    const std::vector<float> values =
        random_floats(rows * columns, 1.0f / std::sqrt(static_cast<float>(columns)), seed);
    std::vector<std::byte>& bytes =
        weights_.emplace_back(row_bytes(format, columns) * static_cast<size_t>(rows));
    format.encode(values.data(), bytes.data(), rows * columns, nullptr);
    return backend_.import_weight(make_view(bytes.data(), type, {rows, columns}));
  }

  Backend& backend_;
  int64_t tokens_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<std::byte>> weights_;
  std::vector<Op> ops_;
  TensorView x_, out_;
};

double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / size);
}

TEST(GpuFused, FeedForwardsAreThoseOfSingleOps) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  for (const DType type : {DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ8_0, DType::kQ5_0,
                           DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    for (const int64_t tokens : {1, 2, 3, 8, 9, 40, 100, 130, 300}) {
      for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
        SCOPED_TRACE(std::string(find_block_format(type)->name) + ", " + std::to_string(tokens));
        auto made = FeedForward::make(**gpu, type, tokens, activation);
        ASSERT_TRUE(made.ok()) << made.error().message;
        FeedForward& layer = **made;
        const auto expected = layer.outputs([&] { return (*gpu)->run(layer.ops()); });
        ASSERT_TRUE(expected.ok()) << expected.error().message;
        const auto program = (*gpu)->prepare(layer.ops());
        ASSERT_TRUE(program.ok()) << program.error().message;
        for (int run = 0; run < 3; ++run) {
          const auto actual = layer.outputs([&] { return (*program)->run(); });
          ASSERT_TRUE(actual.ok()) << actual.error().message;
          EXPECT_LT(relative_error(*actual, *expected), 0.005) << "run " << run;
        }
      }
    }
  }
}

// As many rows as a real model's heads have, which are cut otherwise than the few of the op cases.
TEST(GpuFused, ProductsOfManyTokensAreThoseOfFew) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  constexpr int64_t kRows = 6144, kColumns = 4096;
  for (const DType type : {DType::kQ4_K, DType::kQ6_K, DType::kQ8_0}) {
    const BlockFormat& format = *find_block_format(type);
    const std::vector<float> values = random_floats(kRows * kColumns, 0.02f, 7);
    std::vector<std::byte> bytes(row_bytes(format, kColumns) * static_cast<size_t>(kRows));
    format.encode(values.data(), bytes.data(), kRows * kColumns, nullptr);
    const auto weight = (*gpu)->import_weight(make_view(bytes.data(), type, {kRows, kColumns}));
    ASSERT_TRUE(weight.ok()) << weight.error().message;
    for (const int64_t tokens : {40, 60, 100, 128, 200}) {
      SCOPED_TRACE(std::string(format.name) + ", " + std::to_string(tokens));
      const std::vector<float> input = random_floats(tokens * kColumns, 1.0f, 8);
      const Buffer x = (*gpu)->allocate(input.size() * 4).value();
      ASSERT_TRUE((*gpu)->upload(x.data.get(), std::as_bytes(std::span(input))).ok());
      std::vector<float> results[2];
      for (const int64_t at_once : {tokens, int64_t{8}}) {
        const Buffer out = (*gpu)->allocate(static_cast<size_t>(tokens * kRows) * 4).value();
        for (int64_t first = 0; first < tokens; first += at_once) {
          const int64_t count = std::min(at_once, tokens - first);
          MatMul product;
          product.x =
              make_view(x.data.get() + first * kColumns * 4, DType::kF32, {count, kColumns});
          product.parts[0] = {
              .weight = *weight,
              .bias = {},
              .out = make_view(out.data.get() + first * kRows * 4, DType::kF32, {count, kRows})};
          const Op ops[] = {product};
          const auto ran = (*gpu)->run(ops);
          ASSERT_TRUE(ran.ok()) << ran.error().message;
        }
        auto& result = results[at_once == tokens ? 0 : 1];
        result.resize(static_cast<size_t>(tokens * kRows));
        ASSERT_TRUE(
            (*gpu)->download(std::as_writable_bytes(std::span(result)), out.data.get()).ok());
      }
      EXPECT_LT(relative_error(results[0], results[1]), 0.001);
    }
  }
}

}  // namespace
}  // namespace realm
