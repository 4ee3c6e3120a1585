#include "formats/quant/q3_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ3_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int j = 0; j < 16; ++j) out.scales[j] = static_cast<int16_t>(block.scale(j));
  for (int run = 0; run < 8; ++run) {  // 32 elements each
    const uint8_t* qs = block.qs + 32 * (run / 4);
    for (int l = 0; l < 32; ++l) {
      const int low = (qs[l] >> (2 * (run % 4))) & 3;
      const int high = (block.hmask[l] >> run) & 1;
      out.codes[32 * run + l] = static_cast<int8_t>((low | (high << 2)) - 4);
    }
  }
}

}  // namespace

void unpack_q3_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ3_K>(block), out);
}

void decode_q3_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ3_K, kQ3_KShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
