#include "backends/cuda/attention_wide.cuh"

namespace realm::cuda {

template Status attend_wide_of<CacheType::kQ8_0>(Context&, const AttentionArgs&);

}  // namespace realm::cuda
