#include "backends/cuda/attention_wide.cuh"

namespace realm::cuda {

template Status attend_wide_of<CacheType::kE4M3>(Context&, const AttentionArgs&);

}  // namespace realm::cuda
