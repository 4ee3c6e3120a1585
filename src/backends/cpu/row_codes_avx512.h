// Packed rows to plain integers, the first half of the AVX-512 panel: every format through its
// struct of block_codes.h.
#pragma once

#include <stdint.h>

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::avx512 {

// K elements that a panel holds at a time: a multiple of every block and group size.
inline constexpr int kPanelK = 512;

// A stretch of up to kPanelK elements of one weight row.
struct RowCodes {
  alignas(64) int8_t codes[kPanelK];
  int32_t scales[kPanelK / 16];  // per sub-block (16 or 32 elements); formats with blocks of 256
  int16_t mins[kPanelK / 16];    // likewise
  float factors[kPanelK / 16];   // d * scale per sub-block; formats with smaller blocks
  float minima[kPanelK / 32];    // -dmin * min per 32 elements, to be added; likewise
  float d[kPanelK / 256];        // formats with blocks of 256
  float dmin[kPanelK / 256];
};

// What the kernels need to know of a format.
struct CodeShape {
  bool super;  // blocks of 256 with integer scales
  int sub;     // 16 or 32
  bool has_min;
};

using RowUnpacker = void (*)(const BlockFormat& format, const uint8_t* data, int64_t k,
                             RowCodes& out);

CodeShape code_shape(const BlockFormat& format);
// The function for a format; never null.
RowUnpacker row_unpacker(const BlockFormat& format);

}  // namespace realm::cpu::avx512
