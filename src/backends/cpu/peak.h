// What one core's integer multiply-adds reach on an instruction set, with nothing else to do: the
// scale that matrix products are measured against. Bytes times bytes, two operations a product, in
// the form that the kernels use (AVX2: products added in 16 bits; AVX-512 and NEON: dot products in
// 32; AMX: products of tiles).
#pragma once

#include <stdint.h>

#include "backends/cpu/isa.h"

namespace realm::cpu {

// Runs the loop of the set; returns the operations done, 0 for the scalar reference.
double run_peak_loop(Isa isa, int64_t rounds);

#if defined(__x86_64__)
double avx2_peak_loop(int64_t rounds);
double avx512_peak_loop(int64_t rounds);
double amx_peak_loop(int64_t rounds);
#elif defined(__aarch64__)
double neon_peak_loop(int64_t rounds);
#endif

}  // namespace realm::cpu
