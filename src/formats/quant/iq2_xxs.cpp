#include "formats/quant/iq2_xxs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/codebook_fit.h"

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

void encode_iq2_xxs(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ2_XXS block{};
    const CodebookBlock fit = fit_magnitudes(in, CodebookSearch::iq2_xxs(), 32, true, 8.0f);
    block.d = fit.d;
    for (int group = 0; group < 8; ++group) {
      uint32_t word = static_cast<uint32_t>(fit.scales[group]) << 28;
      for (int l = 0; l < 4; ++l) {
        word |= (fit.signs[4 * group + l] & 127u) << (7 * l);
        uint16_t& pair = block.qs[4 * group + l / 2];
        pair = static_cast<uint16_t>(pair | (fit.indices[4 * group + l] << (8 * (l % 2))));
      }
      block.qs[4 * group + 2] = static_cast<uint16_t>(word & 0xffff);
      block.qs[4 * group + 3] = static_cast<uint16_t>(word >> 16);
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
