#include "formats/quant/q1_0.h"

#include <cmath>

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ1_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int i = 0; i < 128; ++i) out.codes[i] = (block.qs[i / 8] >> (i % 8)) & 1 ? 1 : -1;
}

}  // namespace

void unpack_q1_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ1_0>(block), out);
}

void decode_q1_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ1_0, kQ1_0Shape, unpack>(src, dst, num_elements);
}

void encode_q1_0(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 128; ++b) {
    BlockInput in;
    in.load(src + 128 * b, importance == nullptr ? nullptr : importance + 128 * b, 128);
    BlockQ1_0 block{};
    // The weighted mean magnitude is the best d.
    double magnitude = 0.0, weight = 0.0;
    for (int i = 0; i < 128; ++i) {
      magnitude += static_cast<double>(in.w[i] * std::fabs(in.x[i]));
      weight += static_cast<double>(in.w[i]);
      block.qs[i / 8] |= static_cast<uint8_t>((in.x[i] >= 0.0f ? 1 : 0) << (i % 8));
    }
    block.d = to_fp16_factor(static_cast<float>(magnitude / weight) * in.unit);
    store_block(block, dst, b);
  }
}

}  // namespace realm
