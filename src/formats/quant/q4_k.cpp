#include "formats/quant/q4_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/super_block_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ4_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.dmin = fp16_to_float(block.dmin);
  for (int j = 0; j < 8; ++j) {
    const KScaleMin sub = k_scale_min(block.scales, j);
    out.scales[j] = sub.scale;
    out.mins[j] = sub.min;
  }
  for (int run = 0; run < 4; ++run) {
    const uint8_t* qs = block.qs + 32 * run;
    int8_t* codes = out.codes + 64 * run;
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<int8_t>(qs[l] & 15);
      codes[l + 32] = static_cast<int8_t>(qs[l] >> 4);
    }
  }
}

}  // namespace

void unpack_q4_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ4_K>(block), out);
}

void decode_q4_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ4_K, kQ4_KShape, unpack>(src, dst, num_elements);
}

void encode_q4_k(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockQ4_K block{};
    const AffineScales fit = fit_affine_super_block(in, 32, 15, 63);
    uint8_t codes[256];
    affine_codes(in, fit, 32, 15, codes);
    block.d = fit.d;
    block.dmin = fit.dmin;
    KScaleMin scales[8];
    for (int j = 0; j < 8; ++j) scales[j] = {fit.scales[j], fit.mins[j]};
    k_pack_scales(scales, block.scales);
    for (int i = 0; i < 256; ++i) {
      block.qs[32 * (i / 64) + i % 32] |=
          static_cast<uint8_t>((codes[i] & 15) << (4 * ((i / 32) % 2)));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
