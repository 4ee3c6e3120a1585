#include "formats/quant/q4_0.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ4_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = static_cast<int8_t>((block.qs[j] & 15) - 8);
    out.codes[j + 16] = static_cast<int8_t>((block.qs[j] >> 4) - 8);
  }
}

}  // namespace

void unpack_q4_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ4_0>(block), out);
}

void decode_q4_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ4_0, kQ4_0Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
