#include "formats/quant/q2_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ2_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int i = 0; i < 64; ++i) {
    out.codes[i] = static_cast<int8_t>(((block.qs[i / 4] >> (2 * (i % 4))) & 3) - 1);
  }
}

}  // namespace

void unpack_q2_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ2_0>(block), out);
}

void decode_q2_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ2_0, kQ2_0Shape, unpack>(src, dst, num_elements);
}

void encode_q2_0(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 64; ++b) {
    BlockInput in;
    in.load(src + 64 * b, importance == nullptr ? nullptr : importance + 64 * b, 64);
    BlockQ2_0 block{};
    block.d = fit_factor(in, 64, -1, 2);
    const float inverse = inverse_or_zero(in.relative(block.d));
    for (int i = 0; i < 64; ++i) {
      block.qs[i / 4] |=
          static_cast<uint8_t>((nearest_code(in.x[i], inverse, -1, 2) + 1) << (2 * (i % 4)));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
