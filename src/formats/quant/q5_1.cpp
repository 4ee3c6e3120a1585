#include "formats/quant/q5_1.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ5_1& block, UnpackedBlock& out) {
  const uint32_t high = block.qh[0] | (static_cast<uint32_t>(block.qh[1]) << 8) |
                        (static_cast<uint32_t>(block.qh[2]) << 16) |
                        (static_cast<uint32_t>(block.qh[3]) << 24);
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  out.dmin = -fp16_to_float(block.m);
  out.mins[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = static_cast<int8_t>((block.qs[j] & 15) | (((high >> j) & 1) << 4));
    out.codes[j + 16] = static_cast<int8_t>((block.qs[j] >> 4) | (((high >> (j + 16)) & 1) << 4));
  }
}

}  // namespace

void unpack_q5_1(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ5_1>(block), out);
}

void decode_q5_1(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ5_1, kQ5_1Shape, unpack>(src, dst, num_elements);
}

void encode_q5_1(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 32; ++b) {
    BlockInput in;
    in.load(src + 32 * b, importance == nullptr ? nullptr : importance + 32 * b, 32);
    BlockQ5_1 block{};
    const AffineFactors factors = fit_affine_factors(in, 32, 31);
    block.d = factors.d;
    block.m = factors.m;
    const float inverse = inverse_or_zero(in.relative(block.d));
    const float min = in.relative(block.m);
    for (int j = 0; j < 32; ++j) {
      const int q = nearest_code(in.x[j] - min, inverse, 0, 31);
      block.qs[j % 16] |= static_cast<uint8_t>((q & 15) << (4 * (j / 16)));
      block.qh[j / 8] |= static_cast<uint8_t>((q >> 4) << (j % 8));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
