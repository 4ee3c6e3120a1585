#include "formats/quant/iq4_nl.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ4_NL& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = kIq4Values[block.qs[j] & 15];
    out.codes[j + 16] = kIq4Values[block.qs[j] >> 4];
  }
}

}  // namespace

void unpack_iq4_nl(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ4_NL>(block), out);
}

void decode_iq4_nl(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ4_NL, kIQ4_NLShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
