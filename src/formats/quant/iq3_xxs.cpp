#include "formats/quant/iq3_xxs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/codebook_fit.h"

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

void encode_iq3_xxs(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ3_XXS block{};
    const CodebookBlock fit = fit_magnitudes(in, CodebookSearch::iq3_xxs(), 32, true, 4.0f);
    block.d = fit.d;
    for (int vector = 0; vector < 64; ++vector) {
      block.qs[vector] = static_cast<uint8_t>(fit.indices[vector]);
    }
    for (int group = 0; group < 8; ++group) {
      uint32_t word = static_cast<uint32_t>(fit.scales[group]) << 28;
      for (int l = 0; l < 4; ++l) word |= (fit.signs[4 * group + l] & 127u) << (7 * l);
      for (int i = 0; i < 4; ++i) {
        block.scales_signs[4 * group + i] = static_cast<uint8_t>((word >> (8 * i)) & 255);
      }
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
