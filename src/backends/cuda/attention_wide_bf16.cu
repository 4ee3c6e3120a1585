#include "backends/cuda/attention_wide.cuh"

namespace realm::cuda {

template Status attend_wide_of<CacheType::kBF16>(Context&, const AttentionArgs&);

}  // namespace realm::cuda
