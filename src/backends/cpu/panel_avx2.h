// The data of the AVX2 panel product: how weights lie in a panel, how tokens lie in a tile, and
// which of the two a format needs. Packing weights (matmul_panel_avx2.cpp), packing tokens and
// multiplying (panel_tiles_avx2.cpp) agree on nothing else.
//
// Included only by files compiled for AVX2.
#pragma once

#include <stdint.h>

#include <type_traits>

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::avx2 {

constexpr int kColumns = 256;             // of a panel
constexpr int kGroups = kColumns / 32;    // groups of 32 columns
constexpr int kVectors = kPanelRows / 8;  // of eight rows
constexpr int kTileTokens = 6;            // with two row vectors: 12 sums, 2 weights, 2 to spare

// How a panel is laid out and computed with.
//   kSuper      blocks of 256 with integer scales
//   kSub        elements that share a scale
//   kUnsignedX  activations come as x + 128, weights signed; else weights are unsigned
//   kDepth      pairs of products that fit 16 bits; 0: weights are 16-bit words
//   kMins       small: whether there are minima; super: pairs of them
//   kBias       small: what unsigned weights are too large by
template <bool kSuperOf, int kSubOf, bool kUnsignedXOf, int kDepthOf, int kMinsOf, int kBiasOf>
struct Layout {
  static constexpr bool kSuper = kSuperOf;
  static constexpr int kSub = kSubOf;
  static constexpr bool kUnsignedX = kUnsignedXOf;
  static constexpr int kDepth = kDepthOf;
  static constexpr int kMins = kMinsOf;
  static constexpr int kBias = kBiasOf;
  static constexpr bool kWords = kDepth == 0;
};

struct alignas(64) Panel {
  union {
    uint8_t bytes[kGroups][kVectors][8][32];   // [group][row vector][4 columns][row, column]
    int16_t words[kGroups][kVectors][16][16];  // [group][row vector][2 columns][row, column]
  };
  float scale[16][kPanelRows];          // small: per kSub; super: [0] is d
  float min[kGroups][kPanelRows];       // small: to be added; super: [0] is dmin
  int32_t scale_pairs[16][kPanelRows];  // super: the scale of a kSub twice, 16 bits each
  int32_t min_pairs[8][kPanelRows];     // super: two neighbouring minima, 16 bits each
  int32_t start[kPanelRows];            // kUnsignedX: minus what x + 128 adds
};

// Six tokens (or the four or two that are left) by one panel's columns, in the order in which the
// product reads them; tiles of one panel follow each other.
template <typename L>
struct alignas(64) TokenTile {
  using Code = std::conditional_t<L::kWords, int16_t, uint8_t>;
  static constexpr bool kSmallMin = !L::kSuper && L::kMins != 0;
  Code codes[kTileTokens][kColumns];
  float dx[kTileTokens][L::kSuper ? 1 : kGroups];
  float dx_sum[kTileTokens][kSmallMin ? kGroups : 1];  // dx times a group's sum of codes
  int32_t bias[kTileTokens]
              [L::kBias != 0 ? kColumns / L::kSub : 1];  // kBias times the sum of codes
  int32_t sum_pairs[kTileTokens]
                   [L::kSuper && L::kMins != 0 ? L::kMins : 1];  // of codes, 16 bits each
};

// All tokens over one panel: continues (or, at the first panel, begins) sums[token][kPanelRows],
// for as many tokens as the tiles hold.
template <typename L>
void multiply_tiles(Panel& panel, const TokenTile<L>* tiles, int64_t num_tokens, int groups,
                    int vectors, float* sums);

template <typename L>
const TokenLayout* token_layout_of();

// Tokens that are computed: the last tile holds two, four or six.
constexpr int64_t padded_tokens(int64_t num_tokens) {
  return (num_tokens + 1) / 2 * 2;
}
constexpr int64_t num_tiles(int64_t num_tokens) {
  return (num_tokens + kTileTokens - 1) / kTileTokens;
}

}  // namespace realm::cpu::avx2
