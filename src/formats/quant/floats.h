// F32, F16 and BF16 seen as block formats of one element: plain values without scales, so that code
// that walks the table needs no special case to read or write them.
#pragma once

#include <cstdint>

namespace realm {

void decode_f32(const void* src, float* dst, int64_t num_elements);
void decode_f16(const void* src, float* dst, int64_t num_elements);
void decode_bf16(const void* src, float* dst, int64_t num_elements);

// Round to nearest even; what exceeds fp16's range becomes infinity. Importance has no effect.
void encode_f32(const float* src, void* dst, int64_t num_elements, const float* importance);
void encode_f16(const float* src, void* dst, int64_t num_elements, const float* importance);
void encode_bf16(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
