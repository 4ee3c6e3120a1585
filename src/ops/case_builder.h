// Makes the tensors of an OpCase: views at made-up addresses and the bytes behind them.
#pragma once

#include <initializer_list>
#include <random>
#include <vector>

#include "ops/cases.h"

namespace realm {

struct Layout {
  int64_t row_gap = 0;      // bytes between the end of one outermost row and the next
  size_t misalignment = 0;  // bytes past a 64-byte boundary
};

class CaseBuilder {
 public:
  explicit CaseBuilder(uint32_t seed) : random_(seed) {}

  // F32, normally distributed times `scale`.
  TensorView floats(std::initializer_list<int64_t> shape, Layout layout = {}, float scale = 1.0f);
  // F32 holding a pattern that no op leaves behind.
  TensorView output(std::initializer_list<int64_t> shape, Layout layout = {});
  TensorView output_ints(std::initializer_list<int64_t> shape);
  TensorView values(const std::vector<float>& values);
  TensorView ints(const std::vector<int32_t>& values);
  TensorView ints(const std::vector<int32_t>& values, int64_t rows, int64_t columns);
  TensorView longs(const std::vector<int64_t>& values);
  // [rows, columns] of any block format, encoded from random floats.
  TensorView weight(DType dtype, int64_t rows, int64_t columns, Layout layout = {});
  // [experts, rows, columns]; the row gap lies between experts.
  TensorView experts(DType dtype, int64_t experts, int64_t rows, int64_t columns,
                     Layout layout = {});
  // A paged cache of one layer, filled: [pages, heads, kPageTokens, dim].
  TensorView cache(DType dtype, int64_t pages, int64_t heads, int64_t dim);

  int32_t below(int32_t limit) {
    return static_cast<int32_t>(random_() % static_cast<uint32_t>(limit));
  }
  // The first `count` of the numbers below `limit` in random order.
  std::vector<int32_t> distinct(int32_t count, int32_t limit);

  OpCase finish(Op op);

 private:
  TensorView add(DType dtype, const int64_t* shape, int rank, Layout layout,
                 const std::vector<std::byte>& rows, bool is_weight);
  std::vector<std::byte> encode(DType dtype, int64_t rows, int64_t columns, float scale);

  std::mt19937 random_;
  OpCase result_;
  uintptr_t next_ = uintptr_t{1} << 60;
};

}  // namespace realm
