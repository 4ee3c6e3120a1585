// Products of some tokens with float weights on AVX-512 (dot_float_avx512.cpp): between one token,
// which dot_rows takes, and the many that pay for a panel.
#pragma once

#include <stdint.h>

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::avx512 {

int64_t some_tokens_bytes(int64_t num_tokens, int64_t k);
// Tokens [begin, end) and, after the last one, zeros to the end of its tile.
void pack_some_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t begin,
                      int64_t end, float* to);
int64_t some_tokens_scratch_bytes();
void multiply_some_tokens(const WeightRows& weights, const float* packed, int64_t num_tokens,
                          float* out, int64_t out_stride, uint8_t* scratch);

}  // namespace realm::cpu::avx512
