// What the attention kernels share: the op as plain numbers.
#pragma once

#include "backends/cuda/context.cuh"
#include "formats/quant/f8_e4m3.h"

namespace realm::cuda {

// A cache's type as a parameter of templates, which the compiler takes enumerators for only.
enum class CacheType { kF32, kF16, kBF16, kQ8_0, kE4M3 };

inline CacheType cache_type_of(DType type) {
  if (type == DType::kF16) return CacheType::kF16;
  if (type == DType::kBF16) return CacheType::kBF16;
  if (type == DType::kQ8_0) return CacheType::kQ8_0;
  return type == kF8E4M3 ? CacheType::kE4M3 : CacheType::kF32;
}

// Bytes of a row of `dim` elements.
__host__ __device__ constexpr int cache_row_bytes(CacheType type, int dim) {
  if (type == CacheType::kF32) return 4 * dim;
  if (type == CacheType::kQ8_0) return dim / 32 * 34;
  return type == CacheType::kE4M3 ? dim : 2 * dim;
}

struct AttentionArgs {
  const std::byte* q;
  const std::byte *k_cache, *v_cache;
  const int32_t* positions;                              // [tokens]
  const int32_t* seq_start;                              // [sequences + 1]
  const int32_t* page_table;                             // [sequences, max_pages]
  const float* sinks;                                    // [heads] or null
  const float* slopes;                                   // [heads] or null
  const int32_t* oldest;                                 // [tokens] or null
  const int32_t* shared;                                 // [sequences, 3] or null
  float* out;                                            // [tokens, heads, v_dim]
  int64_t q_token_stride, q_head_stride;                 // bytes
  int64_t k_page_stride, k_head_stride, k_token_stride;  // bytes
  int64_t v_page_stride, v_head_stride, v_token_stride;
  int64_t num_tokens, num_pages, max_pages, window;
  int num_sequences, heads, kv_heads, heads_per_kv, k_dim, v_dim;
  DType cache_type;
  float scale, soft_cap;
  int first_sequence = 0;  // of the batch, where these are some of its sequences
  // Where set, the output goes here instead, as the next product's x: [tokens, out16_stride].
  __nv_bfloat16* out16 = nullptr;
  int64_t out16_stride = 0;  // elements
  bool out16_permuted = false;

  explicit AttentionArgs(const Attention& op)
      : q(op.q.data),
        k_cache(op.k_cache.data),
        v_cache(op.v_cache.data),
        positions(op.positions.as<const int32_t>()),
        seq_start(op.seq_start.as<const int32_t>()),
        page_table(op.page_table.as<const int32_t>()),
        sinks(op.sinks.empty() ? nullptr : op.sinks.as<const float>()),
        slopes(op.slopes.empty() ? nullptr : op.slopes.as<const float>()),
        oldest(op.oldest.empty() ? nullptr : op.oldest.as<const int32_t>()),
        shared(op.shared.empty() ? nullptr : op.shared.as<const int32_t>()),
        out(op.out.as<float>()),
        q_token_stride(op.q.stride[0]),
        q_head_stride(op.q.stride[1]),
        k_page_stride(op.k_cache.stride[0]),
        k_head_stride(op.k_cache.stride[1]),
        k_token_stride(op.k_cache.stride[2]),
        v_page_stride(op.v_cache.stride[0]),
        v_head_stride(op.v_cache.stride[1]),
        v_token_stride(op.v_cache.stride[2]),
        num_tokens(op.q.dim(0)),
        num_pages(op.k_cache.dim(0)),
        max_pages(op.page_table.dim(1)),
        window(op.window),
        num_sequences(static_cast<int>(op.page_table.dim(0))),
        heads(static_cast<int>(op.q.dim(1))),
        kv_heads(static_cast<int>(op.k_cache.dim(1))),
        heads_per_kv(heads / kv_heads),
        k_dim(static_cast<int>(op.q.dim(2))),
        v_dim(static_cast<int>(op.v_cache.dim(3))),
        cache_type(op.k_cache.dtype),
        scale(op.scale),
        soft_cap(op.soft_cap) {}
};

// One token a sequence, F16 cache, no slopes, no oldest (attention_decode.cu).
bool can_attend_decode(const Context& context, const AttentionArgs& args);
Status attend_decode(Context& context, const AttentionArgs& args);
// Runs of tokens, F16 cache, no slopes, no oldest (attention_prefill.cu).
bool can_attend_prefill(const AttentionArgs& args);
Status attend_prefill(Context& context, const AttentionArgs& args);
// The same on devices without wgmma (attention_prefill_mma.cu).
Status attend_prefill_mma(Context& context, const AttentionArgs& args);

__device__ inline float power_of_two(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Both over caches of BF16, Q8_0 or E4M3, on devices with wgmma (attention_typed.cu).
bool can_attend_typed_decode(const Context& context, const AttentionArgs& args);
Status attend_typed_decode(Context& context, const AttentionArgs& args);
bool can_attend_typed_prefill(const Context& context, const AttentionArgs& args);
Status attend_typed_prefill(Context& context, const AttentionArgs& args);

// Any other shape up to heads of 256, latent ones up to 576 and 512, over caches of every type but
// F32, on devices with wgmma (attention_wide.cu).
bool can_attend_wide(const Context& context, const AttentionArgs& args);
Status attend_wide(Context& context, const AttentionArgs& args);

// The sequence that a token of the batch belongs to.
__device__ inline int find_sequence(const int32_t* seq_start, int num_sequences, int token) {
  int low = 0, high = num_sequences - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (seq_start[middle] <= token) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

__device__ inline float cap_score(float score, float soft_cap) {
  return soft_cap > 0.0f ? soft_cap * tanhf(score / soft_cap) : score;
}

}  // namespace realm::cuda
