#include "formats/quant/iq3_s.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ3_S& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const int scale = (block.scales[group / 2] >> (4 * (group % 2))) & 15;
    out.scales[group] = static_cast<int16_t>(2 * scale + 1);
  }
  for (int vector = 0; vector < 64; ++vector) {
    const uint32_t entry = kIq3SGrid[block.index(vector)];
    const uint32_t signs = block.signs[vector / 2] >> (4 * (vector % 2));
    int8_t* codes = out.codes + 4 * vector;
    for (int j = 0; j < 4; ++j) codes[j] = iq_signed(entry, signs, j);
  }
}

}  // namespace

void unpack_iq3_s(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ3_S>(block), out);
}

void decode_iq3_s(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ3_S, kIQ3_SShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
