// The two kernels of the NEON matrix product, each in a file of its own.
#pragma once

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::neon {

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t* scratch);

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch);
int64_t panel_scratch_bytes(int64_t num_tokens);

}  // namespace realm::cpu::neon
