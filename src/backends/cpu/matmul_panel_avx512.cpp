// Many tokens on AVX-512 VNNI: 32 weight rows by 512 elements are unpacked once into the
// first-level cache in the order that vpdpbusd wants (four k of sixteen rows a register), then a
// kernel of 2 registers of rows by 6 tokens runs over all tokens. vpdpbusd multiplies unsigned by
// signed: activations come with +128, and each sub-block's sum starts at -128 * (sum of its codes).
#include <immintrin.h>
#include <string.h>

#include "backends/cpu/matmul_avx512.h"
#include "backends/cpu/row_codes_avx512.h"
#include "backends/cpu/transpose_avx512.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kSubs = kPanelK / 16;

// Sixteen weight rows.
struct alignas(64) Panel {
  int8_t codes[kPanelK / 4][16][4];
  int32_t init[kSubs][16];      // -128 * sum of codes, per sub-block
  int32_t scales[kSubs][16];    // super-blocks
  int32_t mins[kSubs / 2][16];  // super-blocks: two sub-blocks' minima as int16 pairs
  float factors[kSubs][16];     // small blocks
  float minima[kPanelK / 32][16];
  float d[kPanelK / 256][16];  // super-blocks
  float dmin[kPanelK / 256][16];
};

struct Scratch {
  Panel panels[2];
  RowCodes rows[16];
};

// Fills a panel from the unpacked stretches of sixteen rows; k a multiple of 32.
void interleave(const RowCodes* rows, const CodeShape& shape, int64_t k, Panel& panel) {
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int64_t begin = 0; begin < k; begin += 64) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(rows[i].codes + begin);
    transpose_16x16(r);
    // A stretch may end in half a register; the other half is never read back.
    for (int q = 0; q < 16; ++q) _mm512_store_si512(panel.codes[begin / 4 + q], r[q]);
    for (int first = 0; first < 64; first += shape.sub) {
      __m512i sum = _mm512_setzero_si512();
      for (int q = first / 4; q < (first + shape.sub) / 4; ++q) {
        sum = _mm512_dpbusd_epi32(sum, bias, r[q]);
      }
      _mm512_store_si512(panel.init[(begin + first) / shape.sub],
                         _mm512_sub_epi32(_mm512_setzero_si512(), sum));
    }
  }
  const int64_t subs = k / shape.sub;
  for (int i = 0; i < 16; ++i) {
    const RowCodes& row = rows[i];
    if (shape.super) {
      for (int64_t j = 0; j < subs; ++j) panel.scales[j][i] = row.scales[j];
      for (int64_t j = 0; shape.has_min && j < subs; j += 2) {
        panel.mins[j / 2][i] = static_cast<int32_t>(static_cast<uint16_t>(row.mins[j]) |
                                                    (static_cast<uint32_t>(row.mins[j + 1]) << 16));
      }
      for (int64_t b = 0; b < k / 256; ++b) {
        panel.d[b][i] = row.d[b];
        panel.dmin[b][i] = row.dmin[b];
      }
    } else {
      for (int64_t j = 0; j < subs; ++j) panel.factors[j][i] = row.factors[j];
      for (int64_t j = 0; shape.has_min && j < k / 32; ++j) panel.minima[j][i] = row.minima[j];
    }
  }
}

// Dot products of one sub-block: sums[r][t] over kSub elements of 2 x 16 rows and kTokens tokens.
template <int kSub, int kTokens>
inline __attribute__((always_inline)) void dot_sub(const Panel* panels, int64_t sub,
                                                   const uint8_t* x, int64_t x_stride,
                                                   __m512i (&sums)[2][kTokens]) {
  for (int r = 0; r < 2; ++r) {
    const __m512i init = _mm512_load_si512(panels[r].init[sub]);
    for (int t = 0; t < kTokens; ++t) sums[r][t] = init;
  }
  const int64_t first = sub * kSub / 4;
#pragma GCC unroll 8
  for (int q = 0; q < kSub / 4; ++q) {
    const __m512i w0 = _mm512_load_si512(panels[0].codes[first + q]);
    const __m512i w1 = _mm512_load_si512(panels[1].codes[first + q]);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      int32_t four;
      memcpy(&four, x + t * x_stride + sub * kSub + 4 * q, 4);
      const __m512i xt = _mm512_set1_epi32(four);
      sums[0][t] = _mm512_dpbusd_epi32(sums[0][t], xt, w0);
      sums[1][t] = _mm512_dpbusd_epi32(sums[1][t], xt, w1);
    }
  }
}

// Activations of a tile of tokens, at the panel's first element.
struct Tokens {
  const uint8_t* biased;
  const float* scales;
  const int16_t* sums;
  int64_t k, group;  // strides: k bytes, k / group scales, k / 16 sums
};

template <int kSub, int kTokens, bool kMin>
void tile_super(const Panel* panels, int64_t k, const Tokens& x, float* acc) {
  for (int64_t b = 0; b < k / 256; ++b) {
    __m512i isum[2][kTokens];
    for (int t = 0; t < kTokens; ++t) isum[0][t] = isum[1][t] = _mm512_setzero_si512();
    for (int64_t sub = b * (256 / kSub); sub < (b + 1) * (256 / kSub); ++sub) {
      __m512i sums[2][kTokens];
      dot_sub<kSub, kTokens>(panels, sub, x.biased, x.k, sums);
      for (int r = 0; r < 2; ++r) {
        const __m512i scale = _mm512_load_si512(panels[r].scales[sub]);
        for (int t = 0; t < kTokens; ++t) {
          isum[r][t] = _mm512_add_epi32(isum[r][t], _mm512_mullo_epi32(sums[r][t], scale));
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      const __m512 dx = _mm512_set1_ps(x.scales[t * (x.k / 256) + b]);
      for (int r = 0; r < 2; ++r) {
        float* out = acc + t * kPanelRows + 16 * r;
        __m512 a = _mm512_loadu_ps(out);
        a = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_load_ps(panels[r].d[b]), dx),
                            _mm512_cvtepi32_ps(isum[r][t]), a);
        if constexpr (kMin) {
          __m512i minima = _mm512_setzero_si512();
          const int16_t* sums = x.sums + t * (x.k / 16) + 16 * b;
          for (int pair = 0; pair < 128 / kSub; ++pair) {
            uint32_t two;
            if constexpr (kSub == 16) {
              memcpy(&two, sums + 2 * pair, 4);
            } else {
              const int16_t* s = sums + 4 * pair;
              two = static_cast<uint16_t>(s[0] + s[1]) | (static_cast<uint32_t>(s[2] + s[3]) << 16);
            }
            minima = _mm512_dpwssd_epi32(minima,
                                         _mm512_load_si512(panels[r].mins[b * (128 / kSub) + pair]),
                                         _mm512_set1_epi32(static_cast<int32_t>(two)));
          }
          a = _mm512_fnmadd_ps(_mm512_mul_ps(_mm512_load_ps(panels[r].dmin[b]), dx),
                               _mm512_cvtepi32_ps(minima), a);
        }
        _mm512_storeu_ps(out, a);
      }
    }
  }
}

template <int kSub, int kTokens, bool kMin>
void tile_small(const Panel* panels, int64_t k, const Tokens& x, float* acc) {
  __m512 a[2][kTokens];
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < 2; ++r) a[r][t] = _mm512_loadu_ps(acc + t * kPanelRows + 16 * r);
  }
  for (int64_t sub = 0; sub < k / kSub; ++sub) {
    const int64_t chunk = sub * kSub / 32;
    __m512i sums[2][kTokens];
    dot_sub<kSub, kTokens>(panels, sub, x.biased, x.k, sums);
    const __m512 f0 = _mm512_load_ps(panels[0].factors[sub]);
    const __m512 f1 = _mm512_load_ps(panels[1].factors[sub]);
    for (int t = 0; t < kTokens; ++t) {
      const float dx = x.scales[t * (x.k / 32) + chunk];
      const __m512 dxs = _mm512_set1_ps(dx);
      a[0][t] = _mm512_fmadd_ps(_mm512_mul_ps(f0, dxs), _mm512_cvtepi32_ps(sums[0][t]), a[0][t]);
      a[1][t] = _mm512_fmadd_ps(_mm512_mul_ps(f1, dxs), _mm512_cvtepi32_ps(sums[1][t]), a[1][t]);
      if constexpr (kMin) {
        const int16_t* s = x.sums + t * (x.k / 16) + 2 * chunk;
        const __m512 weighted = _mm512_set1_ps(dx * static_cast<float>(s[0] + s[1]));
        a[0][t] = _mm512_fmadd_ps(_mm512_load_ps(panels[0].minima[chunk]), weighted, a[0][t]);
        a[1][t] = _mm512_fmadd_ps(_mm512_load_ps(panels[1].minima[chunk]), weighted, a[1][t]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < 2; ++r) _mm512_storeu_ps(acc + t * kPanelRows + 16 * r, a[r][t]);
  }
}

using Tile = void (*)(const Panel* panels, int64_t k, const Tokens& x, float* acc);
constexpr int kMaxTokens = 6;

template <int kTokens>
Tile choose_tile(const CodeShape& shape) {
  if (shape.super) {
    if (shape.sub == 32) {
      return shape.has_min ? tile_super<32, kTokens, true> : tile_super<32, kTokens, false>;
    }
    return shape.has_min ? tile_super<16, kTokens, true> : tile_super<16, kTokens, false>;
  }
  if (shape.sub == 32) {
    return shape.has_min ? tile_small<32, kTokens, true> : tile_small<32, kTokens, false>;
  }
  return tile_small<16, kTokens, false>;
}

}  // namespace

const TokenLayout* biased_tokens() {
  static constexpr TokenLayout layout = {
      .tile_tokens = kMaxTokens,
      .bytes = [](int64_t num_tokens, int64_t k) { return num_tokens * k; },
      .pack =
          [](const QuantizedTokens& x, int64_t num_tokens, int64_t tile, std::byte* to) {
            const int64_t end =
                num_tokens < (tile + 1) * kMaxTokens ? num_tokens : (tile + 1) * kMaxTokens;
            for (int64_t i = tile * kMaxTokens * x.k; i < end * x.k; ++i) {
              to[i] = static_cast<std::byte>(x.codes[i] ^ 0x80);
            }
          },
  };
  return &layout;
}

int64_t panel_scratch_bytes(int64_t num_tokens) {
  return static_cast<int64_t>(sizeof(Scratch)) + 64 +
         num_tokens * kPanelRows * static_cast<int64_t>(sizeof(float));
}

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  auto& work = *reinterpret_cast<Scratch*>(scratch);
  float* acc = reinterpret_cast<float*>(scratch + sizeof(Scratch));
  const BlockFormat& format = *weights.format;
  const CodeShape shape = code_shape(format);
  const RowUnpacker unpack = row_unpacker(format);
  const Tile tiles[kMaxTokens] = {choose_tile<1>(shape), choose_tile<2>(shape),
                                  choose_tile<3>(shape), choose_tile<4>(shape),
                                  choose_tile<5>(shape), choose_tile<6>(shape)};
  memset(acc, 0, static_cast<size_t>(num_tokens) * kPanelRows * sizeof(float));
  for (int64_t begin = 0; begin < weights.k; begin += kPanelK) {
    const int64_t k = weights.k - begin < kPanelK ? weights.k - begin : kPanelK;
    const int64_t offset = begin / format.block_elements * format.block_bytes;
    for (int p = 0; p < 2; ++p) {
      for (int i = 0; i < 16; ++i) {
        // Rows past the end repeat the last one; their sums are dropped.
        int row = 16 * p + i;
        if (row >= weights.num_rows) row = weights.num_rows - 1;
        unpack(format, weights.data + row * weights.row_bytes + offset, k, work.rows[i]);
      }
      interleave(work.rows, shape, k, work.panels[p]);
    }
    for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
      const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
      const Tokens tokens{.biased = reinterpret_cast<const uint8_t*>(x.packed) + t * x.k + begin,
                          .scales = x.scales + (t * x.k + begin) / x.group,
                          .sums = x.sums + (t * x.k + begin) / 16,
                          .k = x.k,
                          .group = x.group};
      tiles[count - 1](work.panels, k, tokens, acc + t * kPanelRows);
    }
  }
  for (int64_t t = 0; t < num_tokens; ++t) {
    memcpy(out + t * out_stride, acc + t * kPanelRows,
           static_cast<size_t>(weights.num_rows) * sizeof(float));
  }
}

}  // namespace realm::cpu::avx512
