#include "ops/tensor_view.h"

#include "base/check.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

int64_t last_dim_bytes(DType dtype, int64_t elements) {
  if (dtype == DType::kI32) return elements * 4;
  if (dtype == DType::kI64) return elements * 8;
  const BlockFormat* format = find_block_format(dtype);
  CHECK(format != nullptr && elements % format->block_elements == 0);
  return static_cast<int64_t>(row_bytes(*format, elements));
}

}  // namespace

int64_t TensorView::num_elements() const {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= shape[i];
  return n;
}

size_t TensorView::extent_bytes() const {
  if (num_elements() == 0) return 0;
  int64_t bytes = last_dim_bytes(dtype, last_dim());
  for (int i = 0; i + 1 < rank; ++i) bytes += (shape[i] - 1) * stride[i];
  return static_cast<size_t>(bytes);
}

bool TensorView::is_contiguous() const {
  int64_t expected = last_dim_bytes(dtype, last_dim());
  for (int i = rank - 2; i >= 0; --i) {
    if (shape[i] > 1 && stride[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

std::string TensorView::describe() const {
  const BlockFormat* format = find_block_format(dtype);
  std::string text = format != nullptr ? format->name : dtype == DType::kI32 ? "I32" : "I64";
  text += '[';
  for (int i = 0; i < rank; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + ']';
}

TensorView TensorView::slice(int64_t begin, int64_t count) const {
  CHECK(rank >= 1 && begin >= 0 && count >= 0 && begin + count <= shape[0]);
  TensorView view = *this;
  const int64_t step = rank == 1 ? last_dim_bytes(dtype, 1) : stride[0];
  view.data = data + begin * step;
  view.shape[0] = count;
  return view;
}

TensorView TensorView::columns(int64_t begin, int64_t count) const {
  CHECK(rank >= 1 && begin >= 0 && count >= 0 && begin + count <= last_dim());
  TensorView view = *this;
  view.data = data + last_dim_bytes(dtype, begin);
  view.shape[rank - 1] = count;
  return view;
}

TensorView TensorView::reshaped(std::initializer_list<int64_t> new_shape) const {
  CHECK(is_contiguous());
  TensorView view = make_view(data, dtype, new_shape);
  CHECK(view.num_elements() == num_elements());
  return view;
}

TensorView make_view(void* data, DType dtype, std::initializer_list<int64_t> shape) {
  return make_view(data, dtype, shape.begin(), static_cast<int>(shape.size()));
}

TensorView make_view(void* data, DType dtype, const int64_t* shape, int rank) {
  CHECK(rank >= 1 && rank <= TensorView::kMaxRank);
  TensorView view;
  view.data = static_cast<std::byte*>(data);
  view.dtype = dtype;
  view.rank = rank;
  for (int i = 0; i < rank; ++i) view.shape[i] = shape[i];
  int64_t bytes = last_dim_bytes(dtype, shape[rank - 1]);
  view.stride[rank - 1] = 0;
  for (int i = rank - 2; i >= 0; --i) {
    view.stride[i] = bytes;
    bytes *= shape[i];
  }
  return view;
}

}  // namespace realm
