#include "models/check_weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "formats/quant/quant_table.h"

namespace realm {
namespace {

// Whether every block's factors are finite: a block's codes and integer scales always are.
bool finite_factors(const BlockFormat& format, const std::byte* data, int64_t num_blocks) {
  UnpackedBlock block;
  for (int64_t i = 0; i < num_blocks; ++i) {
    format.unpack(data + i * format.block_bytes, block);
    for (int j = 0; j < format.shape.num_d; ++j) {
      if (!std::isfinite(block.d[j])) return false;
    }
    if (format.shape.has_min && !std::isfinite(block.dmin)) return false;
  }
  return true;
}

bool finite_values(const BlockFormat& format, const std::byte* data, int64_t num_elements) {
  constexpr int64_t kStretch = 4096;
  std::vector<float> values(kStretch);
  for (int64_t i = 0; i < num_elements; i += kStretch) {
    const int64_t n = std::min(kStretch, num_elements - i);
    format.decode(data + i * format.block_bytes, values.data(), n);
    if (!std::all_of(values.begin(), values.begin() + n,
                     [](float v) { return std::isfinite(v); })) {
      return false;
    }
  }
  return true;
}

}  // namespace

Status check_weights(const TensorDirectory& file) {
  for (const TensorInfo& tensor : file.tensors()) {
    const BlockFormat* format = find_block_format(tensor.dtype);
    if (format == nullptr) continue;  // integers
    const int64_t blocks = tensor.num_elements() / format->block_elements;
    const bool finite = format->unpack != nullptr
                            ? finite_factors(*format, tensor.data.data(), blocks)
                            : finite_values(*format, tensor.data.data(), blocks);
    if (!finite) {
      return Error{ErrorCode::kBadModel,
                   "tensor '" + tensor.name +
                       "' holds values that are not finite numbers (NaN or "
                       "infinity): the file is damaged or was converted wrongly"};
    }
  }
  return {};
}

}  // namespace realm
