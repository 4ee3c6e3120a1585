#include "backends/cuda/attention_prefill_typed.cuh"

namespace realm::cuda {

template Status attend_prefill_of<CacheType::kE4M3>(Context&, const AttentionArgs&);
template Status attend_shared_of<CacheType::kE4M3>(Context&, const AttentionArgs&,
                                                   const SharedPartials&, int);

}  // namespace realm::cuda
