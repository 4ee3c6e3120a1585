#include "formats/quant/q2_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ2_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int i = 0; i < 64; ++i) {
    out.codes[i] = static_cast<int8_t>(((block.qs[i / 4] >> (2 * (i % 4))) & 3) - 1);
  }
}

}  // namespace

void unpack_q2_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ2_0>(block), out);
}

void decode_q2_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ2_0, kQ2_0Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
