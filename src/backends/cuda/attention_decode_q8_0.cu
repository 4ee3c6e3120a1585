#include "backends/cuda/attention_decode_typed.cuh"

namespace realm::cuda {

template Status attend_decode_of<CacheType::kQ8_0>(Context&, const AttentionArgs&);

}  // namespace realm::cuda
