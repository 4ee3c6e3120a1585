#include "formats/quant/f8_e4m3.h"

namespace realm {

void decode_f8_e4m3(const void* src, float* dst, int64_t num_elements) {
  const auto* codes = static_cast<const uint8_t*>(src);
  for (int64_t i = 0; i < num_elements; ++i) dst[i] = e4m3_to_float(codes[i]);
}

void encode_f8_e4m3(const float* src, void* dst, int64_t num_elements, const float*) {
  auto* codes = static_cast<uint8_t*>(dst);
  for (int64_t i = 0; i < num_elements; ++i) codes[i] = float_to_e4m3(src[i]);
}

}  // namespace realm
