#include "backends/cpu/peak.h"
#include "backends/cpu/tiles_amx.h"

namespace realm::cpu {

double amx_peak_loop(int64_t rounds) {
  const amx::TileSession session(64);
  amx::tile_zero<4>();
  amx::tile_zero<5>();
  amx::tile_zero<6>();
  for (int64_t i = 0; i < rounds; ++i) {
    amx::tile_multiply<0, 4, 6>();
    amx::tile_multiply<1, 5, 6>();
    amx::tile_multiply<2, 4, 6>();
    amx::tile_multiply<3, 5, 6>();
  }
  return 2.0 * 16 * 16 * 64 * 4 * static_cast<double>(rounds);
}

}  // namespace realm::cpu
