#include "formats/quant/iq1_s.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ1_S& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d) * 0.125f;
  for (int group = 0; group < 8; ++group) {
    out.scales[group] = static_cast<int16_t>(block.scale(group));
  }
  for (int vector = 0; vector < 32; ++vector) {
    const uint64_t entry = kIq1Grid[block.index(vector)];
    const int delta = block.delta_negative(vector / 4) ? -1 : 1;
    int8_t* codes = out.codes + 8 * vector;
    for (int j = 0; j < 8; ++j) {
      const int g = static_cast<int8_t>((entry >> (8 * j)) & 0xff);
      codes[j] = static_cast<int8_t>(8 * g + delta);
    }
  }
}

}  // namespace

void unpack_iq1_s(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ1_S>(block), out);
}

void decode_iq1_s(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ1_S, kIQ1_SShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
