#include "formats/quant/q8_k.h"

#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockQ8_K& block, UnpackedBlock& out) {
  out.d[0] = block.d;
  for (int j = 0; j < 256; ++j) out.codes[j] = block.qs[j];
  out.scales[0] = 1;
}

}  // namespace

void unpack_q8_k(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ8_K>(block), out);
}

void decode_q8_k(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ8_K, kQ8_KShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
