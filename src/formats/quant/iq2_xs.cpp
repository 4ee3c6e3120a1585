#include "formats/quant/iq2_xs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ2_XS& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d) * 0.125f;
  for (int j = 0; j < 16; ++j) {
    out.scales[j] = static_cast<int16_t>(2 * ((block.scales[j / 2] >> (4 * (j % 2))) & 15) + 1);
  }
  for (int vector = 0; vector < 32; ++vector) {
    const uint64_t entry = kIq2XsGrid[block.qs[vector] & 511u];
    const uint32_t signs = iq_even_signs(block.qs[vector] >> 9);
    int8_t* codes = out.codes + 8 * vector;
    for (int j = 0; j < 8; ++j) codes[j] = iq_signed(entry, signs, j);
  }
}

}  // namespace

void unpack_iq2_xs(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ2_XS>(block), out);
}

void decode_iq2_xs(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ2_XS, kIQ2_XSShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
