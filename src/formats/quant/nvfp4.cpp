#include "formats/quant/nvfp4.h"

#include <cmath>

#include "formats/quant/block_codec.h"
#include "formats/quant/fp4_fit.h"

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

// Half of what the stored byte stands for, to go with the doubled codebook.
float scale_value(int byte) {
  return static_cast<float>(ue4m3_in_units(static_cast<uint8_t>(byte))) * 0x1p-10f;
}

}  // namespace

void unpack_nvfp4(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockNVFP4>(block), out);
}

void decode_nvfp4(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockNVFP4, kNVFP4Shape, unpack>(src, dst, num_elements);
}

void encode_nvfp4(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 64; ++b) {
    const float* x = src + 64 * b;
    BlockNVFP4 block{};
    for (int sub = 0; sub < 4; ++sub) {
      const float* values = x + 16 * sub;
      const float* weights = positive_or_null(importance, 64 * b + 16 * sub, 16);
      float largest = 0.0f;
      for (int j = 0; j < 16; ++j) largest = std::fmax(largest, std::fabs(values[j]));
      int nearest = 0;
      while (nearest < 0x7e && scale_value(nearest) * 12.0f < largest) ++nearest;
      double least = INFINITY;
      for (int candidate = nearest - 6; candidate <= nearest + 3; ++candidate) {
        if (candidate < 0 || candidate > 0x7e) continue;
        const double error = fp4_error(values, weights, 16, scale_value(candidate));
        if (error < least) {
          least = error;
          block.d[sub] = static_cast<uint8_t>(candidate);
        }
      }
      const float d = scale_value(block.d[sub]);
      for (int j = 0; j < 8; ++j) {
        block.qs[8 * sub + j] =
            static_cast<uint8_t>(fp4_nearest(values[j], d) | (fp4_nearest(values[j + 8], d) << 4));
      }
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
