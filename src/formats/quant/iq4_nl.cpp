#include "formats/quant/iq4_nl.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/iq4_fit.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

void unpack(const BlockIQ4_NL& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = kIq4Values[block.qs[j] & 15];
    out.codes[j + 16] = kIq4Values[block.qs[j] >> 4];
  }
}

}  // namespace

void unpack_iq4_nl(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ4_NL>(block), out);
}

void decode_iq4_nl(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ4_NL, kIQ4_NLShape, unpack>(src, dst, num_elements);
}

void encode_iq4_nl(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 32; ++b) {
    BlockInput in;
    in.load(src + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 32);
    BlockIQ4_NL block{};
    const float extreme = extreme_of(in.x, 32);
    block.d = least_factor(to_fp16_factor(Iq4Codes{}.fit(in.x, in.w, 32) * in.unit),
                           to_fp16_factor(extreme * in.unit / -127.0f), [&](uint16_t factor) {
                             return Iq4Codes{}.error(in.x, in.w, 32, in.relative(factor));
                           });
    const float inverse = inverse_or_zero(in.relative(block.d));
    for (int j = 0; j < 16; ++j) {
      block.qs[j] = static_cast<uint8_t>(iq4_nearest(in.x[j] * inverse) |
                                         (iq4_nearest(in.x[j + 16] * inverse) << 4));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
