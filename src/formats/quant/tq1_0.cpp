#include "formats/quant/tq1_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"
#include "formats/quant/ternary_fit.h"

namespace realm {
namespace {

void unpack(const BlockTQ1_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int n = 0; n < 5; ++n) {
    for (int m = 0; m < 32; ++m) {
      out.codes[32 * n + m] = static_cast<int8_t>(BlockTQ1_0::digit(block.qs[m], n) - 1);
    }
    for (int m = 0; m < 16; ++m) {
      out.codes[160 + 16 * n + m] = static_cast<int8_t>(BlockTQ1_0::digit(block.qs[32 + m], n) - 1);
    }
  }
  for (int n = 0; n < 4; ++n) {
    for (int m = 0; m < 4; ++m) {
      out.codes[240 + 4 * n + m] = static_cast<int8_t>(BlockTQ1_0::digit(block.qh[m], n) - 1);
    }
  }
}

}  // namespace

void unpack_tq1_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockTQ1_0>(block), out);
}

void decode_tq1_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockTQ1_0, kTQ1_0Shape, unpack>(src, dst, num_elements);
}

void encode_tq1_0(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    BlockInput in;
    in.load(src + 256 * b, importance == nullptr ? nullptr : importance + 256 * b, 256);
    BlockTQ1_0 block{};
    const TernaryFit fit = fit_ternary(in);
    block.d = to_fp16_factor(fit.d * in.unit);
    const auto digit = [&](int i) { return fit.codes[i] + 1; };
    for (int m = 0; m < 32; ++m) {
      block.qs[m] =
          BlockTQ1_0::pack(digit(m), digit(m + 32), digit(m + 64), digit(m + 96), digit(m + 128));
    }
    for (int m = 0; m < 16; ++m) {
      block.qs[32 + m] = BlockTQ1_0::pack(digit(160 + m), digit(176 + m), digit(192 + m),
                                          digit(208 + m), digit(224 + m));
    }
    for (int m = 0; m < 4; ++m) {
      block.qh[m] =
          BlockTQ1_0::pack(digit(240 + m), digit(244 + m), digit(248 + m), digit(252 + m), 0);
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
