#include "formats/quant/q1_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ1_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int i = 0; i < 128; ++i) out.codes[i] = (block.qs[i / 8] >> (i % 8)) & 1 ? 1 : -1;
}

}  // namespace

void unpack_q1_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ1_0>(block), out);
}

void decode_q1_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ1_0, kQ1_0Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
