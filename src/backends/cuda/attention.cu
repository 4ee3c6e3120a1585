// Attention in single precision for every shape and cache: any head sizes, windows, soft caps,
// sinks and slopes. The kernels of attention_decode.cu, attention_prefill.cu, attention_typed.cu
// and attention_wide.cu are tried first. Four warps share a (token, head) pair and take every
// fourth position; limited by the latency of their dependent sums.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "backends/cuda/attention.cuh"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kWarps = 4;

__device__ float cache_value(const std::byte* row, DType type, int d) {
  if (type == DType::kF32) return reinterpret_cast<const float*>(row)[d];
  if (type == DType::kF16) return __half2float(reinterpret_cast<const __half*>(row)[d]);
  if (type == DType::kBF16) {
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[d]);
  }
  if (type == kF8E4M3) {
    const auto code = static_cast<__nv_fp8_storage_t>(row[d]);
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
  }
  const std::byte* block = row + d / 32 * 34;
  const float scale = __half2float(*reinterpret_cast<const __half*>(block));
  return scale * static_cast<float>(reinterpret_cast<const int8_t*>(block + 2)[d % 32]);
}

// kMax: elements of a head that a lane holds.
template <int kMax>
__global__ void __launch_bounds__(32 * kWarps) attend(AttentionArgs a) {
  __shared__ float max_of[kWarps], sum_of[kWarps];
  extern __shared__ float merged[];  // [warps, v_dim]
  const int64_t token = blockIdx.x;
  const int head = static_cast<int>(blockIdx.y), kv_head = head / a.heads_per_kv;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int sequence = find_sequence(a.seq_start, a.num_sequences, static_cast<int>(token));
  const int32_t* pages = a.page_table + sequence * a.max_pages;
  const auto* q =
      reinterpret_cast<const float*>(a.q + token * a.q_token_stride + head * a.q_head_stride);
  float query[kMax], acc[kMax];
#pragma unroll
  for (int i = 0; i < kMax; ++i) {
    const int d = lane + 32 * i;
    query[i] = d < a.k_dim ? q[d] : 0.0f;
    acc[i] = 0.0f;
  }
  const int position = a.positions[token];
  int first =
      a.window > 0 && position - a.window + 1 > 0 ? static_cast<int>(position - a.window + 1) : 0;
  if (a.oldest != nullptr) first = max(first, a.oldest[token]);
  float running_max = -INFINITY, running_sum = 0.0f;
  for (int p = first + warp; p <= position; p += kWarps) {
    const int64_t page = pages[p / kPageTokens];
    const std::byte* k = a.k_cache + page * a.k_page_stride + kv_head * a.k_head_stride +
                         p % kPageTokens * a.k_token_stride;
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kMax; ++i) {
      const int d = lane + 32 * i;
      if (d < a.k_dim) dot += query[i] * cache_value(k, a.cache_type, d);
    }
    float score = cap_score(warp_sum(dot) * a.scale, a.soft_cap);
    if (a.slopes != nullptr) score += a.slopes[head] * static_cast<float>(p - position);
    const float new_max = fmaxf(running_max, score);
    const float correction = expf(running_max - new_max), weight = expf(score - new_max);
    running_sum = running_sum * correction + weight;
    running_max = new_max;
    const std::byte* v = a.v_cache + page * a.v_page_stride + kv_head * a.v_head_stride +
                         p % kPageTokens * a.v_token_stride;
#pragma unroll
    for (int i = 0; i < kMax; ++i) {
      const int d = lane + 32 * i;
      if (d < a.v_dim) acc[i] = acc[i] * correction + weight * cache_value(v, a.cache_type, d);
    }
  }
  if (lane == 0) {
    max_of[warp] = running_max;
    sum_of[warp] = running_sum;
  }
  __syncthreads();
  float total_max = a.sinks != nullptr ? a.sinks[head] : -INFINITY;
  for (int w = 0; w < kWarps; ++w) total_max = fmaxf(total_max, max_of[w]);
  float total = a.sinks != nullptr ? expf(a.sinks[head] - total_max) : 0.0f;
  for (int w = 0; w < kWarps; ++w) {
    if (sum_of[w] > 0.0f) total += sum_of[w] * expf(max_of[w] - total_max);
  }
  const float share = running_sum > 0.0f ? expf(running_max - total_max) : 0.0f;
#pragma unroll
  for (int i = 0; i < kMax; ++i) {
    const int d = lane + 32 * i;
    if (d < a.v_dim) merged[warp * a.v_dim + d] = acc[i] * share;
  }
  __syncthreads();
  float* out = a.out + (token * a.heads + head) * a.v_dim;
  for (int d = static_cast<int>(threadIdx.x); d < a.v_dim; d += 32 * kWarps) {
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += merged[w * a.v_dim + d];
    out[d] = sum / total;
  }
}

// One token of each sequence leaves most rows of a prefill tile empty and its positions in one
// block; where results may depend on the batch, several blocks can share them.
bool wants_parts(const Context& context, const AttentionArgs& a) {
  return !context.batch_invariant && a.num_tokens == a.num_sequences;
}

}  // namespace

Result<bool> attend_into(Context& context, const Attention& op, __nv_bfloat16* out,
                         int64_t out_stride) {
  if (context.compute == Compute::kFp16) return false;  // they write bfloat16
  AttentionArgs args(op);
  args.out16 = out;
  args.out16_stride = out_stride;
  args.out16_permuted = !context.few_tokens(args.num_tokens);
  // How many blocks share a sequence there depends on the batch, and a sequence of more tokens goes
  // elsewhere.
  if (!context.batch_invariant && can_attend_decode(context, args)) {
    TRY(attend_decode(context, args));
    return true;
  }
  if (!context.batch_invariant && can_attend_typed_decode(context, args)) {
    TRY(attend_typed_decode(context, args));
    return true;
  }
  if (can_attend_wide(context, args) && wants_parts(context, args)) return false;
  if (can_attend_typed_prefill(context, args)) {
    TRY(attend_typed_prefill(context, args));
    return true;
  }
  if (can_attend_prefill(args)) {
    TRY(attend_prefill(context, args));
    return true;
  }
  return false;
}

Status run(Context& context, const Attention& op) {
  const AttentionArgs args(op);
  if (args.num_tokens == 0) return {};
  if (!context.batch_invariant && can_attend_decode(context, args)) {
    return attend_decode(context, args);
  }
  if (!context.batch_invariant && can_attend_typed_decode(context, args)) {
    return attend_typed_decode(context, args);
  }
  const bool wide = can_attend_wide(context, args);
  if (wide && wants_parts(context, args)) return attend_wide(context, args);
  if (can_attend_typed_prefill(context, args)) return attend_typed_prefill(context, args);
  if (can_attend_prefill(args)) return attend_prefill(context, args);
  if (wide) return attend_wide(context, args);
  const int longest = args.k_dim > args.v_dim ? args.k_dim : args.v_dim;
  if (longest > 576 || op.k_cache.dtype != op.v_cache.dtype) {
    return Error{ErrorCode::kUnsupported,
                 "attention: head sizes beyond 576, or caches of two types, are not supported on "
                 "CUDA (" +
                     op.k_cache.describe() + ", " + op.v_cache.describe() + ")"};
  }
  const dim3 grid(static_cast<unsigned>(args.num_tokens), static_cast<unsigned>(args.heads));
  const size_t shared = static_cast<size_t>(kWarps * args.v_dim) * sizeof(float);
  if (longest <= 256) {
    attend<8><<<grid, 32 * kWarps, shared, context.stream>>>(args);
  } else {
    attend<18><<<grid, 32 * kWarps, shared, context.stream>>>(args);
  }
  return check_launch("attention");
}

}  // namespace realm::cuda
