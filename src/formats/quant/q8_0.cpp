#include "formats/quant/q8_0.h"

#include <cmath>

#include "base/half.h"
#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

void unpack(const BlockQ8_0& block, UnpackedBlock& out) {
  out.d[0] = fp16_to_float(block.d);
  out.scales[0] = 1;
  for (int j = 0; j < 32; ++j) out.codes[j] = block.qs[j];
}

}  // namespace

void unpack_q8_0(const void* block, UnpackedBlock& out) {
  unpack(load_block<BlockQ8_0>(block), out);
}

void decode_q8_0(const void* src, float* dst, int64_t num_elements) {
  decode_blocks<BlockQ8_0, kQ8_0Shape, unpack>(src, dst, num_elements);
}

// With 8 bits the largest magnitude decides; importance would change next to nothing.
void encode_q8_0(const float* src, void* dst, int64_t num_elements, const float*) {
  for (int64_t b = 0; b < num_elements / 32; ++b) {
    const float* x = src + 32 * b;
    BlockQ8_0 block{};
    float largest = 0.0f;
    for (int j = 0; j < 32; ++j) largest = std::fmax(largest, std::fabs(x[j]));
    block.d = to_fp16_factor(largest / 127.0f);
    const float inverse = inverse_or_zero(fp16_to_float(block.d));
    for (int j = 0; j < 32; ++j) {
      block.qs[j] = static_cast<int8_t>(nearest_code(x[j], inverse, -127, 127));
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
