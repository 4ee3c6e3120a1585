// The two kernels of the AVX2 matrix product, each in a file of its own.
#pragma once

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::avx2 {

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t* scratch);

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch);
int64_t panel_scratch_bytes(int64_t num_tokens);
const TokenLayout* panel_layout(const BlockFormat& format);
const FloatPanel* float_panel();
// From how many tokens on panel() is the faster one.
int64_t panel_from(const BlockFormat& format);

}  // namespace realm::cpu::avx2
