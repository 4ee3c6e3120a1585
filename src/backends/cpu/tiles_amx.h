// Tile instructions with the tile's number as a template argument, which the compilers' intrinsics
// do not take, and with the effects on memory stated, which some of theirs leave out.
#pragma once

#include <stdint.h>
#include <string.h>

namespace realm::cpu::amx {

#define REALM_TILE_INLINE static inline __attribute__((always_inline))

// Tiles 0..3 hold sums, 4 and 5 weights, 6 and 7 tokens.
struct TileShape {
  int row_bytes = 64;            // of weights that a product sums over; bfloat16 are two bytes
  int columns = 16;              // tokens
  int first_rows = 16;           // of tile 4, and so of the sums 0 and 2
  int second_rows = first_rows;  // of tile 5, and so of the sums 1 and 3
};

// Tiles are released when it goes, so that the kernel has no state of them to save.
class TileSession {
 public:
  explicit TileSession(int row_bytes) : TileSession(TileShape{.row_bytes = row_bytes}) {}
  explicit TileSession(const TileShape& shape) {
    struct alignas(64) Config {
      uint8_t palette, start_row, reserved[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } config;
    memset(&config, 0, sizeof(config));
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      const bool weights = i == 4 || i == 5;
      config.row_bytes[i] = static_cast<uint16_t>(weights ? shape.row_bytes : 4 * shape.columns);
      config.rows[i] = static_cast<uint8_t>(i >= 6       ? shape.row_bytes / 4
                                            : i % 2 == 0 ? shape.first_rows
                                                         : shape.second_rows);
    }
    asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
  }
  ~TileSession() { asm volatile("tilerelease"); }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
};

template <int kTile>
REALM_TILE_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
REALM_TILE_INLINE void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
REALM_TILE_INLINE void tile_store(void* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(int64_t{64}), "i"(kTile) : "memory");
}
// Rows `stride` bytes apart.
template <int kTile>
REALM_TILE_INLINE void tile_store_rows(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
// sums += weights * tokens
template <int kSums, int kWeights, int kTokens>
REALM_TILE_INLINE void tile_multiply() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kWeights), "i"(kTokens));
}

// The same with unsigned weights.
template <int kSums, int kWeights, int kTokens>
REALM_TILE_INLINE void tile_multiply_unsigned() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kWeights), "i"(kTokens));
}

// The same of pairs of bfloat16 (processors with AMX-BF16: has_bf16_tiles of isa.h).
template <int kSums, int kWeights, int kTokens>
REALM_TILE_INLINE void tile_multiply_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kWeights), "i"(kTokens));
}

}  // namespace realm::cpu::amx
