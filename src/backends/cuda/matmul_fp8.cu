// Products in FP8: which go there, their activations, their types' kernels.
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_f16;
extern const Fp8Kernels fp8_q4_0;
extern const Fp8Kernels fp8_q4_1;
extern const Fp8Kernels fp8_q5_0;
extern const Fp8Kernels fp8_q5_1;
extern const Fp8Kernels fp8_q8_0;
extern const Fp8Kernels fp8_q2_k;
extern const Fp8Kernels fp8_q3_k;
extern const Fp8Kernels fp8_q4_k;
extern const Fp8Kernels fp8_q5_k;
extern const Fp8Kernels fp8_q6_k;
extern const Fp8Kernels fp8_iq4_nl;
extern const Fp8Kernels fp8_iq4_xs;
extern const Fp8Kernels fp8_bf16;
extern const Fp8Kernels fp8_tq1_0;
extern const Fp8Kernels fp8_tq2_0;
extern const Fp8Kernels fp8_mxfp4;

namespace {

const Fp8Kernels* const kTable[] = {
    &fp8_f16,    &fp8_q4_0, &fp8_q4_1,  &fp8_q5_0,  &fp8_q5_1,  &fp8_q8_0,
    &fp8_q2_k,   &fp8_q3_k, &fp8_q4_k,  &fp8_q5_k,  &fp8_q6_k,  &fp8_iq4_nl,
    &fp8_iq4_xs, &fp8_bf16, &fp8_tq1_0, &fp8_tq2_0, &fp8_mxfp4,
};

constexpr int kThreads = 256, kWarps = kThreads / 32;

// A token's activations, bfloat16 in the order of steps of 16 columns, to E4M3 in that of steps of
// 32: the 16 places of a step keep their place, and in them the four columns of a lane come to lie
// side by side. Moves 2 bytes an element in, twice where a thread has more than kPieces steps, and
// one out.
__global__ void __launch_bounds__(kThreads)
    quantize(const uint4* x, int64_t k_padded, uint4* out, float* scales) {
  constexpr int kPieces = 4;
  __shared__ float of_warps[kWarps];
  may_start_next();
  wait_for_inputs();
  const int64_t token = blockIdx.x, steps = k_padded / 16;
  const uint4* from = x + token * steps * 2;
  uint4 kept[kPieces][2];
  float most = 0.0f;
  const auto measure = [&](const uint4& words) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = __bfloat1622float2(pair_of(word_of(words, i)));
      most = fmaxf(most, fmaxf(fabsf(pair.x), fabsf(pair.y)));
    }
  };
#pragma unroll
  for (int n = 0; n < kPieces; ++n) {
    const int64_t step = threadIdx.x + int64_t{n} * kThreads;
    if (step >= steps) break;
    kept[n][0] = from[2 * step];
    kept[n][1] = from[2 * step + 1];
    measure(kept[n][0]);
    measure(kept[n][1]);
  }
  for (int64_t step = threadIdx.x + int64_t{kPieces} * kThreads; step < steps; step += kThreads) {
    measure(from[2 * step]);
    measure(from[2 * step + 1]);
  }
  most = warp_max(most);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = most;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) most = fmaxf(most, of_warps[w]);
  const bool is_number = most > 0.0f && most < INFINITY;
  const float scale = is_number ? kE4m3Max / most : 1.0f;
  if (threadIdx.x == 0) scales[token] = is_number ? most / kE4m3Max : 1.0f;
  const auto pack = [&](uint32_t low, uint32_t high) {
    const float2 a = __bfloat1622float2(pair_of(low)), b = __bfloat1622float2(pair_of(high));
    return pack_e4m3(a.x * scale, a.y * scale, b.x * scale, b.y * scale);
  };
  const auto write = [&](int64_t step, const uint4& low, const uint4& high) {
    out[token * steps + step] = {pack(low.x, high.x), pack(low.y, high.y), pack(low.z, high.z),
                                 pack(low.w, high.w)};
  };
#pragma unroll
  for (int n = 0; n < kPieces; ++n) {
    const int64_t step = threadIdx.x + int64_t{n} * kThreads;
    if (step < steps) write(step, kept[n][0], kept[n][1]);
  }
  for (int64_t step = threadIdx.x + int64_t{kPieces} * kThreads; step < steps; step += kThreads) {
    write(step, from[2 * step], from[2 * step + 1]);
  }
}

}  // namespace

const Fp8Kernels* find_fp8_kernels(DType type) {
  for (const Fp8Kernels* kernels : kTable) {
    if (kernels->type == type) return kernels;
  }
  return nullptr;
}

bool goes_to_fp8(const Context& context, const MatMul& op, DType type) {
  if (context.compute != Compute::kFp8 || op.x.dim(0) < kFp8TokensMin) return false;
  for (int i = 0; i < op.num_parts; ++i) {
    if (op.parts[i].weight.dtype != type) continue;
    const Located at = context.locate(op.parts[i].weight);
    if (at.weight == nullptr || at.weight->row_scales == nullptr) return false;
  }
  return find_fp8_kernels(type) != nullptr;
}

Result<Fp8Product> fp8_product_of(const Context& context, const MatMul& op, int first,
                                  const Fp8Activations& x) {
  Fp8Product fp8{
      .product = TRY(product_of(context, op, first)), .row_scales = {}, .x_scales = x.scales};
  fp8.product.x = reinterpret_cast<const __nv_bfloat16*>(x.x);
  int part = 0;
  for (int i = first; i < op.num_parts; ++i) {
    if (op.parts[i].weight.dtype != op.parts[first].weight.dtype) continue;
    const Located at = context.locate(op.parts[i].weight);
    fp8.row_scales[part++] = at.weight->row_scales + at.row_begin;
  }
  return fp8;
}

Result<Fp8Activations> quantize_activations(Context& context, const __nv_bfloat16* x,
                                            int64_t tokens, int64_t k_padded) {
  const auto bytes = static_cast<size_t>(tokens * k_padded);
  std::byte* out = TRY(context.fp8_activations.get(bytes + static_cast<size_t>(tokens) * 4));
  auto* scales = reinterpret_cast<float*>(out + bytes);
  TRY(launch("matmul: activations in FP8", quantize, static_cast<unsigned>(tokens), kThreads, 0,
             context.stream, reinterpret_cast<const uint4*>(x), k_padded,
             reinterpret_cast<uint4*>(out), scales));
  return Fp8Activations{.x = out, .scales = scales};
}

Status scale_rows_for_fp8(cudaStream_t stream, DType type, const std::byte* tiles, int64_t rows,
                          int64_t k, float* scales) {
  const WeightSource source{.data = reinterpret_cast<const uint8_t*>(tiles),
                            .row_bytes = 0,
                            .rows = static_cast<int>(rows),
                            .num_tiles = static_cast<int>((k + kTileColumns - 1) / kTileColumns),
                            .grids = nullptr};
  return find_fp8_kernels(type)->scale_rows(stream, source, scales);
}

}  // namespace realm::cuda
