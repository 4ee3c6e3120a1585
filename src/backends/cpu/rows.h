// Walking the rows of a strided float tensor, and handing them to the pool in pieces: shared by the
// ops that treat every row of the innermost dimension alike.
#pragma once

#include <algorithm>

#include "base/thread_pool.h"
#include "ops/tensor_view.h"

namespace realm::cpu {

class RowWalker {
 public:
  explicit RowWalker(const TensorView& view) : data_(view.data) {
    inner_ = view.rank >= 3 ? view.shape[view.rank - 2] : 1;
    inner_stride_ = view.rank >= 3 ? view.stride[view.rank - 2] : 0;
    outer_stride_ = view.rank >= 2 ? view.stride[view.rank >= 3 ? view.rank - 3 : 0] : 0;
    num_rows_ = view.num_rows();
  }
  int64_t num_rows() const { return num_rows_; }
  float* row(int64_t i) const {
    return reinterpret_cast<float*>(data_ + i / inner_ * outer_stride_ +
                                    i % inner_ * inner_stride_);
  }

 private:
  std::byte* data_;
  int64_t inner_, inner_stride_, outer_stride_, num_rows_;
};

// body(row) for every row. Small jobs run on the caller: waking a thread costs more than they do.
template <typename Body>
void for_row_pieces(ThreadPool& pool, int64_t num_rows, int64_t floats_per_row, Body&& body) {
  constexpr int64_t kFloatsPerPiece = 16384;
  const int64_t rows_per_piece =
      std::max<int64_t>(1, kFloatsPerPiece / std::max<int64_t>(1, floats_per_row));
  const int64_t pieces = (num_rows + rows_per_piece - 1) / rows_per_piece;
  pool.parallel_for(pieces, [&](int64_t piece, int) {
    const int64_t end = std::min(num_rows, (piece + 1) * rows_per_piece);
    for (int64_t row = piece * rows_per_piece; row < end; ++row) body(row);
  });
}

}  // namespace realm::cpu
