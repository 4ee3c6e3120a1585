// A tensor as an op sees it: a typed, strided window onto memory that somebody else owns.
// Dimensions are ordered outermost first and the innermost one is contiguous (for block formats: a
// whole number of blocks). `data` is an address of the backend that runs the op (host, device, or a
// handle that a backend made to look like one), never dereferenced outside backends/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "formats/dtype.h"

namespace realm {

struct TensorView {
  static constexpr int kMaxRank = 4;

  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[kMaxRank] = {};  // bytes from one index to the next; unused for the innermost

  bool empty() const { return data == nullptr; }
  int64_t dim(int i) const { return shape[i]; }
  int64_t num_elements() const;
  int64_t last_dim() const { return rank == 0 ? 1 : shape[rank - 1]; }
  // Rows of the innermost dimension, all outer dimensions multiplied.
  int64_t num_rows() const { return last_dim() == 0 ? 0 : num_elements() / last_dim(); }
  // Bytes from the first to past the last element.
  size_t extent_bytes() const;
  bool is_contiguous() const;
  std::string describe() const;  // "F32[12, 4, 64]"

  // Element access for 32-bit types on host backends; i counts elements in row-major order of the
  // outer dimensions.
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }

  // Rows [begin, begin + count) of the outermost dimension.
  TensorView slice(int64_t begin, int64_t count) const;
  // Columns [begin, begin + count) of the innermost dimension, whole blocks of it.
  TensorView columns(int64_t begin, int64_t count) const;
  // The same contiguous memory with other dimensions.
  TensorView reshaped(std::initializer_list<int64_t> new_shape) const;
};

// A contiguous view over `data`.
TensorView make_view(void* data, DType dtype, std::initializer_list<int64_t> shape);
TensorView make_view(void* data, DType dtype, const int64_t* shape, int rank);

}  // namespace realm
