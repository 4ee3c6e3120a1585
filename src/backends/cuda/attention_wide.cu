// Attention by tiles of 64 rows (attention_wide.cuh): which shapes it takes, by type of cache, and
// what adds up the parts of positions.
#include "backends/cuda/attention_wide.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {

extern template Status attend_wide_of<CacheType::kBF16>(Context&, const AttentionArgs&);
extern template Status attend_wide_of<CacheType::kQ8_0>(Context&, const AttentionArgs&);
extern template Status attend_wide_of<CacheType::kE4M3>(Context&, const AttentionArgs&);

namespace wide_detail {
namespace {

constexpr int kMergeThreads = 128;

// Adds up the parts of a token and head, in order.
__global__ void __launch_bounds__(kMergeThreads) merge(const AttentionArgs a, const Parts parts) {
  may_start_next();
  wait_for_inputs();
  const int token = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int sequence = find_sequence(a.seq_start, a.num_sequences, token);
  const int row = (token - a.seq_start[sequence]) * a.heads_per_kv + head % a.heads_per_kv;
  const Work work = work_of(a, sequence, row / kRows * kRows);
  const int tiles = tiles_of_part(work, parts), used = (work.tile_count + tiles - 1) / tiles;
  const int64_t stride = a.num_tokens * a.heads * (a.v_dim + 2);
  const float* from = parts.rows + (static_cast<int64_t>(token) * a.heads + head) * (a.v_dim + 2);
  // Every warp finds the maximum and the total, a lane for each part.
  __shared__ float weights[kPartsMax];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float sink = a.sinks != nullptr ? kLog2e * a.sinks[head] : kLowest;
  float max = sink, total = 0.0f;
  for (int p = lane; p < used; p += 32) max = fmaxf(max, from[p * stride + a.v_dim]);
  max = warp_max(max);
  for (int p = lane; p < used; p += 32) {
    const float weight = power_of_two(from[p * stride + a.v_dim] - max);
    total += weight * from[p * stride + a.v_dim + 1];
    if (threadIdx.x < 32) weights[p] = weight;
  }
  total = warp_sum(total) + (a.sinks != nullptr ? power_of_two(sink - max) : 0.0f);
  __syncthreads();
  float* to = a.out + (static_cast<int64_t>(token) * a.heads + head) * a.v_dim;
  for (int d = static_cast<int>(threadIdx.x); d < a.v_dim; d += kMergeThreads) {
    float sum = 0.0f;
#pragma unroll 8
    for (int p = 0; p < used; ++p) sum += weights[p] * from[p * stride + d];
    to[d] = sum / total;
  }
}

}  // namespace

Status merge_parts(Context& context, const AttentionArgs& a, const Parts& parts) {
  const dim3 rows(static_cast<unsigned>(a.num_tokens), static_cast<unsigned>(a.heads));
  return cuda::launch("attention: parts", merge, rows, kMergeThreads, 0, context.stream, a, parts);
}

}  // namespace wide_detail

bool can_attend_wide(const Context& context, const AttentionArgs& a) {
  const CacheType type = cache_type_of(a.cache_type);
  const bool latent = a.k_cache == a.v_cache;
  const int columns = type == CacheType::kQ8_0 ? 32 : 8;  // of which rows have a multiple
  return context.has_wgmma && type != CacheType::kF32 && a.k_dim % columns == 0 &&
         a.q_token_stride % 8 == 0 && a.q_head_stride % 8 == 0 &&
         a.k_token_stride == cache_row_bytes(type, a.k_dim) && a.window < (int64_t{1} << 31) &&
         a.kv_heads <= 65535 &&
         (latent ? a.k_dim <= 576 && a.v_dim <= 512
                 : a.k_dim <= 256 && a.v_dim <= 256 && a.v_dim % columns == 0 &&
                       a.v_token_stride == cache_row_bytes(type, a.v_dim));
}

Status attend_wide(Context& context, const AttentionArgs& args) {
  switch (cache_type_of(args.cache_type)) {
    case CacheType::kBF16:
      return attend_wide_of<CacheType::kBF16>(context, args);
    case CacheType::kQ8_0:
      return attend_wide_of<CacheType::kQ8_0>(context, args);
    case CacheType::kE4M3:
      return attend_wide_of<CacheType::kE4M3>(context, args);
    default:
      return attend_wide_of<CacheType::kF16>(context, args);
  }
}

}  // namespace realm::cuda
