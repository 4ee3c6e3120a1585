#include "formats/quant/nvfp4.h"

#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockNVFP4& block, UnpackedBlock& out) {
  for (int sub = 0; sub < 4; ++sub) {
    out.d[sub] = static_cast<float>(ue4m3_in_units(block.d[sub])) * 0x1p-10f;
    out.scales[sub] = 1;
    const uint8_t* qs = block.qs + 8 * sub;
    int8_t* codes = out.codes + 16 * sub;
    for (int j = 0; j < 8; ++j) {
      codes[j] = kFp4Values[qs[j] & 15];
      codes[j + 8] = kFp4Values[qs[j] >> 4];
    }
  }
}

}  // namespace

void unpack_nvfp4(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockNVFP4>(block), out);
}

void decode_nvfp4(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockNVFP4, kNVFP4Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
