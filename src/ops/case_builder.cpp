#include "ops/case_builder.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

constexpr std::byte kGapByte{0xa5};

}  // namespace

TensorView CaseBuilder::add(DType dtype, const int64_t* shape, int rank, Layout layout,
                            const std::vector<std::byte>& rows, bool is_weight) {
  TensorView view = make_view(reinterpret_cast<void*>(next_), dtype, shape, rank);
  if (rank >= 2) view.stride[0] += layout.row_gap;
  CaseTensor tensor{.address = next_,
                    .initial = std::vector<std::byte>(view.extent_bytes(), kGapByte),
                    .misalignment = layout.misalignment,
                    .is_weight = is_weight};
  const int64_t count = rank >= 2 ? shape[0] : 1;
  const size_t row_size = count > 0 ? rows.size() / static_cast<size_t>(count) : 0;
  for (int64_t r = 0; r < count && row_size > 0; ++r) {
    std::memcpy(tensor.initial.data() + (rank >= 2 ? r * view.stride[0] : 0),
                rows.data() + static_cast<size_t>(r) * row_size, row_size);
  }
  next_ += (tensor.initial.size() + 4096) / 4096 * 4096;
  result_.tensors.push_back(std::move(tensor));
  return view;
}

TensorView CaseBuilder::floats(std::initializer_list<int64_t> shape, Layout layout, float scale) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  const auto bytes = encode(DType::kF32, 1, count, scale);
  return add(DType::kF32, shape.begin(), static_cast<int>(shape.size()), layout, bytes, false);
}

TensorView CaseBuilder::output(std::initializer_list<int64_t> shape, Layout layout) {
  return add(DType::kF32, shape.begin(), static_cast<int>(shape.size()), layout, {}, false);
}

TensorView CaseBuilder::output_ints(std::initializer_list<int64_t> shape) {
  return add(DType::kI32, shape.begin(), static_cast<int>(shape.size()), {}, {}, false);
}

TensorView CaseBuilder::values(const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  const int64_t shape[] = {static_cast<int64_t>(values.size())};
  return add(DType::kF32, shape, 1, {}, {bytes.begin(), bytes.end()}, false);
}

TensorView CaseBuilder::ints(const std::vector<int32_t>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  const int64_t shape[] = {static_cast<int64_t>(values.size())};
  return add(DType::kI32, shape, 1, {}, {bytes.begin(), bytes.end()}, false);
}

TensorView CaseBuilder::ints(const std::vector<int32_t>& values, int64_t rows, int64_t columns) {
  CHECK(static_cast<int64_t>(values.size()) == rows * columns);
  const auto bytes = std::as_bytes(std::span(values));
  const int64_t shape[] = {rows, columns};
  return add(DType::kI32, shape, 2, {}, {bytes.begin(), bytes.end()}, false);
}

TensorView CaseBuilder::longs(const std::vector<int64_t>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  const int64_t shape[] = {static_cast<int64_t>(values.size())};
  return add(DType::kI64, shape, 1, {}, {bytes.begin(), bytes.end()}, false);
}

TensorView CaseBuilder::weight(DType dtype, int64_t rows, int64_t columns, Layout layout) {
  const int64_t shape[] = {rows, columns};
  return add(dtype, shape, 2, layout, encode(dtype, rows, columns, 1.0f), true);
}

TensorView CaseBuilder::experts(DType dtype, int64_t experts, int64_t rows, int64_t columns,
                                Layout layout) {
  const int64_t shape[] = {experts, rows, columns};
  return add(dtype, shape, 3, layout, encode(dtype, experts * rows, columns, 1.0f), true);
}

TensorView CaseBuilder::cache(DType dtype, int64_t pages, int64_t heads, int64_t dim) {
  const int64_t shape[] = {pages, heads, kPageTokens, dim};
  return add(dtype, shape, 4, {}, encode(dtype, pages * heads * kPageTokens, dim, 1.0f), false);
}

std::vector<int32_t> CaseBuilder::distinct(int32_t count, int32_t limit) {
  CHECK(count <= limit);
  std::vector<int32_t> numbers(static_cast<size_t>(limit));
  std::iota(numbers.begin(), numbers.end(), 0);
  std::shuffle(numbers.begin(), numbers.end(), random_);
  numbers.resize(static_cast<size_t>(count));
  return numbers;
}

std::vector<std::byte> CaseBuilder::encode(DType dtype, int64_t rows, int64_t columns,
                                           float scale) {
  const BlockFormat& format = *find_block_format(dtype);
  const size_t row_size = row_bytes(format, columns);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * row_size);
  std::vector<float> values(static_cast<size_t>(columns));
  const std::vector<float> importance(format.needs_importance ? values.size() : 0, 1.0f);
  std::normal_distribution<float> normal(0.0f, scale);
  // Drawing and encoding every weight of a large matrix would take minutes: rows come again.
  constexpr int64_t kDrawn = 1021;
  for (int64_t r = 0; r < rows; ++r) {
    if (r >= kDrawn) {
      std::memcpy(bytes.data() + static_cast<size_t>(r) * row_size,
                  bytes.data() + static_cast<size_t>(r % kDrawn) * row_size, row_size);
      continue;
    }
    for (float& value : values) value = normal(random_);
    format.encode(values.data(), bytes.data() + static_cast<size_t>(r) * row_size, columns,
                  importance.empty() ? nullptr : importance.data());
  }
  return bytes;
}

OpCase CaseBuilder::finish(Op op) {
  result_.op = std::move(op);
  return std::move(result_);
}

}  // namespace realm
