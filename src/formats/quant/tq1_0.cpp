#include "formats/quant/tq1_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

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

}  // namespace realm
