// The plain reference of the quantized matrix product: the arithmetic of matmul_kernels.h as
// written, for every block format.
#include <cmath>

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu {
namespace {

// Continues one output's accumulator over one block; x is at the block's first element.
float accumulate_block(const UnpackShape& shape, const UnpackedBlock& block, const int8_t* x,
                       const float* x_scales, const int16_t* x_sums, int group, float acc) {
  const int sub = shape.sub_block < 32 ? shape.sub_block : 32;
  int64_t weighted = 0, minima = 0;
  for (int first = 0; first < shape.elements; first += sub) {
    int32_t dot = 0, sum = 0;
    for (int i = first; i < first + sub; ++i) dot += block.codes[i] * x[i];
    for (int i = first; i < first + sub; i += 16) sum += x_sums[i / 16];
    const int j = first / shape.sub_block;
    if (group == 256) {
      weighted += dot * block.scales[j];
      if (shape.has_min) minima += sum * block.mins[j];
      continue;
    }
    const float dx = x_scales[first / 32];
    const float d = block.d[first / (shape.elements / shape.num_d)];
    acc = std::fma(d * static_cast<float>(block.scales[j]) * dx, static_cast<float>(dot), acc);
    if (shape.has_min) {
      acc = std::fma(-(block.dmin * static_cast<float>(block.mins[j])),
                     dx * static_cast<float>(sum), acc);
    }
  }
  if (group == 256) {
    acc = std::fma(block.d[0] * x_scales[0], static_cast<float>(weighted), acc);
    if (shape.has_min) acc = std::fma(-(block.dmin * x_scales[0]), static_cast<float>(minima), acc);
  }
  return acc;
}

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t*) {
  const BlockFormat& format = *weights.format;
  const UnpackShape& shape = format.shape;
  for (int r = 0; r < weights.num_rows; ++r) {
    for (int64_t t = 0; t < num_tokens; ++t) out[t * out_stride + r] = 0.0f;
    for (int64_t k = 0; k < weights.k; k += shape.elements) {
      UnpackedBlock block;
      format.unpack(weights.data + r * weights.row_bytes + k / shape.elements * format.block_bytes,
                    block);
      for (int64_t t = 0; t < num_tokens; ++t) {
        float& acc = out[t * out_stride + r];
        acc = accumulate_block(shape, block, x.codes + t * x.k + k,
                               x.scales + (t * x.k + k) / x.group, x.sums + (t * x.k + k) / 16,
                               x.group, acc);
      }
    }
  }
}

}  // namespace

const MatMulKernels* scalar_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = dot,
      .panel = dot,
      .scratch_bytes = [](int64_t) { return int64_t{0}; },
      .panel_from = [](DType) { return int64_t{1} << 40; },
      .token_layout = [](DType, int) -> const TokenLayout* { return nullptr; },
      .activation_group = [](const BlockFormat& format, int64_t) { return block_group(format); },
      .float_panel = [](DType) -> const FloatPanel* { return nullptr; },
  };
  return &kernels;
}

}  // namespace realm::cpu
