// Rotations that write the cache on the way (one kernel in a prepared program) against the same ops
// one by one, for every type of cache.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "backends/cuda/cuda_backend.h"
#include "formats/quant/quant_table.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

struct Shape {
  int64_t tokens, heads, kv_heads, dim;
};

class Rotated {
 public:
  static Result<std::unique_ptr<Rotated>> make(Backend& backend, const Shape& s, DType cache,
                                               RopePairs pairs) {
    std::unique_ptr<Rotated> self(new Rotated(backend));
    self->q_ = TRY(self->tensor(DType::kF32, {s.tokens, s.heads, s.dim}));
    self->k_ = TRY(self->tensor(DType::kF32, {s.tokens, s.kv_heads, s.dim}));
    self->v_ = TRY(self->tensor(DType::kF32, {s.tokens, s.kv_heads, s.dim}));
    self->table_ = TRY(self->tensor(DType::kF32, {s.tokens, s.dim}));
    const int64_t pages = s.tokens / kPageTokens + 2;
    self->k_cache_ = TRY(self->tensor(cache, {pages, s.kv_heads, kPageTokens, s.dim}));
    self->v_cache_ = TRY(self->tensor(cache, {pages, s.kv_heads, kPageTokens, s.dim}));
    const TensorView slots = TRY(self->tensor(DType::kI64, {s.tokens}));
    std::vector<int64_t> numbers;
    for (int64_t t = 0; t < s.tokens; ++t) numbers.push_back(t + 17);
    TRY(backend.upload(slots.data, std::as_bytes(std::span(numbers))));
    self->ops_ = {Rope{.x = self->q_, .table = self->table_, .pairs = pairs},
                  Rope{.x = self->k_, .table = self->table_, .pairs = pairs},
                  StoreKv{.k = self->k_,
                          .v = self->v_,
                          .k_cache = self->k_cache_,
                          .v_cache = self->v_cache_,
                          .slots = slots}};
    return self;
  }

  std::span<const Op> ops() const { return ops_; }
  // Queries, keys and values as numbers, of one run from the same start.
  template <typename Run>
  Result<std::vector<float>> outputs(Run&& run) {
    std::mt19937_64 random(7);
    std::normal_distribution<float> normal;
    for (const TensorView* view : {&q_, &k_, &v_, &table_}) {
      std::vector<float> x(static_cast<size_t>(view->num_elements()));
      for (float& value : x) value = normal(random);
      TRY(backend_.upload(view->data, std::as_bytes(std::span(x))));
    }
    for (const TensorView* view : {&k_cache_, &v_cache_}) {
      TRY(backend_.upload(view->data, std::vector<std::byte>(view->extent_bytes())));
    }
    TRY(run());
    std::vector<float> all(static_cast<size_t>(q_.num_elements()));
    TRY(backend_.download(std::as_writable_bytes(std::span(all)), q_.data));
    for (const TensorView* view : {&k_cache_, &v_cache_}) {
      std::vector<std::byte> bytes(view->extent_bytes());
      TRY(backend_.download(bytes, view->data));
      std::vector<float> values(static_cast<size_t>(view->num_elements()));
      find_block_format(view->dtype)->decode(bytes.data(), values.data(), view->num_elements());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

 private:
  explicit Rotated(Backend& backend) : backend_(backend) {}

  Result<TensorView> tensor(DType type, std::initializer_list<int64_t> shape) {
    TensorView view = make_view(nullptr, type, shape);
    Buffer buffer = TRY(backend_.allocate(view.extent_bytes()));
    view.data = buffer.data.get();
    buffers_.push_back(std::move(buffer));
    return view;
  }

  Backend& backend_;
  std::vector<Buffer> buffers_;
  std::vector<Op> ops_;
  TensorView q_, k_, v_, table_, k_cache_, v_cache_;
};

// A multiply-add that one kernel fuses and the other does not can put an element on the other side
// of a code's bound.
double step_of(DType type) {
  if (type == DType::kF32) return 1e-6;
  if (type == DType::kF16) return 1e-3;
  return type == DType::kBF16 ? 8e-3 : type == DType::kQ8_0 ? 0.04 : 0.13;
}

TEST(GpuRotatedCache, IsThatOfSingleOps) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  for (const KvType& kv : kv_types()) {
    for (const Shape& shape :
         {Shape{1, 8, 2, 128}, {3, 4, 4, 64}, {50, 6, 2, 96}, {70, 4, 1, 128}}) {
      for (const RopePairs pairs : {RopePairs::kAdjacent, RopePairs::kHalves}) {
        SCOPED_TRACE(std::string(kv.name) + ", head size " + std::to_string(shape.dim));
        auto made = Rotated::make(**gpu, shape, kv.dtype, pairs);
        ASSERT_TRUE(made.ok()) << made.error().message;
        const auto expected = (*made)->outputs([&] { return (*gpu)->run((*made)->ops()); });
        ASSERT_TRUE(expected.ok()) << expected.error().message;
        const auto program = (*gpu)->prepare((*made)->ops());
        ASSERT_TRUE(program.ok()) << program.error().message;
        for (int run = 0; run < 3; ++run) {
          const auto actual = (*made)->outputs([&] { return (*program)->run(); });
          ASSERT_TRUE(actual.ok()) << actual.error().message;
          int wrong = 0;
          for (size_t i = 0; i < expected->size(); ++i) {
            const float e = (*expected)[i], a = (*actual)[i];
            if (!(std::fabs(a - e) <= step_of(kv.dtype) * std::max(1.0f, std::fabs(e)))) ++wrong;
          }
          EXPECT_EQ(wrong, 0) << "run " << run;
        }
      }
    }
  }
}

}  // namespace
}  // namespace realm
