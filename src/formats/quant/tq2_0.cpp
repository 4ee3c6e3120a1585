#include "formats/quant/tq2_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

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

}  // namespace realm
