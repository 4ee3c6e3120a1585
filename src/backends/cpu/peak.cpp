#include "backends/cpu/peak.h"

namespace realm::cpu {

double run_peak_loop([[maybe_unused]] Isa isa, [[maybe_unused]] int64_t rounds) {
#if defined(__x86_64__)
  if (isa == Isa::kAmx) return amx_peak_loop(rounds);
  if (isa == Isa::kAvx512) return avx512_peak_loop(rounds);
  if (isa == Isa::kAvx2) return avx2_peak_loop(rounds);
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return neon_peak_loop(rounds);
#endif
  return 0.0;
}

}  // namespace realm::cpu
