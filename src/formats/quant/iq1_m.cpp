#include "formats/quant/iq1_m.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/codebook_fit.h"

namespace realm {
namespace {

void unpack(const BlockIQ1_M& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d()) * 0.125f;
  for (int j = 0; j < 16; ++j) out.scales[j] = static_cast<int16_t>(block.scale(j));
  for (int vector = 0; vector < 32; ++vector) {
    const uint64_t entry = kIq1Grid[block.index(vector)];
    const int delta = block.delta_negative(vector) ? -1 : 1;
    int8_t* codes = out.codes + 8 * vector;
    for (int j = 0; j < 8; ++j) {
      const int g = static_cast<int8_t>((entry >> (8 * j)) & 0xff);
      codes[j] = static_cast<int8_t>(8 * g + delta);
    }
  }
}

}  // namespace

void unpack_iq1_m(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ1_M>(block), out);
}

void decode_iq1_m(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ1_M, kIQ1_MShape, unpack>(src, dst, num_elements);
}

void encode_iq1_m(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ1_M block{};
    const CodebookBlock fit = fit_shifted(in, 16, true);
    const uint32_t d = fit.d;
    for (int w = 0; w < 4; ++w) {
      uint32_t word = ((d >> (4 * w)) & 15u) << 12;
      for (int j = 0; j < 4; ++j) word |= static_cast<uint32_t>(fit.scales[4 * w + j]) << (3 * j);
      block.scales[2 * w] = static_cast<uint8_t>(word & 255u);
      block.scales[2 * w + 1] = static_cast<uint8_t>(word >> 8);
    }
    for (int vector = 0; vector < 32; ++vector) {
      block.qs[vector] = static_cast<uint8_t>(fit.indices[vector] & 255);
      const int nibble = (fit.indices[vector] >> 8) | (fit.negative[vector] ? 8 : 0);
      block.qh[vector / 2] |= static_cast<uint8_t>(nibble << (4 * (vector % 2)));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
