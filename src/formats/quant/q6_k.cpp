#include "formats/quant/q6_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/super_block_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ6_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int j = 0; j < 16; ++j) out.scales[j] = block.scales[j];
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = block.ql + 64 * half;
    const uint8_t* qh = block.qh + 32 * half;
    int8_t* codes = out.codes + 128 * half;
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<int8_t>(((ql[l] & 15) | ((qh[l] & 3) << 4)) - 32);
      codes[l + 32] = static_cast<int8_t>(((ql[l + 32] & 15) | (((qh[l] >> 2) & 3) << 4)) - 32);
      codes[l + 64] = static_cast<int8_t>(((ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4)) - 32);
      codes[l + 96] = static_cast<int8_t>(((ql[l + 32] >> 4) | ((qh[l] >> 6) << 4)) - 32);
    }
  }
}

}  // namespace

void unpack_q6_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ6_K>(block), out);
}

void decode_q6_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ6_K, kQ6_KShape, unpack>(src, dst, num_elements);
}

void encode_q6_k(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockQ6_K block{};
    const SymmetricScales fit = fit_symmetric(in, 16, -128, IntegerCodes{-32, 31});
    block.d = fit.d;
    for (int j = 0; j < 16; ++j) block.scales[j] = static_cast<int8_t>(fit.scales[j]);
    const float d = in.relative(fit.d);
    for (int i = 0; i < 256; ++i) {
      const float inverse = inverse_or_zero(d * static_cast<float>(fit.scales[i / 16]));
      const int q = nearest_code(in.x[i], inverse, -32, 31) + 32;
      const int half = i / 128, quarter = (i / 32) % 4, l = i % 32;
      block.ql[64 * half + 32 * (quarter % 2) + l] |=
          static_cast<uint8_t>((q & 15) << (4 * (quarter / 2)));
      block.qh[32 * half + l] |= static_cast<uint8_t>((q >> 4) << (2 * quarter));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
