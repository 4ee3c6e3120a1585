// Flash attention over the paged cache, written once over Vec and compiled per instruction set by
// kernels_<isa>.cpp. A tile is some tokens of one sequence times some query heads of one KV head;
// its rows share one widening of each block of keys and values. Keys are turned (transpose.h) so
// that a score is one chain of multiply-adds over the head's dimensions with positions in the
// lanes; values are added row by row with dimensions in the lanes. Both are register tiles of
// kTileRows rows.
//
// A block of 32 positions moves 32 * (k + v) cached elements and takes 64 * (k + v) operations a
// row: arithmetic limits tiles of many rows, memory those of the few heads of one token.
#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"
#include "backends/cpu/transpose.h"

namespace realm::cpu::REALM_ISA {
namespace {

constexpr int kBlock = kTurnedStride;
// No score is this low; finite, so that the difference of two of them is a number.
constexpr float kNoScore = -1e30f;

// Accumulators that fit the registers, in Vecs, and the rows of a tile.
#if defined(__AVX512F__)
constexpr int kAccumulators = 24, kTileRows = 12;
#else
constexpr int kAccumulators = 6, kTileRows = 6;
#endif

// A row's state over a split: kLanes partial sums of weights, the weighted sum of values, the
// largest score. `row_floats` apart.
REALM_INLINE float* sums_of(float* row) {
  return row;
}
REALM_INLINE float* values_of(float* row) {
  return row + kLanes;
}
REALM_INLINE float* max_of(float* row, int64_t v_padded) {
  return row + kLanes + v_padded;
}

// One block of positions as the tile's rows read it.
struct Block {
  int64_t begin;          // first position
  int count;              // positions up to the tile's last
  const float* k;         // turned, [k_dim][32]
  const uint8_t* v;       // row j at v + j * v_stride
  int64_t v_stride;       // bytes
  const uint8_t* next_k;  // the next block's page, to be asked for; null: not by the rows' work
  int64_t next_v;         // bytes from v to it; 0: likewise
};

// Memory is kept busy by asking for the next block's lines evenly through the work on this one; a
// burst of requests would wait for the first of them.
REALM_INLINE void prefetch(const uint8_t* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

// k_block [k_dim][32] from the page's rows; half of the next page is asked for.
template <CacheType kType>
void turn_keys(const AttentionTile& tile, const uint8_t* page, const uint8_t* next,
               float* k_block) {
  const int64_t whole = tile.k_dim / kLanes * kLanes;
  const int64_t stride = tile.k_row_stride;
  for (int64_t d = 0; d < whole; d += kLanes) {
    const int64_t ahead = stride * (kBlock / 2) / (whole / kLanes);
    prefetch(next + d / kLanes * ahead, ahead);
    turn<kType>(page, stride, d, k_block + d * kBlock);
    turn<kType>(page + kLanes * stride, stride, d, k_block + d * kBlock + kLanes);
  }
  if constexpr (kType != CacheType::kQ8_0) {
    if (whole < tile.k_dim) {
      float* out = k_block + whole * kBlock;
      turn_partial<kType>(page, stride, whole, tile.k_dim - whole, out);
      turn_partial<kType>(page + kLanes * stride, stride, whole, tile.k_dim - whole, out + kLanes);
    }
  }
}

// v_block [32][v_padded] from the first `count` rows of the page; the next pages are asked for.
template <CacheType kType>
void widen_values(const AttentionTile& tile, const uint8_t* page, int count, const uint8_t* next_k,
                  const uint8_t* next_v, float* v_block) {
  const int64_t whole = tile.v_dim / kLanes * kLanes, v_padded = attention_padded(tile.v_dim);
  for (int j = 0; j < count; ++j) {
    const uint8_t* row = page + j * tile.v_row_stride;
    float* out = v_block + j * v_padded;
    prefetch(next_k + (kBlock + j) * tile.k_row_stride / 2, tile.k_row_stride / 2);
    prefetch(next_v + j * tile.v_row_stride, tile.v_row_stride);
    for (int64_t d = 0; d < whole; d += kLanes) store(out + d, load_cached<kType>(row, d));
    if constexpr (kType != CacheType::kQ8_0) {
      if (whole < tile.v_dim) {
        store(out + whole, load_cached_partial<kType>(row, whole, tile.v_dim - whole));
      }
    }
  }
}

// scores [kRows][32] of q [k_dim][kRows] and turned keys. `ahead`: bytes to ask for, if any, `step`
// a dimension.
template <int kRows, int kVecs>
REALM_INLINE void score_tile(const float* q, const float* k, int64_t k_dim, float* scores,
                             const uint8_t* ahead, int64_t step) {
  Vec acc[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) acc[r][v] = zero();
  }
  for (int64_t d = 0; d < k_dim; ++d) {
    prefetch(ahead + d * step, step);
    Vec kd[kVecs];
    for (int v = 0; v < kVecs; ++v) kd[v] = load(k + d * kBlock + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Vec qd = splat(q[d * kRows + r]);
      for (int v = 0; v < kVecs; ++v) acc[r][v] = fma(qd, kd[v], acc[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) store(scores + r * kBlock + v * kLanes, acc[r][v]);
  }
}

template <CacheType kType, int kRows>
void score_rows(const float* q, const float* k, int64_t k_dim, float* scores,
                const uint8_t* ahead) {
  const int64_t step = ahead == nullptr ? 0 : kElementBytes<kType> * kBlock / 2;
  if constexpr (2 * kRows <= kAccumulators) {
    score_tile<kRows, 2>(q, k, k_dim, scores, ahead, step);
  } else {
    score_tile<kRows, 1>(q, k, k_dim, scores, ahead, step / 2);
    score_tile<kRows, 1>(q, k + kLanes, k_dim, scores + kLanes, ahead + k_dim * (step / 2),
                         step / 2);
  }
}

// Adds weights [kRows][32] times the block's rows of values to dimensions d .. of the rows' values,
// after correcting these by `corrections`.
template <CacheType kType, int kRows, int kVecs>
REALM_INLINE void value_tile(const float* weights, const float* corrections, const Block& block,
                             int64_t d, float* values, int64_t row_floats) {
  Vec acc[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    const Vec c = splat(corrections[r]);
    for (int i = 0; i < kVecs; ++i) {
      acc[r][i] = mul(load(values + r * row_floats + d + i * kLanes), c);
    }
  }
  for (int j = 0; j < block.count; ++j) {
    const uint8_t* v = block.v + j * block.v_stride;
    if (block.next_v != 0) {
      prefetch(v + block.next_v + d * kElementBytes<kType>, kVecs * kLanes * kElementBytes<kType>);
    }
    Vec vj[kVecs];
    for (int i = 0; i < kVecs; ++i) vj[i] = load_cached<kType>(v, d + i * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Vec w = splat(weights[r * kBlock + j]);
      for (int i = 0; i < kVecs; ++i) acc[r][i] = fma(w, vj[i], acc[r][i]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVecs; ++i) {
      store(values + r * row_floats + d + i * kLanes, acc[r][i]);
    }
  }
}

template <CacheType kType, int kRows>
void value_rows(const float* weights, const float* corrections, const Block& block,
                int64_t v_padded, float* values, int64_t row_floats) {
  constexpr int kMost = kAccumulators / kRows;
  constexpr int kVecs = kMost > 4 ? 4 : kMost;
  int64_t d = 0;
  for (; d + kVecs * kLanes <= v_padded; d += kVecs * kLanes) {
    value_tile<kType, kRows, kVecs>(weights, corrections, block, d, values, row_floats);
  }
  for (; d < v_padded; d += kLanes) {
    value_tile<kType, kRows, 1>(weights, corrections, block, d, values, row_floats);
  }
}

// Which positions of a block a row sees, and what its scores need.
struct RowMask {
  int first, end;  // within the block
  float slope;     // ALiBi, base 2
  float distance;  // of the block's first position from the row's own, <= 0
};

// Turns a row's products into weights in place and brings its state up to date; the factor by which
// its values have to be corrected.
REALM_INLINE float weigh(const AttentionTile& tile, const RowMask& mask, float* scores, float* row,
                         float* row_max) {
  Vec s0 = load(scores), s1 = load(scores + kLanes);
  if (tile.cap > 0.0f) {
    s0 = mul(tanh(s0), splat(tile.cap));
    s1 = mul(tanh(s1), splat(tile.cap));
  }
  if (mask.slope != 0.0f) {
    float distances[kBlock];
    for (int i = 0; i < kBlock; ++i) distances[i] = mask.distance + static_cast<float>(i);
    s0 = fma(splat(mask.slope), load(distances), s0);
    s1 = fma(splat(mask.slope), load(distances + kLanes), s1);
  }
  const bool partly = mask.first > 0 || mask.end < kBlock;
  if (partly) {
    s0 = keep_lanes(s0, mask.first, mask.end, kNoScore);
    s1 = keep_lanes(s1, mask.first - kLanes, mask.end - kLanes, kNoScore);
  }
  const float old_max = *row_max, block_max = reduce_max(max(s0, s1));
  const float new_max = old_max > block_max ? old_max : block_max;
  *row_max = new_max;
  const Vec correction = exp2_negative(splat(old_max - new_max));
  Vec w0 = exp2_negative(sub(s0, splat(new_max))), w1 = exp2_negative(sub(s1, splat(new_max)));
  if (partly) {
    w0 = keep_lanes(w0, mask.first, mask.end, 0.0f);
    w1 = keep_lanes(w1, mask.first - kLanes, mask.end - kLanes, 0.0f);
  }
  store(scores, w0);
  store(scores + kLanes, w1);
  store(sums_of(row), fma(load(sums_of(row)), correction, add(w0, w1)));
  return first_lane(correction);
}

// What one block does to a group of kRows rows, from `first_row` of the tile on.
template <CacheType kType, int kRows>
void fold_block(const AttentionTile& tile, int first_row, const float* q, const Block& block,
                float* state) {
  const int64_t v_padded = attention_padded(tile.v_dim);
  const int64_t row_floats = attention_row_floats(tile.v_dim);
  float scores[kRows * kBlock], corrections[kRows];
  score_rows<kType, kRows>(q, block.k, tile.k_dim, scores, block.next_k);
  for (int r = 0; r < kRows; ++r) {
    const int token = (first_row + r) / tile.num_heads, head = (first_row + r) % tile.num_heads;
    const int64_t position = tile.positions[token];
    const int64_t end = position + 1 - block.begin;
    const int64_t first = attention_oldest(tile, token) - block.begin;
    const RowMask mask = {.first = static_cast<int>(first < 0        ? 0
                                                    : first > kBlock ? kBlock
                                                                     : first),
                          .end = static_cast<int>(end < 0        ? 0
                                                  : end > kBlock ? kBlock
                                                                 : end),
                          .slope = tile.slopes == nullptr ? 0.0f : tile.slopes[head] * kLog2E,
                          .distance = static_cast<float>(block.begin - position)};
    float* row = state + r * row_floats;
    corrections[r] = weigh(tile, mask, scores + r * kBlock, row, max_of(row, v_padded));
  }
  value_rows<kType, kRows>(scores, corrections, block, v_padded, values_of(state), row_floats);
}

// kRows, a constant, from a number of rows in [1, kTileRows].
template <CacheType kType, int kRows = kTileRows>
void fold_rows(int rows, const AttentionTile& tile, int first_row, const float* q,
               const Block& block, float* state) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      return fold_rows<kType, kRows - 1>(rows, tile, first_row, q, block, state);
    }
  }
  fold_block<kType, kRows>(tile, first_row, q, block, state);
}

// The rows' queries times the factor that makes scores of them, turned by groups of kTileRows:
// [group][k_dim][rows of the group].
void pack_queries(const AttentionTile& tile, float* packed) {
  const int rows = tile.num_tokens * tile.num_heads;
  for (int first = 0; first < rows; first += kTileRows) {
    const int group = rows - first < kTileRows ? rows - first : kTileRows;
    for (int r = 0; r < group; ++r) {
      const int token = (first + r) / tile.num_heads, head = (first + r) % tile.num_heads;
      const float* q = tile.q + token * tile.q_token_stride + head * tile.q_head_stride;
      for (int64_t d = 0; d < tile.k_dim; ++d) packed[d * group + r] = q[d] * tile.scale;
    }
    packed += tile.k_dim * group;
  }
}

// Whether any of the tile's rows [first, end) sees a position of the block.
REALM_INLINE bool sees_block(const AttentionTile& tile, int first, int end, int64_t begin) {
  const int64_t latest = tile.positions[(end - 1) / tile.num_heads];
  return latest >= begin && attention_oldest(tile, first / tile.num_heads) < begin + kBlock;
}

template <CacheType kType>
void attend_split(const AttentionTile& tile, int64_t split, float* scratch, float* state) {
  const int rows = tile.num_tokens * tile.num_heads;
  const int64_t v_padded = attention_padded(tile.v_dim);
  const int64_t row_floats = attention_row_floats(tile.v_dim);
  float* k_block = scratch;
  float* v_block = k_block + kBlock * tile.k_dim;
  float* q = v_block + kBlock * v_padded;
  pack_queries(tile, q);
  for (int r = 0; r < rows; ++r) {
    memset(state + r * row_floats, 0, static_cast<size_t>(row_floats) * sizeof(float));
    *max_of(state + r * row_floats, v_padded) = kNoScore;
  }
  // A single group reads each value once: it is widened on the way. Rows whose end is no whole
  // vector are widened into padded ones.
  const bool direct = tile.v_dim % kLanes == 0 && (rows <= kTileRows || kType == CacheType::kF32);
  const AttentionSpan span = attention_span(tile, split);
  for (int64_t begin = span.begin; begin < span.end; begin += kBlock) {
    const int count = static_cast<int>(span.end - begin < kBlock ? span.end - begin : kBlock);
    const int64_t page = tile.pages[begin / kBlock];
    const int64_t next = begin + kBlock < span.end ? tile.pages[begin / kBlock + 1] : page;
    const uint8_t* k_page = tile.k_cache + page * tile.k_page_stride;
    const uint8_t* v_page = tile.v_cache + page * tile.v_page_stride;
    const uint8_t* next_k = tile.k_cache + next * tile.k_page_stride;
    const uint8_t* next_v = tile.v_cache + next * tile.v_page_stride;
    turn_keys<kType>(tile, k_page, next_k, k_block);
    Block block = {.begin = begin,
                   .count = count,
                   .k = k_block,
                   .v = v_page,
                   .v_stride = tile.v_row_stride,
                   .next_k = nullptr,
                   .next_v = 0};
    if (rows <= kTileRows) {
      block.next_k = next_k + kBlock / 2 * tile.k_row_stride;
      block.next_v = next_v - v_page;
    }
    if (!direct) {
      widen_values<kType>(tile, v_page, count, next_k, next_v, v_block);
      block.v = reinterpret_cast<const uint8_t*>(v_block);
      block.v_stride = v_padded * static_cast<int64_t>(sizeof(float));
      block.next_v = 0;
    }
    for (int first = 0; first < rows; first += kTileRows) {
      const int group = rows - first < kTileRows ? rows - first : kTileRows;
      if (!sees_block(tile, first, first + group, begin)) continue;
      const float* group_q = q + first * tile.k_dim;
      float* group_state = state + first * row_floats;
      if (direct) {
        fold_rows<kType>(group, tile, first, group_q, block, group_state);
      } else {
        fold_rows<CacheType::kF32>(group, tile, first, group_q, block, group_state);
      }
    }
  }
}

int64_t attention_tile_rows(int64_t k_dim, int64_t v_dim) {
  constexpr int64_t kMostRows = 96, kFloats = 64 * 1024;
  const int64_t fit = kFloats / (k_dim + attention_row_floats(v_dim));
  return fit > kMostRows ? kMostRows : fit < 1 ? 1 : fit;
}

int64_t attention_state_floats(int64_t rows, int64_t v_dim) {
  return rows * attention_row_floats(v_dim);
}

int64_t attention_scratch_floats(int64_t rows, int64_t k_dim, int64_t v_dim) {
  return 32 * (k_dim + attention_padded(v_dim)) + rows * k_dim;
}

void attention_split(const AttentionTile& tile, int64_t split, float* scratch, float* state) {
  switch (tile.cache_type) {
    case CacheType::kF32:
      return attend_split<CacheType::kF32>(tile, split, scratch, state);
    case CacheType::kF16:
      return attend_split<CacheType::kF16>(tile, split, scratch, state);
    case CacheType::kBF16:
      return attend_split<CacheType::kBF16>(tile, split, scratch, state);
    case CacheType::kQ8_0:
      return attend_split<CacheType::kQ8_0>(tile, split, scratch, state);
    case CacheType::kE4M3:
      return attend_split<CacheType::kE4M3>(tile, split, scratch, state);
  }
}

void attention_merge(const AttentionTile& tile, const float* split_state, float* state) {
  const int rows = tile.num_tokens * tile.num_heads;
  const int64_t v_padded = attention_padded(tile.v_dim);
  const int64_t row_floats = attention_row_floats(tile.v_dim);
  for (int r = 0; r < rows; ++r, split_state += row_floats, state += row_floats) {
    float* total_max = max_of(state, v_padded);
    const float split_max = split_state[kLanes + v_padded];
    const float new_max = *total_max > split_max ? *total_max : split_max;
    const Vec a = exp2_negative(splat(*total_max - new_max));
    const Vec b = exp2_negative(splat(split_max - new_max));
    *total_max = new_max;
    for (int64_t i = 0; i < kLanes + v_padded; i += kLanes) {  // sums, then values
      store(state + i, fma(load(split_state + i), b, mul(load(state + i), a)));
    }
  }
}

void attention_finish(const AttentionTile& tile, float* state) {
  const int rows = tile.num_tokens * tile.num_heads;
  const int64_t v_padded = attention_padded(tile.v_dim);
  for (int r = 0; r < rows; ++r, state += attention_row_floats(tile.v_dim)) {
    const int token = r / tile.num_heads, head = r % tile.num_heads;
    float* out = tile.out + token * tile.out_token_stride + head * tile.v_dim;
    float sum = reduce_add(load(sums_of(state)));
    Vec factor = splat(1.0f / sum);
    if (tile.sinks != nullptr) {
      const float sink = tile.sinks[head] * kLog2E, row_max = *max_of(state, v_padded);
      const float new_max = row_max > sink ? row_max : sink;
      const float correction = first_lane(exp2_negative(splat(row_max - new_max)));
      sum = __builtin_fmaf(sum, correction, first_lane(exp2_negative(splat(sink - new_max))));
      factor = splat(correction / sum);
    }
    for (int64_t d = 0; d < tile.v_dim; d += kLanes) {
      // Adding zero makes one zero of the two: a masked position's product could leave either.
      const Vec value = add(mul(load(values_of(state) + d), factor), zero());
      const int64_t n = tile.v_dim - d;
      n >= kLanes ? store(out + d, value) : store_partial(out + d, value, n);
    }
  }
}

constexpr AttentionKernels kAttentionKernels = {attention_tile_rows,      attention_state_floats,
                                                attention_scratch_floats, attention_split,
                                                attention_merge,          attention_finish};

}  // namespace
}  // namespace realm::cpu::REALM_ISA
