// Flash attention by bfloat16 tiles (AMX-BF16). Queries, keys, weights and values are each the sum
// of two bfloat16, a high and a low part, and a product is three: high by high, low by high, high
// by low. What is left out is 2^-15 of it at most. F16 has few enough bits to be such a sum
// exactly.
//
// Rows (queries) are the rows of a product's first factor and of its sums, so that few of them take
// little time; keys are turned while they are packed, values are not. Positions are taken in blocks
// of 64 aligned to absolute positions, packed once for all rows of a tile. Every element of a sum
// is added up in one order, whatever lies beside it.
//
// A block moves 64 * (k + v) cached elements. For sixteen rows it takes 3 * (k + v) / 8 products of
// tiles at 16 cycles, and weights some 50 cycles a row; packing takes 6 (values) and 10 (keys)
// cycles for 32 elements, as long as AVX-512 takes to multiply them for eight rows. So it pays
// from some sixteen heads of a KV head on (attention_has_many_heads).
#define REALM_ISA amx
#include "backends/cpu/attention_amx.h"

#include <immintrin.h>

#include "backends/cpu/simd.h"
#include "backends/cpu/tiles_amx.h"
#include "backends/cpu/transpose.h"
#include "backends/cpu/transpose_avx512.h"

namespace realm::cpu::amx {
namespace {

constexpr int kPage = 32;  // positions of a page, and k of a product
constexpr int kBlock = 64;
constexpr int kPages = kBlock / kPage;
constexpr int kRows = 16;  // of a group
constexpr int kColumns = kBlock / kLanes;
// No score is this low; finite, so that the difference of two of them is a number.
constexpr float kNoScore = -1e30f;

// A tile: 16 rows of 32 elements, or 16 pairs of them for 16 columns.
struct alignas(64) Tile {
  uint16_t of[16][32];
};
// A matrix's high and low part.
struct Parts {
  Tile high, low;
};
constexpr int64_t kPartsFloats = sizeof(Parts) / sizeof(float);

constexpr int64_t whole(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit;
}

// Where what a split works on lies, in the scratch memory.
struct Workspace {
  Parts* keys;       // [k_dim / 32][position tile]: pairs of dimensions by 16 positions
  Parts* values;     // [v_dim / 16][page]: pairs (i, i + 16) of positions by 16 dimensions
  Parts* weights;    // [2][page]: rows by such pairs, of one group and the next
  float* scores;     // [2][16][64], likewise
  Parts* queries;    // [group][k_dim / 32]: rows by dimensions
  int64_t k_blocks;  // k_dim / 32, rounded up
  int64_t v_tiles;   // v_dim / 16, rounded up

  Workspace(float* scratch, int64_t k_dim, int64_t v_dim)
      : keys(reinterpret_cast<Parts*>(scratch)),
        k_blocks(whole(k_dim, 32)),
        v_tiles(whole(v_dim, kLanes)) {
    values = keys + k_blocks * kColumns;
    weights = values + v_tiles * kPages;
    scores = reinterpret_cast<float*>(weights + 2 * kPages);
    queries = reinterpret_cast<Parts*>(scores + 2 * kRows * kBlock);
  }
};

// The upper 16 bits of each lane, and what is left of the float. Where that fits 16 bits exactly
// (F16) the upper ones are cut; else both are rounded, so that what is left has either sign and
// the products of low parts, left out, cancel out.
template <bool kExact>
REALM_INLINE __m512i high_part(Vec x) {
  __m512i bits = _mm512_castps_si512(x.v);
  if constexpr (!kExact) bits = _mm512_add_epi32(bits, _mm512_set1_epi32(0x8000));
  return _mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
}
template <bool kExact>
REALM_INLINE __m512i low_part(Vec x, __m512i high) {
  const __m512i low = _mm512_castps_si512(_mm512_sub_ps(x.v, _mm512_castsi512_ps(high)));
  return kExact ? low : _mm512_add_epi32(low, _mm512_set1_epi32(0x8000));
}

// The upper halves of the lanes of both: of a, then of b.
REALM_INLINE __m512i upper_halves_in_order(__m512i a, __m512i b) {
  alignas(64) static const uint16_t order[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(a, _mm512_load_si512(order), b);
}
// The same lane by lane: of a below, of b above.
REALM_INLINE __m512i upper_halves_by_turns(__m512i a, __m512i b) {
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(a, 16), b);
}
// Four of a, then four of b, again and again.
REALM_INLINE __m512i upper_halves_by_fours(__m512i a, __m512i b) {
  return _mm512_packus_epi32(_mm512_srli_epi32(a, 16), _mm512_srli_epi32(b, 16));
}

#define REALM_SPLIT(name, join)                                                 \
  template <bool kExact>                                                        \
  REALM_INLINE void name(Vec a, Vec b, __m512i* high, __m512i* low) {           \
    const __m512i high_a = high_part<kExact>(a), high_b = high_part<kExact>(b); \
    *high = join(high_a, high_b);                                               \
    *low = join(low_part<kExact>(a, high_a), low_part<kExact>(b, high_b));      \
  }
REALM_SPLIT(split_in_order, upper_halves_in_order)
REALM_SPLIT(split_by_turns, upper_halves_by_turns)
REALM_SPLIT(split_by_fours, upper_halves_by_fours)
#undef REALM_SPLIT

// Column `kColumn` of the sums plus a's parts (tiles 4 and 5) times b's.
template <int kColumn>
REALM_INLINE void add_product(const Parts& b) {
  tile_load<6>(&b.high, 64);
  tile_multiply_bf16<kColumn, 4, 6>();
  tile_load<7>(&b.low, 64);
  tile_multiply_bf16<kColumn, 5, 6>();
  tile_multiply_bf16<kColumn, 4, 7>();
}

// sums [rows][kCount * 16], `stride` floats a row, plus (or with kFresh: set to) the products of
// `a` [blocks] and `b`, whose blocks and columns lie `block_step` and `column_step` apart. After
// each block `between` does what the tile unit does not wait for.
template <int kCount, bool kFresh, typename Between>
REALM_INLINE void multiply(const Parts* a, const Parts* b, int64_t blocks, int64_t block_step,
                           int64_t column_step, float* sums, int64_t stride, Between& between) {
  const int64_t bytes = stride * static_cast<int64_t>(sizeof(float));
  if constexpr (kFresh) {
    tile_zero<0>();
    if constexpr (kCount > 1) tile_zero<1>();
    if constexpr (kCount > 2) tile_zero<2>();
    if constexpr (kCount > 3) tile_zero<3>();
  } else {
    tile_load<0>(sums, bytes);
    if constexpr (kCount > 1) tile_load<1>(sums + kLanes, bytes);
    if constexpr (kCount > 2) tile_load<2>(sums + 2 * kLanes, bytes);
    if constexpr (kCount > 3) tile_load<3>(sums + 3 * kLanes, bytes);
  }
  for (int64_t i = 0; i < blocks; ++i, ++a, b += block_step) {
    tile_load<4>(&a->high, 64);
    tile_load<5>(&a->low, 64);
    add_product<0>(*b);
    if constexpr (kCount > 1) add_product<1>(b[column_step]);
    if constexpr (kCount > 2) add_product<2>(b[2 * column_step]);
    if constexpr (kCount > 3) add_product<3>(b[3 * column_step]);
    between();
  }
  tile_store_rows<0>(sums, bytes);
  if constexpr (kCount > 1) tile_store_rows<1>(sums + kLanes, bytes);
  if constexpr (kCount > 2) tile_store_rows<2>(sums + 2 * kLanes, bytes);
  if constexpr (kCount > 3) tile_store_rows<3>(sums + 3 * kLanes, bytes);
}

template <bool kFresh, typename Between>
void multiply_columns(int64_t count, const Parts* a, const Parts* b, int64_t blocks,
                      int64_t block_step, int64_t column_step, float* sums, int64_t stride,
                      Between& between) {
  for (; count >= 4; count -= 4, b += 4 * column_step, sums += 4 * kLanes) {
    multiply<4, kFresh>(a, b, blocks, block_step, column_step, sums, stride, between);
  }
  switch (count) {
    case 3:
      return multiply<3, kFresh>(a, b, blocks, block_step, column_step, sums, stride, between);
    case 2:
      return multiply<2, kFresh>(a, b, blocks, block_step, column_step, sums, stride, between);
    case 1:
      return multiply<1, kFresh>(a, b, blocks, block_step, column_step, sums, stride, between);
    default:
      return;
  }
}

// The rows' queries times the factor that makes scores of them.
void pack_queries(const AttentionTile& tile, const Workspace& work) {
  const int rows = tile.num_tokens * tile.num_heads;
  Parts* to = work.queries;
  for (int first = 0; first < rows; first += kRows, to += work.k_blocks) {
    for (int r = 0; r < kRows; ++r) {
      const int token = (first + r) / tile.num_heads, head = (first + r) % tile.num_heads;
      const float* q = tile.q + token * tile.q_token_stride + head * tile.q_head_stride;
      for (int64_t i = 0; i < work.k_blocks; ++i) {
        Vec part[2] = {zero(), zero()};
        for (int j = 0; j < 2 && first + r < rows; ++j) {
          const int64_t d = i * 32 + j * kLanes, left = tile.k_dim - d;
          if (left > 0) {
            const Vec x = left >= kLanes ? load(q + d) : load_partial(q + d, left);
            part[j] = mul(x, splat(tile.scale));
          }
        }
        __m512i high, low;
        split_in_order<false>(part[0], part[1], &high, &low);
        _mm512_store_si512(to[i].high.of[r], high);
        _mm512_store_si512(to[i].low.of[r], low);
      }
    }
  }
}

template <CacheType kType>
constexpr int64_t kPairBytes =  // of 32 elements
    kType == CacheType::kQ8_0 ? 34 : 32 * kElementBytes<kType>;

// Elements d .. d + 15 of a cached row, zeros past `dim`.
template <CacheType kType>
REALM_INLINE Vec load_padded(const uint8_t* row, int64_t d, int64_t dim) {
  if constexpr (kType == CacheType::kQ8_0) {
    return load_cached<kType>(row, d);  // rows are whole blocks
  } else {
    if (d + kLanes <= dim) return load_cached<kType>(row, d);
    return d < dim ? load_cached_partial<kType>(row, d, dim - d) : zero();
  }
}

// Asks for a line of the next block while this one is packed.
REALM_INLINE void ask(const uint8_t* p) {
  __builtin_prefetch(p, 0, 2);
}

// Sixteen positions by 32 dimensions from d on.
template <CacheType kType>
REALM_INLINE void pack_key_tile(const uint8_t* rows, int64_t stride, int64_t ahead, int64_t d,
                                int64_t dim, Parts* to) {
  const uint8_t* lines = rows + ahead + d / 32 * kPairBytes<kType>;
  if constexpr (kType == CacheType::kF16) {
    const int64_t left = dim - d;
    const __mmask32 some = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
    __m512i r[16];
    for (int j = 0; j < 16; ++j) {
      ask(lines + j * stride);
      // In the order that split_by_fours makes natural.
      const int position = j % 8 / 2 * 4 + j / 8 * 2 + j % 2;
      r[j] = _mm512_maskz_loadu_epi16(some, rows + position * stride + 2 * d);
    }
    transpose_16x16(r);
    for (int p = 0; p < 16; ++p) {
      const Vec a = {_mm512_cvtph_ps(_mm512_castsi512_si256(r[p]))};
      const Vec b = {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(r[p], 1))};
      __m512i high, low;
      split_by_fours<true>(a, b, &high, &low);
      _mm512_store_si512(to->high.of[p], high);
      _mm512_store_si512(to->low.of[p], low);
    }
  } else {
    __m512i high[16], low[16];
    for (int j = 0; j < 16; ++j) {
      ask(lines + j * stride);
      if constexpr (kType == CacheType::kF32) ask(lines + j * stride + 64);
      const uint8_t* row = rows + j * stride;
      split_in_order<false>(load_padded<kType>(row, d, dim),
                            load_padded<kType>(row, d + kLanes, dim), &high[j], &low[j]);
    }
    transpose_16x16(high);
    transpose_16x16(low);
    for (int p = 0; p < 16; ++p) {
      _mm512_store_si512(to->high.of[p], high[p]);
      _mm512_store_si512(to->low.of[p], low[p]);
    }
  }
}

// Two positions by all dimensions, as pair `pair` of a page; without kSecond the second is zeros.
template <CacheType kType, bool kSecond>
REALM_INLINE void pack_value_pair(const uint8_t* first, const uint8_t* second, int64_t ahead,
                                  int64_t dim, int pair, Parts* to) {
  for (int64_t d = 0; d < dim; d += kLanes, to += kPages) {
    const int64_t line = ahead + d / 32 * kPairBytes<kType> + d % 32 * kPairBytes<kType> / 32;
    if (kType == CacheType::kF32 || d % 32 == 0) ask(first + line), ask(second + line);
    const Vec a = load_padded<kType>(first, d, dim);
    const Vec b = kSecond ? load_padded<kType>(second, d, dim) : zero();
    __m512i high, low;
    split_by_turns<kType == CacheType::kF16>(a, b, &high, &low);
    _mm512_store_si512(to->high.of[pair], high);
    _mm512_store_si512(to->low.of[pair], low);
  }
}

// A page of the block at `begin` as `span`, what the tile reads, has it.
struct Page {
  bool present;         // or nothing of it is read, nor its number known
  int64_t index, next;  // of the cache, and of the next block
  int count;            // positions
};
REALM_INLINE Page page_of(const AttentionTile& tile, AttentionSpan span, int64_t at) {
  if (at < span.begin || at >= span.end) return {false, 0, 0, 0};
  const int64_t index = tile.pages[at / kPage];
  const int64_t next = at + kBlock < span.end ? tile.pages[at / kPage + kPages] : index;
  return {true, index, next, static_cast<int>(span.end - at < kPage ? span.end - at : kPage)};
}

// Keys past the span's end, and outside of it, may be anything: their scores are not used.
template <CacheType kType>
void pack_keys(const AttentionTile& tile, AttentionSpan span, int64_t begin,
               const Workspace& work) {
  for (int i = 0; i < kPages; ++i) {
    const Page page = page_of(tile, span, begin + i * kPage);
    Parts* keys = work.keys + i * (kColumns / kPages);
    if (!page.present) {
      for (int64_t b = 0; b < work.k_blocks; ++b) {
        memset(static_cast<void*>(keys + b * kColumns), 0, sizeof(Parts) * kColumns / kPages);
      }
      continue;
    }
    const uint8_t* rows = tile.k_cache + page.index * tile.k_page_stride;
    const int64_t ahead = (page.next - page.index) * tile.k_page_stride;
    for (int64_t b = 0; b < work.k_blocks; ++b) {
      for (int t = 0; t < kColumns / kPages; ++t) {
        pack_key_tile<kType>(rows + t * kLanes * tile.k_row_stride, tile.k_row_stride, ahead,
                             b * 32, tile.k_dim, keys + b * kColumns + t);
      }
    }
  }
}

// Values past the span's end, and outside of it, are zeros.
template <CacheType kType>
void pack_values(const AttentionTile& tile, AttentionSpan span, int64_t begin,
                 const Workspace& work) {
  for (int i = 0; i < kPages; ++i) {
    const Page page = page_of(tile, span, begin + i * kPage);
    Parts* values = work.values + i;
    const uint8_t* rows = tile.v_cache + page.index * tile.v_page_stride;
    const int64_t ahead = (page.next - page.index) * tile.v_page_stride;
    for (int j = 0; j < kLanes; ++j) {
      const uint8_t* first = rows + j * tile.v_row_stride;
      const uint8_t* second = first + kLanes * tile.v_row_stride;
      if (j + kLanes < page.count) {
        pack_value_pair<kType, true>(first, second, ahead, tile.v_dim, j, values);
      } else if (j < page.count) {
        pack_value_pair<kType, false>(first, second, ahead, tile.v_dim, j, values);
      } else {
        for (int64_t t = 0; t < work.v_tiles; ++t) {
          memset(values[t * kPages].high.of[j], 0, 64);
          memset(values[t * kPages].low.of[j], 0, 64);
        }
      }
    }
  }
}

// A row's scores of the block, cap, slope and mask applied. first, end: what it sees of the block.
// distance: of the block's first position from the row's own.
struct RowMask {
  int first, end;
  float slope, distance;
};
REALM_INLINE void finish_scores(const AttentionTile& tile, const RowMask& mask, Vec* s) {
  if (tile.cap > 0.0f) {
    for (int i = 0; i < kColumns; ++i) s[i] = mul(tanh(s[i]), splat(tile.cap));
  }
  if (mask.slope != 0.0f) {
    float distances[kBlock];
    for (int i = 0; i < kBlock; ++i) distances[i] = mask.distance + static_cast<float>(i);
    for (int i = 0; i < kColumns; ++i) {
      s[i] = fma(splat(mask.slope), load(distances + i * kLanes), s[i]);
    }
  }
  if (mask.first > 0 || mask.end < kBlock) {
    for (int i = 0; i < kColumns; ++i) {
      s[i] = keep_lanes(s[i], mask.first - i * kLanes, mask.end - i * kLanes, kNoScore);
    }
  }
}

// Turns row r's scores into weights and brings its state (attention.inc.h) up to date.
REALM_INLINE void weigh(const AttentionTile& tile, const RowMask& mask, const float* scores,
                        int64_t v_padded, int r, Parts* weights, float* row) {
  Vec s[kColumns];
  for (int i = 0; i < kColumns; ++i) s[i] = load(scores + i * kLanes);
  finish_scores(tile, mask, s);
  float* values = row + kLanes;
  float* row_max = values + v_padded;
  const float old_max = *row_max;
  const float block_max = reduce_max(max(max(s[0], s[1]), max(s[2], s[3])));
  const float new_max = old_max > block_max ? old_max : block_max;
  Vec sums = load(row);
  if (new_max != old_max) {  // or the correction is exactly 1
    const Vec correction = exp2_negative(splat(old_max - new_max));
    sums = mul(sums, correction);
    for (int64_t d = 0; d < v_padded; d += kLanes) {
      store(values + d, mul(load(values + d), correction));
    }
    *row_max = new_max;
  }
  Vec w[kColumns];
  for (int i = 0; i < kColumns; ++i) w[i] = exp2_negative(sub(s[i], splat(new_max)));
  if (mask.first > 0 || mask.end < kBlock) {
    for (int i = 0; i < kColumns; ++i) {
      w[i] = keep_lanes(w[i], mask.first - i * kLanes, mask.end - i * kLanes, 0.0f);
    }
  }
  store(row, add(sums, add(add(w[0], w[1]), add(w[2], w[3]))));
  for (int i = 0; i < kPages; ++i) {
    __m512i high, low;
    split_by_turns<false>(w[2 * i], w[2 * i + 1], &high, &low);
    _mm512_store_si512(weights[i].high.of[r], high);
    _mm512_store_si512(weights[i].low.of[r], low);
  }
}

REALM_INLINE int within_block(int64_t position) {
  return static_cast<int>(position < 0 ? 0 : position > kBlock ? kBlock : position);
}

// A group of rows and the packed block at `begin`: scores, weights, and values added up.
class Group {
 public:
  Group(const AttentionTile& tile, const Workspace& work, int index, int64_t begin, float* state)
      : tile_(tile), work_(work), begin_(begin), index_(index), first_(index * kRows) {
    const int rows = tile.num_tokens * tile.num_heads;
    rows_ = rows - first_ < kRows ? rows - first_ : kRows;
    row_floats_ = attention_row_floats(tile.v_dim);
    state_ = state + first_ * row_floats_;
    // The last row sees the most.
    seen_ = within_block(tile.positions[(first_ + rows_ - 1) / tile.num_heads] + 1 - begin);
    scores_ = work.scores + index % 2 * kRows * kBlock;
    weights_ = work.weights + index % 2 * kPages;
  }

  bool sees_block() const {
    return seen_ > 0 && attention_oldest(tile_, first_ / tile_.num_heads) < begin_ + kBlock;
  }
  template <typename Between>
  void score(Between& between) const {
    multiply_columns<true>(whole(seen_, kLanes), work_.queries + index_ * work_.k_blocks,
                           work_.keys, work_.k_blocks, kColumns, 1, scores_, kBlock, between);
  }
  // The next `count` rows' weights.
  void weigh_some(int count) {
    for (; count > 0 && weighed_ < rows_; --count, ++weighed_) {
      const int r = weighed_, row = first_ + r;
      const int token = row / tile_.num_heads, head = row % tile_.num_heads;
      const int64_t position = tile_.positions[token];
      const RowMask mask = {.first = within_block(attention_oldest(tile_, token) - begin_),
                            .end = within_block(position + 1 - begin_),
                            .slope = tile_.slopes == nullptr ? 0.0f : tile_.slopes[head] * kLog2E,
                            .distance = static_cast<float>(begin_ - position)};
      weigh(tile_, mask, scores_ + r * kBlock, work_.v_tiles * kLanes, r, weights_,
            state_ + r * row_floats_);
    }
  }
  template <typename Between>
  void add_values(Between& between) const {
    multiply_columns<false>(work_.v_tiles, weights_, work_.values, whole(seen_, kPage), 1, kPages,
                            state_ + kLanes, row_floats_, between);
  }

 private:
  const AttentionTile& tile_;
  const Workspace& work_;
  int64_t begin_, row_floats_;
  int index_, first_, rows_, seen_, weighed_ = 0;
  float *state_, *scores_;
  Parts* weights_;
};

struct Nothing {
  void operator()() const {}
};
// Some rows of a group between the products of its neighbours.
struct WeighSome {
  Group& group;
  int rows;
  void operator()() const { group.weigh_some(rows); }
};

// All groups through one packed block. The tile unit is at the scores of the next group and the
// values of the one before while this one's weights are made; memory just written is not read at
// once, which would wait for it.
void fold_block(const AttentionTile& tile, const Workspace& work, int64_t begin, float* state) {
  const int groups = static_cast<int>(whole(tile.num_tokens * tile.num_heads, kRows));
  const auto group = [&](int i) { return Group(tile, work, i, begin, state); };
  int i = 0, end = groups;
  while (i < groups && !group(i).sees_block()) ++i;
  while (end > i && !group(end - 1).sees_block()) --end;
  if (i == end) return;
  const int64_t steps = work.k_blocks + kPages * whole(work.v_tiles, 4);
  const int share = static_cast<int>(whole(kRows, steps));
  Nothing nothing;
  group(i).score(nothing);
  for (const int begin_group = i; i < end; ++i) {
    Group own = group(i);
    WeighSome some = {own, share};
    if (i + 1 < end) group(i + 1).score(some);
    if (i > begin_group) group(i - 1).add_values(some);
    own.weigh_some(kRows);
  }
  group(end - 1).add_values(nothing);
}

template <CacheType kType>
void attend_split(const AttentionTile& tile, int64_t split_index, float* scratch, float* state) {
  const int rows = tile.num_tokens * tile.num_heads;
  const int64_t row_floats = attention_row_floats(tile.v_dim);
  const Workspace work(scratch, tile.k_dim, tile.v_dim);
  pack_queries(tile, work);
  memset(static_cast<void*>(work.weights), 0, 2 * sizeof(Parts) * kPages);
  memset(static_cast<void*>(work.scores), 0, 2 * sizeof(float) * kRows * kBlock);
  memset(state, 0, static_cast<size_t>(state_floats(rows, tile.v_dim)) * sizeof(float));
  for (int r = 0; r < rows; ++r) {
    state[r * row_floats + kLanes + work.v_tiles * kLanes] = kNoScore;
  }
  const AttentionSpan span = attention_span(tile, split_index);
  const TileSession session(TileShape{.first_rows = rows < kRows ? rows : kRows});
  const int64_t first = span.begin / kBlock * kBlock;
  if (rows > kRows) {
    for (int64_t begin = first; begin < span.end; begin += kBlock) {
      pack_keys<kType>(tile, span, begin, work);
      pack_values<kType>(tile, span, begin, work);
      fold_block(tile, work, begin, state);
    }
    return;
  }
  // One group has no neighbour: packing lies between its products and their use.
  Nothing nothing;
  if (first < span.end) pack_keys<kType>(tile, span, first, work);
  for (int64_t begin = first; begin < span.end; begin += kBlock) {
    Group group(tile, work, 0, begin, state);
    group.score(nothing);
    pack_values<kType>(tile, span, begin, work);
    group.weigh_some(kRows);
    if (begin + kBlock < span.end) pack_keys<kType>(tile, span, begin + kBlock, work);
    group.add_values(nothing);
  }
}

}  // namespace

int64_t tile_rows(int64_t k_dim, int64_t v_dim) {
  // Queries and two states of the rows in a part of the second-level cache.
  constexpr int64_t kMost = 256, kFloats = 128 * 1024;
  const int64_t fit = kFloats / (k_dim + 2 * attention_row_floats(v_dim)) / kRows * kRows;
  return fit > kMost ? kMost : fit < kRows ? kRows : fit;
}

int64_t state_floats(int64_t rows, int64_t v_dim) {
  // Products of several groups write whole ones.
  return (rows > kRows ? whole(rows, kRows) * kRows : rows) * attention_row_floats(v_dim);
}

int64_t scratch_floats(int64_t rows, int64_t k_dim, int64_t v_dim) {
  const int64_t k_blocks = whole(k_dim, 32), v_tiles = whole(v_dim, kLanes);
  const int64_t parts =
      k_blocks * kColumns + v_tiles * kPages + 2 * kPages + whole(rows, kRows) * k_blocks;
  return parts * kPartsFloats + 2 * kRows * kBlock;
}

void attention_split(const AttentionTile& tile, int64_t split_index, float* scratch, float* state) {
  switch (tile.cache_type) {
    case CacheType::kF32:
      return attend_split<CacheType::kF32>(tile, split_index, scratch, state);
    case CacheType::kF16:
      return attend_split<CacheType::kF16>(tile, split_index, scratch, state);
    case CacheType::kBF16:
      return attend_split<CacheType::kBF16>(tile, split_index, scratch, state);
    case CacheType::kQ8_0:
      return attend_split<CacheType::kQ8_0>(tile, split_index, scratch, state);
    case CacheType::kE4M3:
      return attend_split<CacheType::kE4M3>(tile, split_index, scratch, state);
  }
}

}  // namespace realm::cpu::amx
