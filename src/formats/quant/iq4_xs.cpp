#include "formats/quant/iq4_xs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/iq4_fit.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/super_block_fit.h"

namespace realm {
namespace {

void unpack(const BlockIQ4_XS& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    out.scales[group] = static_cast<int16_t>(block.scale(group));
    const uint8_t* qs = block.qs + 16 * group;
    int8_t* codes = out.codes + 32 * group;
    for (int j = 0; j < 16; ++j) {
      codes[j] = kIq4Values[qs[j] & 15];
      codes[j + 16] = kIq4Values[qs[j] >> 4];
    }
  }
}

}  // namespace

void unpack_iq4_xs(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ4_XS>(block), out);
}

void decode_iq4_xs(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ4_XS, kIQ4_XSShape, unpack>(src, dst, num_elements);
}

void encode_iq4_xs(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockIQ4_XS block{};
    const SymmetricScales fit = fit_symmetric(in, 32, -32, Iq4Codes{});
    block.d = fit.d;
    const float d = in.relative(fit.d);
    for (int group = 0; group < 8; ++group) {
      const int stored = fit.scales[group] + 32;
      block.scales_l[group / 2] |= static_cast<uint8_t>((stored & 15) << (4 * (group % 2)));
      block.scales_h = static_cast<uint16_t>(block.scales_h | ((stored >> 4) << (2 * group)));
      const float inverse = inverse_or_zero(d * static_cast<float>(fit.scales[group]));
      const float* x = in.x + 32 * group;
      for (int j = 0; j < 16; ++j) {
        block.qs[16 * group + j] = static_cast<uint8_t>(iq4_nearest(x[j] * inverse) |
                                                        (iq4_nearest(x[j + 16] * inverse) << 4));
      }
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
