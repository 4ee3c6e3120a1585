// The products of a mixture of experts as one group of ops against the same ops one by one, and a
// token's alone against those among others.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <tuple>

#include "backends/cuda/cuda_backend.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

constexpr int64_t kHidden = 512, kExperts = 9, kUsed = 3;

std::vector<float> random_floats(int64_t count, float scale, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

// Matrices of experts, each drawn and imported once.
class Weights {
 public:
  explicit Weights(Backend& backend) : backend_(backend) {}

  Result<TensorView> get(DType type, int64_t rows, int64_t columns, uint64_t seed) {
    const auto [at, is_new] = imported_.try_emplace({type, rows, columns, seed});
    if (!is_new) return at->second;
    const BlockFormat& format = *find_block_format(type);
    const int64_t count = kExperts * rows * columns;
    const std::vector<float> values =
        random_floats(count, 1.0f / std::sqrt(static_cast<float>(columns)), seed);
    std::vector<std::byte> bytes(row_bytes(format, columns) * static_cast<size_t>(kExperts * rows));
    format.encode(values.data(), bytes.data(), count, nullptr);
    at->second =
        TRY(backend_.import_weight(make_view(bytes.data(), type, {kExperts, rows, columns})));
    return at->second;
  }

 private:
  Backend& backend_;
  std::map<std::tuple<DType, int64_t, int64_t, uint64_t>, TensorView> imported_;
};

struct Settings {
  DType type, down_type;
  int64_t tokens;
  Activation activation = Activation::kSilu;
  bool bias = false;
};

// What chosen experts make of x: [tokens, kHidden] to [tokens, kHidden]. Token t's input is the
// same whatever the number of tokens.
class Experts {
 public:
  static Result<std::unique_ptr<Experts>> make(Backend& backend, Weights& weights,
                                               const Settings& s) {
    std::unique_ptr<Experts> self(new Experts(backend, s.tokens));
    const int64_t ffn = find_block_format(s.down_type)->block_elements == 256 ? 768 : 352;
    const int64_t tokens = s.tokens;
    const TensorView x = TRY(self->floats({tokens, 1, kHidden}, 1));
    const TensorView ids = TRY(self->choose());
    const TensorView shares = TRY(self->floats({tokens, kUsed}, 2));
    const TensorView gate = TRY(self->floats({tokens, kUsed, ffn}, 3));
    const TensorView up = TRY(self->floats({tokens, kUsed, ffn}, 3));
    const TensorView made = TRY(self->floats({tokens, kUsed, kHidden}, 3));
    self->out_ = TRY(self->floats({tokens, kHidden}, 4));
    const auto part = [&](DType type, int64_t rows, int64_t k, uint64_t seed,
                          const TensorView& out) -> Result<ExpertMatMul::Part> {
      ExpertMatMul::Part made_part{
          .weight = TRY(weights.get(type, rows, k, seed)), .bias = {}, .out = out};
      if (s.bias) made_part.bias = TRY(self->floats({kExperts, rows}, seed + 1));
      return made_part;
    };
    ExpertMatMul in{.x = x, .ids = ids, .num_parts = 2, .parts = {}};
    in.parts[0] = TRY(part(s.type, ffn, kHidden, 10, gate));
    in.parts[1] = TRY(part(s.type, ffn, kHidden, 20, up));
    self->ops_.push_back(in);
    const TensorView first = gate.reshaped({tokens * kUsed, ffn});
    self->ops_.push_back(GatedActivation{.gate = first,
                                         .up = up.reshaped({tokens * kUsed, ffn}),
                                         .out = first,
                                         .activation = s.activation});
    ExpertMatMul down{.x = gate, .ids = ids, .num_parts = 1, .parts = {}};
    down.parts[0] = TRY(part(s.down_type, kHidden, ffn, 30, made));
    self->ops_.push_back(down);
    self->ops_.push_back(CombineExperts{.x = made, .weights = shares, .out = self->out_});
    return self;
  }

  std::span<const Op> ops() const { return ops_; }
  Result<std::vector<float>> output() {
    std::vector<float> out(static_cast<size_t>(tokens_ * kHidden));
    TRY(backend_.download(std::as_writable_bytes(std::span(out)), out_.data));
    return out;
  }

 private:
  Experts(Backend& backend, int64_t tokens) : backend_(backend), tokens_(tokens) {}

  Result<TensorView> place(DType type, std::initializer_list<int64_t> shape,
                           std::span<const std::byte> bytes) {
    Buffer buffer = TRY(backend_.allocate(bytes.size()));
    TRY(backend_.upload(buffer.data.get(), bytes));
    const TensorView view = make_view(buffer.data.get(), type, shape);
    buffers_.push_back(std::move(buffer));
    return view;
  }
  Result<TensorView> floats(std::initializer_list<int64_t> shape, uint64_t seed) {
    const int64_t count =
        std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    const std::vector<float> values = random_floats(count, 1.0f, seed);
    return place(DType::kF32, shape, std::as_bytes(std::span(values)));
  }
  // Some experts often, one never.
  Result<TensorView> choose() {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < tokens_; ++t) {
      const auto first = static_cast<int32_t>(t * t % 4);
      ids.insert(ids.end(), {first, 4 + static_cast<int32_t>(t % 3), 7});
    }
    return place(DType::kI32, {tokens_, kUsed}, std::as_bytes(std::span(ids)));
  }

  Backend& backend_;
  int64_t tokens_;
  std::vector<Buffer> buffers_;
  std::vector<Op> ops_;
  TensorView out_;
};

double relative_error(std::span<const float> actual, std::span<const float> expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / size);
}

TEST(GpuExperts, AGroupOfOpsIsThoseOneByOne) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  Weights weights(**gpu);
  using enum DType;
  for (const Settings& of : {Settings{kQ4_K, kQ6_K, 0}, Settings{kMXFP4, kMXFP4, 0},
                             Settings{kBF16, kBF16, 0}, Settings{kQ8_0, kQ5_0, 0}}) {
    for (const int64_t tokens : {1, 7, 8, 9, 40, 130, 300, 700}) {
      for (const Activation activation :
           {Activation::kSilu, Activation::kSwigluClamped, Activation::kGeluTanh}) {
        Settings s = of;
        s.tokens = tokens;
        s.activation = activation;
        s.bias = activation == Activation::kSwigluClamped;
        SCOPED_TRACE(std::string(find_block_format(s.type)->name) + ", " + std::to_string(tokens));
        const auto layer = Experts::make(**gpu, weights, s);
        ASSERT_TRUE(layer.ok()) << layer.error().message;
        ASSERT_TRUE((*gpu)->run((*layer)->ops()).ok());
        const auto expected = (*layer)->output();
        ASSERT_TRUE(expected.ok()) << expected.error().message;
        const auto program = (*gpu)->prepare((*layer)->ops());
        ASSERT_TRUE(program.ok()) << program.error().message;
        for (int run = 0; run < 3; ++run) {
          const auto ran = (*program)->run();
          ASSERT_TRUE(ran.ok()) << ran.error().message;
          const auto actual = (*layer)->output();
          ASSERT_TRUE(actual.ok()) << actual.error().message;
          EXPECT_LT(relative_error(*actual, *expected), 0.005) << "run " << run;
        }
      }
    }
  }
}

TEST(GpuExperts, ATokenIsTheSameAloneAndAmongOthers) {
  auto gpu = cuda::CudaBackend::create({.batch_invariant = true});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  Weights weights(**gpu);
  std::vector<float> alone;
  for (const int64_t tokens : {1, 5, 40, 150, 900}) {
    const auto layer = Experts::make(**gpu, weights, {DType::kQ4_K, DType::kQ8_0, tokens});
    ASSERT_TRUE(layer.ok()) << layer.error().message;
    const auto program = (*gpu)->prepare((*layer)->ops());
    ASSERT_TRUE(program.ok()) << program.error().message;
    ASSERT_TRUE((*program)->run().ok());
    std::vector<float> all = (*layer)->output().value();
    all.resize(static_cast<size_t>(kHidden));
    if (alone.empty()) alone = all;
    EXPECT_TRUE(all == alone) << tokens << " tokens";
  }
}

}  // namespace
}  // namespace realm
