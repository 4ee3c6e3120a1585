#include "formats/quant/q8_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ8_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 32; ++j) out.codes[j] = block.qs[j];
}

}  // namespace

void unpack_q8_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ8_0>(block), out);
}

void decode_q8_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ8_0, kQ8_0Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
