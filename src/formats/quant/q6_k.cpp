#include "formats/quant/q6_k.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ6_K& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int j = 0; j < 16; ++j) out.scales[j] = block.scales[j];
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = block.ql + 64 * half;
    const uint8_t* qh = block.qh + 32 * half;
    int8_t* codes = out.codes + 128 * half;
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<int8_t>(((ql[l] & 15) | ((qh[l] & 3) << 4)) - 32);
      codes[l + 32] = static_cast<int8_t>(((ql[l + 32] & 15) | (((qh[l] >> 2) & 3) << 4)) - 32);
      codes[l + 64] = static_cast<int8_t>(((ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4)) - 32);
      codes[l + 96] = static_cast<int8_t>(((ql[l + 32] >> 4) | ((qh[l] >> 6) << 4)) - 32);
    }
  }
}

}  // namespace

void unpack_q6_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ6_K>(block), out);
}

void decode_q6_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ6_K, kQ6_KShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
