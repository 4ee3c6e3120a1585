#include "formats/quant/q2_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ2_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.dmin = fp16_to_float(block.dmin);
  for (int j = 0; j < 16; ++j) {
    out.scales[j] = block.scales[j] & 15;
    out.mins[j] = block.scales[j] >> 4;
  }
  for (int run = 0; run < 8; ++run) {  // 32 elements each
    const uint8_t* qs = block.qs + 32 * (run / 4);
    for (int l = 0; l < 32; ++l) {
      out.codes[32 * run + l] = static_cast<int8_t>((qs[l] >> (2 * (run % 4))) & 3);
    }
  }
}

}  // namespace

void unpack_q2_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ2_K>(block), out);
}

void decode_q2_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ2_K, kQ2_KShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
