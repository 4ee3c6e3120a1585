#include "formats/quant/iq2_xs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/codebook_fit.h"

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

void encode_iq2_xs(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ2_XS block{};
    const CodebookBlock fit = fit_magnitudes(in, CodebookSearch::iq2_xs(), 16, true, 8.0f);
    block.d = fit.d;
    for (int j = 0; j < 16; ++j) {
      block.scales[j / 2] |= static_cast<uint8_t>(fit.scales[j] << (4 * (j % 2)));
    }
    for (int vector = 0; vector < 32; ++vector) {
      block.qs[vector] =
          static_cast<uint16_t>(fit.indices[vector] | ((fit.signs[vector] & 127) << 9));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
