#include "backends/cuda/attention_prefill_typed.cuh"

namespace realm::cuda {

template Status attend_prefill_of<CacheType::kBF16>(Context&, const AttentionArgs&);
template Status attend_shared_of<CacheType::kBF16>(Context&, const AttentionArgs&,
                                                   const SharedPartials&, int);

}  // namespace realm::cuda
