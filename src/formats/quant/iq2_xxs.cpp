#include "formats/quant/iq2_xxs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ2_XXS& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d) * 0.125f;
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = block.signs_and_scale(group);
    out.scales[group] = static_cast<int16_t>(2 * (word >> 28) + 1);
    for (int l = 0; l < 4; ++l) {
      const uint64_t entry = kIq2XxsGrid[block.index(group, l)];
      const uint32_t signs = iq_even_signs((word >> (7 * l)) & 127);
      int8_t* codes = out.codes + 32 * group + 8 * l;
      for (int j = 0; j < 8; ++j) codes[j] = iq_signed(entry, signs, j);
    }
  }
}

}  // namespace

void unpack_iq2_xxs(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ2_XXS>(block), out);
}

void decode_iq2_xxs(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ2_XXS, kIQ2_XXSShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
