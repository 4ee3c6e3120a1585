#include "scheduler/stats.h"

namespace realm {

TenantStats SchedulerStats::total() const {
  TenantStats sum;
  for (const TenantStats& row : tenants) {
    sum.running += row.running;
    sum.waiting += row.waiting;
    sum.pages += row.pages;
    sum.prompt_tokens += row.prompt_tokens;
    sum.cached_tokens += row.cached_tokens;
    sum.generated_tokens += row.generated_tokens;
    sum.preemptions += row.preemptions;
    for (size_t i = 0; i < row.finished.size(); ++i) sum.finished[i] += row.finished[i];
  }
  return sum;
}

}  // namespace realm
