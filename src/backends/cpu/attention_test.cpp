// Attention's promises beyond its values: the same bits however tokens are cut into steps, batches
// and threads, and nothing of a page's content past a sequence's end in any result.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/isa.h"
#include "formats/quant/f8_e4m3.h"

namespace realm::cpu {
namespace {

constexpr int64_t kKvHeads = 2;

struct Shape {
  int64_t heads, k_dim, v_dim;
};
// Few heads of a KV head, and so many that the processor may work otherwise (kernels.h).
constexpr Shape kShapes[] = {{6, 96, 64}, {34, 160, 96}};
static_assert(!attention_has_many_heads(6 / kKvHeads, 96, 64));
static_assert(attention_has_many_heads(34 / kKvHeads, 160, 96));

// One sequence's cache, filled from a seed up to `length`; whatever lies past it, and in pages of
// nobody, is `rest` in every byte.
class Cache {
 public:
  Cache(const Shape& shape, DType dtype, int64_t length, std::byte rest)
      : shape_(shape), dtype_(dtype), length_(length) {
    const auto pages = static_cast<int32_t>((length + kPageTokens - 1) / kPageTokens);
    for (int32_t p = 0; p < pages; ++p) table_.push_back(2 * (pages - 1 - p) + 1);
    k_ = fill(shape_.k_dim, rest, 1);
    v_ = fill(shape_.v_dim, rest, 2);
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    q_.resize(static_cast<size_t>(length * shape_.heads * shape_.k_dim));
    for (float& x : q_) x = normal(random);
  }

  // The outputs of tokens [first, first + count), as one run of the op.
  std::vector<float> attend(CpuBackend& backend, int64_t first, int64_t count, int64_t window) {
    std::vector<float> out(static_cast<size_t>(count * shape_.heads * shape_.v_dim));
    std::vector<int32_t> positions, seq_start = {0, static_cast<int32_t>(count)};
    for (int64_t t = 0; t < count; ++t) positions.push_back(static_cast<int32_t>(first + t));
    const float some[] = {0.5f, 0.25f, 0.125f, 0.0f, 0.01f, 0.001f};
    std::vector<float> slopes;
    for (int64_t h = 0; h < shape_.heads; ++h) slopes.push_back(some[h % 6]);
    const auto pages = static_cast<int64_t>(table_.size());
    const std::vector<Op> ops = {
        Attention{.q = make_view(q_.data() + first * shape_.heads * shape_.k_dim, DType::kF32,
                                 {count, shape_.heads, shape_.k_dim}),
                  .k_cache = view(k_, shape_.k_dim),
                  .v_cache = view(v_, shape_.v_dim),
                  .positions = make_view(positions.data(), DType::kI32, {count}),
                  .seq_start = make_view(seq_start.data(), DType::kI32, {2}),
                  .page_table = make_view(table_.data(), DType::kI32, {1, pages}),
                  .sinks = {},
                  .slopes = make_view(slopes.data(), DType::kF32, {shape_.heads}),
                  .out = make_view(out.data(), DType::kF32, {count, shape_.heads, shape_.v_dim}),
                  .scale = 0.1f,
                  .window = window}};
    EXPECT_TRUE(check_op(ops[0]).ok());
    EXPECT_TRUE(backend.run(ops).ok());
    return out;
  }

 private:
  TensorView view(std::vector<std::byte>& bytes, int64_t dim) {
    return make_view(bytes.data(), dtype_,
                     {2 * static_cast<int64_t>(table_.size()), kKvHeads, kPageTokens, dim});
  }

  std::vector<std::byte> fill(int64_t dim, std::byte rest, uint32_t seed) {
    const BlockFormat& format = *find_block_format(dtype_);
    const size_t size = row_bytes(format, dim);
    std::vector<std::byte> bytes(2 * table_.size() * kKvHeads * kPageTokens * size, rest);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(dim));
    for (int64_t p = 0; p < length_; ++p) {
      for (int64_t h = 0; h < kKvHeads; ++h) {
        for (float& x : row) x = normal(random);
        const int64_t page = table_[static_cast<size_t>(p / kPageTokens)];
        const int64_t slot = (page * kKvHeads + h) * kPageTokens + p % kPageTokens;
        format.encode(row.data(), bytes.data() + static_cast<size_t>(slot) * size, dim, nullptr);
      }
    }
    return bytes;
  }

  Shape shape_;
  DType dtype_;
  int64_t length_;
  std::vector<int32_t> table_;
  std::vector<std::byte> k_, v_;
  std::vector<float> q_;
};

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b,
                      const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << what;
}

// Many heads only where they are computed otherwise: they take as much longer as they are more.
std::vector<std::pair<Shape, DType>> shapes_and_types() {
  std::vector<std::pair<Shape, DType>> all;
  for (const Shape& shape : std::span(kShapes).first(has_bf16_tiles() ? 2 : 1)) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, kF8E4M3}) {
      all.emplace_back(shape, dtype);
    }
  }
  return all;
}

std::string name_of(const Shape& shape, DType dtype) {
  return std::to_string(shape.heads) + " heads, " + find_block_format(dtype)->name;
}

TEST(Attention, AnyCutAndAnyThreadsGiveTheSameBits) {
  const int64_t length = 2 * kAttentionSplit + 77, first = length - 150;
  auto one = CpuBackend::create({.num_threads = 1}).value();
  auto three = CpuBackend::create({.num_threads = 3}).value();
  for (const auto& [shape, dtype] : shapes_and_types()) {
    Cache cache(shape, dtype, length, std::byte{0});
    for (const int64_t window : {int64_t{0}, int64_t{1100}, int64_t{50}}) {
      const std::string name = name_of(shape, dtype) + ", window " + std::to_string(window);
      const std::vector<float> whole = cache.attend(*one, first, 150, window);
      expect_same_bits(whole, cache.attend(*three, first, 150, window), name + ", three threads");
      for (const int64_t step : {int64_t{1}, int64_t{7}, int64_t{64}}) {
        std::vector<float> joined;
        for (int64_t t = 0; t < 150; t += step) {
          const auto part = cache.attend(*three, first + t, std::min(step, 150 - t), window);
          joined.insert(joined.end(), part.begin(), part.end());
        }
        expect_same_bits(whole, joined, name + ", steps of " + std::to_string(step));
      }
    }
  }
}

// Pages go from one tenant to the next uncleared; this is why that is safe.
TEST(Attention, WhatLiesPastTheEndNeverCounts) {
  auto backend = CpuBackend::create({.num_threads = 2}).value();
  for (const auto& [shape, dtype] : shapes_and_types()) {
    for (const int64_t length : {int64_t{1}, int64_t{40}, kAttentionSplit + 33}) {
      Cache clean(shape, dtype, length, std::byte{0});
      Cache dirty(shape, dtype, length, std::byte{0xff});  // every float and half is a NaN
      const int64_t count = std::min<int64_t>(length, 20);
      expect_same_bits(clean.attend(*backend, length - count, count, 0),
                       dirty.attend(*backend, length - count, count, 0), name_of(shape, dtype));
    }
  }
}

}  // namespace
}  // namespace realm::cpu
