#include "formats/quant/q4_1.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ4_1& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  out.dmin = -fp16_to_float(block.m);
  out.mins[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = static_cast<int8_t>(block.qs[j] & 15);
    out.codes[j + 16] = static_cast<int8_t>(block.qs[j] >> 4);
  }
}

}  // namespace

void unpack_q4_1(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ4_1>(block), out);
}

void decode_q4_1(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ4_1, kQ4_1Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
