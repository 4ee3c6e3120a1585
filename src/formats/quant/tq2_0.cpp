#include "formats/quant/tq2_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/ternary_fit.h"

namespace realm {
namespace {

void unpack(const BlockTQ2_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int run = 0; run < 8; ++run) {  // 32 elements each
    const uint8_t* qs = block.qs + 32 * (run / 4);
    for (int l = 0; l < 32; ++l) {
      out.codes[32 * run + l] = static_cast<int8_t>(((qs[l] >> (2 * (run % 4))) & 3) - 1);
    }
  }
}

}  // namespace

void unpack_tq2_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockTQ2_0>(block), out);
}

void decode_tq2_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockTQ2_0, kTQ2_0Shape, unpack>(src, dst, num_elements);
}

void encode_tq2_0(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockTQ2_0 block{};
    const TernaryFit fit = fit_ternary(in);
    block.d = to_fp16_factor(fit.d * in.unit);
    for (int i = 0; i < 256; ++i) {
      block.qs[32 * (i / 128) + i % 32] |=
          static_cast<uint8_t>((fit.codes[i] + 1) << (2 * ((i / 32) % 4)));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
