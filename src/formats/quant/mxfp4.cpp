#include "formats/quant/mxfp4.h"

#include <bit>
#include <cmath>

#include "formats/quant/block_codec.h"
#include "formats/quant/fp4_fit.h"
#include "formats/quant/scale_fit.h"

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

void encode_mxfp4(const float* src, void* dst, int64_t num_elements, const float* importance) {
  for (int64_t b = 0; b < num_elements / 32; ++b) {
    const float* x = src + 32 * b;
    BlockMXFP4 block{};
    float largest = 0.0f;
    for (int j = 0; j < 32; ++j) largest = std::fmax(largest, std::fabs(x[j]));
    // At the lower of the two exponents tried the largest values may be cut off, at the higher one
    // the codebook is twice as coarse.
    const float* weights = positive_or_null(importance, 32 * b, 32);
    int exponent = 0;
    std::frexp(largest / 12.0f, &exponent);  // 12 is the doubled codebook's end
    double least = INFINITY;
    for (int candidate = exponent - 2; candidate <= exponent + 1 && largest > 0.0f; ++candidate) {
      // d = 2^(e - 128); beyond 252 the codebook's end is no longer finite.
      const uint8_t e = static_cast<uint8_t>(clamp_int(candidate + 128, 0, 252));
      const double error = fp4_error(x, weights, 32, std::bit_cast<float>(e8m0_half_bits(e)));
      if (error < least) {
        least = error;
        block.e = e;
      }
    }
    const float d = std::bit_cast<float>(e8m0_half_bits(block.e));
    for (int j = 0; j < 16; ++j) {
      block.qs[j] = static_cast<uint8_t>(fp4_nearest(x[j], d) | (fp4_nearest(x[j + 16], d) << 4));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
