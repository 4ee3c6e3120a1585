// The canonical meaning of a block: integer codes in element order, integer scales (and minima) per
// sub-block, and float factors. Every format but the plain floats has it, and all matmul kernels
// (reference, AVX2, AVX-512, NEON, GPU) compute from these numbers, whatever way they load them, so
// that their results can agree bit for bit. Decoding multiplies in the order written here:
//
//   value[i] = (d[i / (elements / num_d)] * scales[i / sub_block]) * codes[i]
//              - dmin * mins[i / sub_block]                          (second line where has_min)
#pragma once

#include <cstdint>

namespace realm {

// The part of the description that is the same for all blocks of a format.
struct UnpackShape {
  int elements;   // in a block; 32, 64, 128 or 256
  int sub_block;  // elements that share one scale (and minimum); 16 or 32, or the whole block
  int num_d = 1;  // 4 for NVFP4, whose scales are floats per 16 elements; else 1
  bool has_min = false;

  constexpr int num_scales() const { return elements / sub_block; }
  friend constexpr bool operator==(const UnpackShape&, const UnpackShape&) = default;
};

// Only the first `elements` codes, num_scales() scales and minima and num_d factors are written;
// mins and dmin only where has_min. For one d the sum over a block of scale * code * activation
// (int8) fits 32 bits in every format.
struct UnpackedBlock {
  int8_t codes[256];
  int16_t scales[16];
  int16_t mins[16];
  float d[4];
  float dmin;
};

}  // namespace realm
