#include "engine/sampling/samplers.h"

namespace realm {

void apply_top_k(Candidates& candidates, const Step& step) {
  candidates.keep_best(static_cast<size_t>(step.params.top_k));
}

}  // namespace realm
