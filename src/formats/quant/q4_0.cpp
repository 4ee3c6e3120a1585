#include "formats/quant/q4_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ4_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = static_cast<int8_t>((block.qs[j] & 15) - 8);
    out.codes[j + 16] = static_cast<int8_t>((block.qs[j] >> 4) - 8);
  }
}

}  // namespace

void unpack_q4_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ4_0>(block), out);
}

void decode_q4_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ4_0, kQ4_0Shape, unpack>(src, dst, num_elements);
}

void encode_q4_0(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 32; ++b) {
    BlockInput in;
    in.load(src + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 32);
    BlockQ4_0 block{};
    block.d = fit_factor(in, 32, -8, 7);
    const float inverse = inverse_or_zero(in.relative(block.d));
    for (int j = 0; j < 16; ++j) {
      const int low = nearest_code(in.x[j], inverse, -8, 7) + 8;
      const int high = nearest_code(in.x[j + 16], inverse, -8, 7) + 8;
      block.qs[j] = static_cast<uint8_t>(low | (high << 4));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
