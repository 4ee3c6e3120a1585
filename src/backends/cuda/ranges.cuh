// Names on a profiler's time line: one range a step, one an op while it is enqueued. NVTX's headers
// load the profiler's library where one is attached; else a range costs a comparison. A toolkit
// without them (they are a package of their own in registries) builds a program without names.
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define REALM_NVTX 1
#endif

namespace realm::cuda {

class Range {
 public:
#ifdef REALM_NVTX
  explicit Range(const char* name) {
    nvtxRangePushA(name);
  }
  ~Range() {
    nvtxRangePop();
  }
#else
  explicit Range(const char*) {}
#endif
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace realm::cuda
