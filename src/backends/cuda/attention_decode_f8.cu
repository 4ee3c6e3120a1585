#include "backends/cuda/attention_decode_typed.cuh"

namespace realm::cuda {

template Status attend_decode_of<CacheType::kE4M3>(Context&, const AttentionArgs&);

}  // namespace realm::cuda
