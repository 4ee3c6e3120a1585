#include "formats/quant/iq4_xs.h"

#include "base/half.h"
#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockIQ4_XS& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    out.scales[group] = static_cast<int16_t>(block.scale(group));
    const uint8_t* qs = block.qs + 16 * group;
    int8_t* codes = out.codes + 32 * group;
    for (int j = 0; j < 16; ++j) {
      codes[j] = kIq4Values[qs[j] & 15];
      codes[j + 16] = kIq4Values[qs[j] >> 4];
    }
  }
}

}  // namespace

void unpack_iq4_xs(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockIQ4_XS>(block), out);
}

void decode_iq4_xs(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockIQ4_XS, kIQ4_XSShape, unpack>(src, dst, num_elements);
}

}  // namespace realm
