#include "formats/quant/iq3_s.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/codebook_fit.h"

namespace realm {
namespace {

void unpack(const BlockIQ3_S& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const int scale = (block.scales[group / 2] >> (4 * (group % 2))) & 15;
    out.scales[group] = static_cast<int16_t>(2 * scale + 1);
  }
  for (int vector = 0; vector < 64; ++vector) {
    const uint32_t entry = kIq3SGrid[block.index(vector)];
    const uint32_t signs = block.signs[vector / 2] >> (4 * (vector % 2));
    int8_t* codes = out.codes + 4 * vector;
    for (int j = 0; j < 4; ++j) codes[j] = iq_signed(entry, signs, j);
  }
}

}  // namespace

void unpack_iq3_s(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ3_S>(block), out);
}

void decode_iq3_s(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ3_S, kIQ3_SShape, unpack>(src, dst, num_elements);
}

void encode_iq3_s(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ3_S block{};
    const CodebookBlock fit = fit_magnitudes(in, CodebookSearch::iq3_s(), 32, false, 1.0f);
    block.d = fit.d;
    for (int group = 0; group < 8; ++group) {
      block.scales[group / 2] |= static_cast<uint8_t>(fit.scales[group] << (4 * (group % 2)));
    }
    for (int vector = 0; vector < 64; ++vector) {
      block.qs[vector] = static_cast<uint8_t>(fit.indices[vector] & 255);
      block.qh[vector / 8] |= static_cast<uint8_t>((fit.indices[vector] >> 8) << (vector % 8));
    }
    for (int octet = 0; octet < 32; ++octet) block.signs[octet] = fit.signs[octet];
    store_block(block, dst, b);
  }
}

}  // namespace realm
