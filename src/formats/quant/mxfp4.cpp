#include "formats/quant/mxfp4.h"

#include <bit>

#include "formats/quant/block_codec.h"

namespace realm {
namespace {

void unpack(const BlockMXFP4& block, UnpackedBlock& out) {
  out.d[0] = std::bit_cast<float>(e8m0_half_bits(block.e));
  out.scales[0] = 1;
  for (int j = 0; j < 16; ++j) {
    out.codes[j] = kFp4Values[block.qs[j] & 15];
    out.codes[j + 16] = kFp4Values[block.qs[j] >> 4];
  }
}

}  // namespace

void unpack_mxfp4(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockMXFP4>(block), out);
}

void decode_mxfp4(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockMXFP4, kMXFP4Shape, unpack>(src, dst, num_elements);
}

}  // namespace realm
