// What the AVX-512 kernel files offer each other.
#pragma once

#include <stdint.h>

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::avx512 {

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch);
int64_t panel_scratch_bytes(int64_t num_tokens);
// What panel() reads: codes + 128, since vpdpbusd's first operand is unsigned.
const TokenLayout* biased_tokens();

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t* scratch);
// The same for processors whose gathers were never slowed down by their makers (those with AMX).
void dot_gathering(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                   float* out, int64_t out_stride, uint8_t* scratch);
int64_t dot_scratch_bytes();
// Whether dot() is of 512 bits for the format, else of 256.
bool has_direct_dot(DType type);

// dot() of formats with blocks of 32 that have a kernel of their own; false where it has none.
bool has_small_dot(DType type);
int64_t small_dot_scratch_bytes();
bool dot_small(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
               int64_t out_stride, uint8_t* scratch, bool gathers);

// dot() of the formats whose codes are codebook entries with signs apart (IQ2 and IQ3).
bool has_codebook(DType type);
void dot_codebook(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                  float* out, int64_t out_stride);

const FloatPanel* float_panel();

}  // namespace realm::cpu::avx512
