#include "formats/quant/q8_k.h"

#include <cmath>

#include "formats/quant/block_codec.h"
#include "formats/quant/scale_fit.h"

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

void encode_q8_k(const float* src, void* dst, int64_t num_elements, const float*) {
  for (int64_t b = 0; b < num_elements / 256; ++b) {
    const float* x = src + 256 * b;
    BlockQ8_K block{};
    float extreme = 0.0f;
    for (int j = 0; j < 256; ++j) {
      if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
    }
    block.d = extreme / -127.0f;  // the sign that other writers of this format give it
    // Rounded up, the scale of the largest floats would decode to infinity.
    if (!std::isfinite(block.d * 127.0f)) block.d = std::nextafter(block.d, 0.0f);
    // Below 1e-37 the inverse would overflow.
    const float inverse = std::fabs(block.d) > 1e-37f ? 1.0f / block.d : 0.0f;
    for (int j = 0; j < 256; ++j) {
      block.qs[j] = static_cast<int8_t>(nearest_code(x[j], inverse, -127, 127));
      block.bsums[j / 16] = static_cast<int16_t>(block.bsums[j / 16] + block.qs[j]);
    }
    store_block(block, dst, b);
  }
}

}  // namespace realm
