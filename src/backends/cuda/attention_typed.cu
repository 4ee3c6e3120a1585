// Attention over caches of BF16, Q8_0 and E4M3: which shapes have kernels of their own, and their
// instances by type. What has none, and what is on a device without wgmma, goes to attention.cu's.
#include "backends/cuda/attention_pages.cuh"

namespace realm::cuda {

template <CacheType kType>
Status attend_decode_of(Context& context, const AttentionArgs& args);
template <CacheType kType>
Status attend_prefill_of(Context& context, const AttentionArgs& args);
extern template Status attend_decode_of<CacheType::kBF16>(Context&, const AttentionArgs&);
extern template Status attend_decode_of<CacheType::kQ8_0>(Context&, const AttentionArgs&);
extern template Status attend_decode_of<CacheType::kE4M3>(Context&, const AttentionArgs&);
extern template Status attend_prefill_of<CacheType::kBF16>(Context&, const AttentionArgs&);
extern template Status attend_prefill_of<CacheType::kQ8_0>(Context&, const AttentionArgs&);
extern template Status attend_prefill_of<CacheType::kE4M3>(Context&, const AttentionArgs&);

namespace {

bool is_plain(const Context& context, const AttentionArgs& a) {
  const CacheType type = cache_type_of(a.cache_type);
  const int64_t row_bytes = cache_row_bytes(type, a.k_dim);
  return context.has_wgmma && type != CacheType::kF32 && type != CacheType::kF16 &&
         a.slopes == nullptr && a.oldest == nullptr && a.k_dim == a.v_dim &&
         a.k_cache != a.v_cache && a.q_token_stride % 8 == 0 && a.q_head_stride % 8 == 0 &&
         a.k_token_stride == row_bytes && a.v_token_stride == row_bytes;
}

}  // namespace

bool can_attend_typed_decode(const Context& context, const AttentionArgs& a) {
  return is_plain(context, a) && a.num_tokens == a.num_sequences &&
         (a.k_dim == 64 || a.k_dim == 128 || a.k_dim == 256) && a.heads_per_kv <= kTypedHeadsMax &&
         kTypedSequences * a.kv_heads <= Context::kCounters;
}

Status attend_typed_decode(Context& context, const AttentionArgs& args) {
  switch (cache_type_of(args.cache_type)) {
    case CacheType::kBF16:
      return attend_decode_of<CacheType::kBF16>(context, args);
    case CacheType::kQ8_0:
      return attend_decode_of<CacheType::kQ8_0>(context, args);
    default:
      return attend_decode_of<CacheType::kE4M3>(context, args);
  }
}

bool can_attend_typed_prefill(const Context& context, const AttentionArgs& a) {
  return is_plain(context, a) && (a.k_dim == 64 || a.k_dim == 128) &&
         a.heads_per_kv <= kTypedRows && a.window < (int64_t{1} << 31);
}

Status attend_typed_prefill(Context& context, const AttentionArgs& args) {
  switch (cache_type_of(args.cache_type)) {
    case CacheType::kBF16:
      return attend_prefill_of<CacheType::kBF16>(context, args);
    case CacheType::kQ8_0:
      return attend_prefill_of<CacheType::kQ8_0>(context, args);
    default:
      return attend_prefill_of<CacheType::kE4M3>(context, args);
  }
}

}  // namespace realm::cuda
