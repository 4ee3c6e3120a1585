#include "formats/quant/q2_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/super_block_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ2_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.dmin = fp16_to_float(block.dmin);
  for (int j = 0; j < 16; ++j) {
    out.scales[j] = block.scales[j] & 15;
    out.mins[j] = block.scales[j] >> 4;
  }
  for (int run = 0; run < 8; ++run) {  // 32 elements each
    const uint8_t* qs = block.qs + 32 * (run / 4);
    for (int l = 0; l < 32; ++l) {
      out.codes[32 * run + l] = static_cast<int8_t>((qs[l] >> (2 * (run % 4))) & 3);
    }
  }
}

}  // namespace

void unpack_q2_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ2_K>(block), out);
}

void decode_q2_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ2_K, kQ2_KShape, unpack>(src, dst, num_elements);
}

void encode_q2_k(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockQ2_K block{};
    const AffineScales fit = fit_affine_super_block(in, 16, 3, 15);
    uint8_t codes[256];
    affine_codes(in, fit, 16, 3, codes);
    block.d = fit.d;
    block.dmin = fit.dmin;
    for (int j = 0; j < 16; ++j) {
      block.scales[j] = static_cast<uint8_t>(fit.scales[j] | (fit.mins[j] << 4));
    }
    for (int i = 0; i < 256; ++i) {  // byte i % 32 of the half, bit pair (i / 32) % 4
      block.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>(codes[i] << (2 * ((i / 32) % 4)));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
