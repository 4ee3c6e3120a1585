#include "formats/quant/q8_1.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ8_1& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 32; ++j) out.codes[j] = block.qs[j];
}

}  // namespace

void unpack_q8_1(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ8_1>(block), out);
}

void decode_q8_1(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ8_1, kQ8_1Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
