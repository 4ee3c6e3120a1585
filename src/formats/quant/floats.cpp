#include "formats/quant/floats.h"

#include <cstring>

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {

void decode_f32(const void* src, float* dst, int64_t num_elements) {
  if (num_elements > 0) std::memcpy(dst, src, static_cast<size_t>(num_elements) * sizeof(float));
}

void decode_f16(const void* src, float* dst, int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) dst[i] = fp16_to_float(load_block<uint16_t>(src, i));
}

void decode_bf16(const void* src, float* dst, int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) dst[i] = bf16_to_float(load_block<uint16_t>(src, i));
}

void encode_f32(const float* src, void* dst, int64_t num_elements, const float*) {
  if (num_elements > 0) std::memcpy(dst, src, static_cast<size_t>(num_elements) * sizeof(float));
}

void encode_f16(const float* src, void* dst, int64_t num_elements, const float*) {
  for (int64_t i = 0; i < num_elements; ++i) store_block(float_to_fp16(src[i]), dst, i);
}

void encode_bf16(const float* src, void* dst, int64_t num_elements, const float*) {
  for (int64_t i = 0; i < num_elements; ++i) store_block(float_to_bf16(src[i]), dst, i);
}

}  // namespace realm
