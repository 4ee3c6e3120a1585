#include "formats/quant/iq3_xxs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ3_XXS& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d) * 0.25f;
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = block.signs_and_scale(group);
    out.scales[group] = static_cast<int16_t>(2 * (word >> 28) + 1);
    for (int l = 0; l < 4; ++l) {
      const uint32_t first = kIq3XxsGrid[block.qs[8 * group + 2 * l]];
      const uint32_t second = kIq3XxsGrid[block.qs[8 * group + 2 * l + 1]];
      const uint32_t signs = iq_even_signs((word >> (7 * l)) & 127);
      int8_t* codes = out.codes + 32 * group + 8 * l;
      for (int j = 0; j < 4; ++j) {
        codes[j] = iq_signed(first, signs, j);
        codes[j + 4] = iq_signed(second, signs >> 4, j);
      }
    }
  }
}

}  // namespace

void unpack_iq3_xxs(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ3_XXS>(block), out);
}

void decode_iq3_xxs(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ3_XXS, kIQ3_XXSShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
