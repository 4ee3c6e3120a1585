#include "formats/quant/iq1_s.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/codebook_fit.h"

namespace realm {
namespace {

void unpack(const BlockIQ1_S& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d) * 0.125f;
  for (int group = 0; group < 8; ++group) {
    out.scales[group] = static_cast<int16_t>(block.scale(group));
  }
  for (int vector = 0; vector < 32; ++vector) {
    const uint64_t entry = kIq1Grid[block.index(vector)];
    const int delta = block.delta_negative(vector / 4) ? -1 : 1;
    int8_t* codes = out.codes + 8 * vector;
    for (int j = 0; j < 8; ++j) {
      const int g = static_cast<int8_t>((entry >> (8 * j)) & 0xff);
      codes[j] = static_cast<int8_t>(8 * g + delta);
    }
  }
}

}  // namespace

void unpack_iq1_s(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ1_S>(block), out);
}

void decode_iq1_s(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ1_S, kIQ1_SShape, unpack>(src, dst, num_elements);
}

void encode_iq1_s(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ1_S block{};
    const CodebookBlock fit = fit_shifted(in, 32, false);
    block.d = fit.d;
    for (int group = 0; group < 8; ++group) {
      uint32_t high = static_cast<uint32_t>(fit.scales[group]) << 12;
      if (fit.negative[4 * group]) high |= 0x8000u;
      for (int l = 0; l < 4; ++l) {
        const uint32_t index = fit.indices[4 * group + l];
        block.qs[4 * group + l] = static_cast<uint8_t>(index & 255u);
        high |= (index >> 8) << (3 * l);
      }
      block.qh[group] = static_cast<uint16_t>(high);
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
