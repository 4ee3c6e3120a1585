#include "formats/quant/q3_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/super_block_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ3_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int j = 0; j < 16; ++j) out.scales[j] = static_cast<int16_t>(block.scale(j));
  for (int run = 0; run < 8; ++run) {  // 32 elements each
    const uint8_t* qs = block.qs + 32 * (run / 4);
    for (int l = 0; l < 32; ++l) {
      const int low = (qs[l] >> (2 * (run % 4))) & 3;
      const int high = (block.hmask[l] >> run) & 1;
      out.codes[32 * run + l] = static_cast<int8_t>((low | (high << 2)) - 4);
    }
  }
}

}  // namespace

void unpack_q3_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ3_K>(block), out);
}

void decode_q3_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ3_K, kQ3_KShape, unpack>(src, dst, num_elements);
}

void encode_q3_k(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockQ3_K block{};
    const SymmetricScales fit = fit_symmetric(in, 16, -32, IntegerCodes{-4, 3});
    block.d = fit.d;
    for (int j = 0; j < 16; ++j) block.set_scale(j, fit.scales[j]);
    const float d = in.relative(fit.d);
    for (int i = 0; i < 256; ++i) {
      const float inverse = inverse_or_zero(d * static_cast<float>(fit.scales[i / 16]));
      const int q = nearest_code(in.x[i], inverse, -4, 3) + 4;
      block.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>((q & 3) << (2 * ((i / 32) % 4)));
      block.hmask[i % 32] |= static_cast<uint8_t>((q >> 2) << (i / 32));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
