// Float kernels, written once over Vec (simd.h) and compiled per instruction set by
// kernels_<isa>.cpp. Every order of summation here is part of the arithmetic contract in ops/.
#include <math.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"

namespace realm::cpu::REALM_ISA {
namespace {

void rms_norm(const float* x, const float* weight, float* out, int64_t n, float eps) {
  Vec sum = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec v = load(x + i);
    sum = fma(v, v, sum);
  }
  if (i < n) {
    const Vec v = load_partial(x + i, n - i);
    sum = fma(v, v, sum);
  }
  const float mean = reduce_add(sum) / static_cast<float>(n);
  const Vec scale = splat(1.0f / sqrtf(mean + eps));
  for (i = 0; i + kLanes <= n; i += kLanes) {
    store(out + i, mul(mul(load(x + i), scale), load(weight + i)));
  }
  if (i < n) {
    const Vec w = load_partial(weight + i, n - i);
    store_partial(out + i, mul(mul(load_partial(x + i, n - i), scale), w), n - i);
  }
}

void rope(float* head, const float* table, int64_t n_rot, bool adjacent) {
  const int64_t half = n_rot / 2;
  const float* cosines = table;
  const float* sines = table + half;
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vec c = load(cosines + i), s = load(sines + i);
    if (adjacent) {
      Vec a, b, first, second;
      deinterleave(load(head + 2 * i), load(head + 2 * i + kLanes), a, b);
      const Vec ra = sub(mul(a, c), mul(b, s)), rb = add(mul(a, s), mul(b, c));
      interleave(ra, rb, first, second);
      store(head + 2 * i, first);
      store(head + 2 * i + kLanes, second);
    } else {
      const Vec a = load(head + i), b = load(head + half + i);
      store(head + i, sub(mul(a, c), mul(b, s)));
      store(head + half + i, add(mul(a, s), mul(b, c)));
    }
  }
  for (; i < half; ++i) {
    float* pa = adjacent ? head + 2 * i : head + i;
    float* pb = adjacent ? head + 2 * i + 1 : head + half + i;
    const float a = *pa, b = *pb;
    *pa = a * cosines[i] - b * sines[i];
    *pb = a * sines[i] + b * cosines[i];
  }
}

REALM_INLINE Vec activate(ActivationKind kind, Vec x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return div(x, add(splat(1.0f), exp(sub(zero(), x))));
    case ActivationKind::kGeluTanh: {
      // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks & Gimpel 2016.
      const Vec inner = mul(x, fma(mul(x, x), splat(0.044715f), splat(1.0f)));
      const Vec t = tanh(mul(inner, splat(0.79788456080286535588f)));
      return mul(mul(x, splat(0.5f)), add(t, splat(1.0f)));
    }
    case ActivationKind::kGelu: {
      // x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc to 1.5e-7 (Hastings 1955).
      const Vec magnitude = max(x, sub(zero(), x));
      const Vec z = mul(magnitude, splat(0.70710678118654752440f));
      const Vec t = div(splat(1.0f), fma(z, splat(0.3275911f), splat(1.0f)));
      Vec p = fma(t, splat(1.061405429f), splat(-1.453152027f));
      p = fma(p, t, splat(1.421413741f));
      p = fma(p, t, splat(-0.284496736f));
      p = mul(fma(p, t, splat(0.254829592f)), t);
      const Vec erfc = mul(p, exp(sub(zero(), mul(z, z))));
      return sub(max(x, zero()), mul(mul(magnitude, splat(0.5f)), erfc));
    }
    case ActivationKind::kRelu:
      return max(x, zero());
    case ActivationKind::kReluSquared: {
      const Vec r = max(x, zero());
      return mul(r, r);
    }
    case ActivationKind::kSwigluClamped: {
      const Vec g = min(x, splat(7.0f));
      return div(g, add(splat(1.0f), exp(mul(g, splat(-1.702f)))));
    }
  }
  return x;
}

REALM_INLINE Vec gate_with(ActivationKind kind, Vec gate, Vec up) {
  if (kind == ActivationKind::kSwigluClamped) {
    up = add(min(max(up, splat(-7.0f)), splat(7.0f)), splat(1.0f));
  }
  return mul(activate(kind, gate), up);
}

void gated_activation(ActivationKind kind, const float* gate, const float* up, float* out,
                      int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec g = load(gate + i);
    store(out + i, up == nullptr ? activate(kind, g) : gate_with(kind, g, load(up + i)));
  }
  if (i < n) {
    const Vec g = load_partial(gate + i, n - i);
    const Vec y =
        up == nullptr ? activate(kind, g) : gate_with(kind, g, load_partial(up + i, n - i));
    store_partial(out + i, y, n - i);
  }
}

void add_rows(const float* a, const float* b, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, add(load(a + i), load(b + i)));
  for (; i < n; ++i) out[i] = a[i] + b[i];
}

void to_f16(const float* x, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_f16(out + i, load(x + i));
  if (i < n) {
    uint16_t buffer[kLanes];
    store_f16(buffer, load_partial(x + i, n - i));
    memcpy(out + i, buffer, static_cast<size_t>(n - i) * sizeof(uint16_t));
  }
}

// The arithmetic of encode_q8_0: the scale is rounded to half precision first (kept off zero and
// infinity), and codes are the nearest to it; what is not a number becomes the least code.
void to_q8_0(const float* x, uint8_t* out, int64_t n) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  for (; n >= 32; n -= 32, x += 32, out += 34) {
    const Vec a = load(x), b = load(x + kLanes);
    const Vec largest = max(max(b, sub(zero(), b)), max(max(a, sub(zero(), a)), zero()));
    const float factor = reduce_max(largest) / 127.0f;
    uint16_t halves[kLanes];
    store_f16(halves, splat(factor > 65504.0f ? 65504.0f : factor));
    if (halves[0] == 0 && factor != 0.0f) {
      for (uint16_t& half : halves) half = 1;
    }
    memcpy(out, halves, 2);
    const Vec d = load_f16(halves);
    const Vec inverse = halves[0] == 0 ? zero() : div(splat(1.0f), d);
    const Vec low = splat(-127.0f), high = splat(127.0f);
    int8_t* codes = reinterpret_cast<int8_t*>(out + 2);
    store_i8(codes, sub(add(min(max(mul(a, inverse), low), high), magic), magic));
    store_i8(codes + kLanes, sub(add(min(max(mul(b, inverse), low), high), magic), magic));
  }
}

template <FloatType kType>
REALM_INLINE Vec load_weight(const uint8_t* p, int64_t i) {
  if constexpr (kType == FloatType::kF32) return load(reinterpret_cast<const float*>(p) + i);
  if constexpr (kType == FloatType::kF16) return load_f16(reinterpret_cast<const uint16_t*>(p) + i);
  return load_bf16(reinterpret_cast<const uint16_t*>(p) + i);
}

template <FloatType kType>
REALM_INLINE Vec load_weight_partial(const uint8_t* p, int64_t i, int64_t n) {
  alignas(64) uint8_t buffer[kLanes * sizeof(float)] = {};
  constexpr int kBytes = kType == FloatType::kF32 ? 4 : 2;
  memcpy(buffer, p + i * kBytes, static_cast<size_t>(n * kBytes));
  return load_weight<kType>(buffer, 0);
}

// Each output: 16 partial sums over k mod 16, then the tree of reduce_add. Tiles of weight rows by
// tokens share loads; sixteen outputs are reduced together.
template <FloatType kType, int kRows, int kTokens>
void dot_tile(const uint8_t* weight, int64_t row_bytes, const float* x, int64_t x_stride, int64_t k,
              float* out, int64_t out_stride) {
  static_assert(kRows * kTokens == 16);
  Vec acc[16];
  for (int i = 0; i < 16; ++i) acc[i] = zero();
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    Vec xs[kTokens];
    for (int t = 0; t < kTokens; ++t) xs[t] = load(x + t * x_stride + i);
    for (int r = 0; r < kRows; ++r) {
      const Vec w = load_weight<kType>(weight + r * row_bytes, i);
      for (int t = 0; t < kTokens; ++t) acc[t * kRows + r] = fma(w, xs[t], acc[t * kRows + r]);
    }
  }
  if (i < k) {
    for (int r = 0; r < kRows; ++r) {
      const Vec w = load_weight_partial<kType>(weight + r * row_bytes, i, k - i);
      for (int t = 0; t < kTokens; ++t) {
        const Vec xt = load_partial(x + t * x_stride + i, k - i);
        acc[t * kRows + r] = fma(w, xt, acc[t * kRows + r]);
      }
    }
  }
  float sums[16];
  store(sums, reduce_add_16(acc));
  for (int t = 0; t < kTokens; ++t) {
    memcpy(out + t * out_stride, sums + t * kRows, kRows * sizeof(float));
  }
}

template <FloatType kType>
float dot_one(const uint8_t* weight, const float* x, int64_t k) {
  Vec acc = zero();
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) acc = fma(load_weight<kType>(weight, i), load(x + i), acc);
  if (i < k) {
    acc = fma(load_weight_partial<kType>(weight, i, k - i), load_partial(x + i, k - i), acc);
  }
  return reduce_add(acc);
}

template <FloatType kType>
void dot_rows_of(const uint8_t* weight, int64_t row_bytes, int num_rows, const float* x,
                 int64_t x_stride, int64_t num_tokens, int64_t k, float* out, int64_t out_stride) {
  int64_t t = 0;
  int r = 0;
  for (; t + 4 <= num_tokens; t += 4) {
    for (r = 0; r + 4 <= num_rows; r += 4) {
      dot_tile<kType, 4, 4>(weight + r * row_bytes, row_bytes, x + t * x_stride, x_stride, k,
                            out + t * out_stride + r, out_stride);
    }
    for (; r < num_rows; ++r) {
      for (int64_t u = t; u < t + 4; ++u) {
        out[u * out_stride + r] = dot_one<kType>(weight + r * row_bytes, x + u * x_stride, k);
      }
    }
  }
  for (; t + 2 <= num_tokens; t += 2) {
    for (r = 0; r + 8 <= num_rows; r += 8) {
      dot_tile<kType, 8, 2>(weight + r * row_bytes, row_bytes, x + t * x_stride, x_stride, k,
                            out + t * out_stride + r, out_stride);
    }
    for (; r < num_rows; ++r) {
      for (int64_t u = t; u < t + 2; ++u) {
        out[u * out_stride + r] = dot_one<kType>(weight + r * row_bytes, x + u * x_stride, k);
      }
    }
  }
  for (; t < num_tokens; ++t) {
    for (r = 0; r + 16 <= num_rows; r += 16) {
      dot_tile<kType, 16, 1>(weight + r * row_bytes, row_bytes, x + t * x_stride, x_stride, k,
                             out + t * out_stride + r, out_stride);
    }
    for (; r < num_rows; ++r) {
      out[t * out_stride + r] = dot_one<kType>(weight + r * row_bytes, x + t * x_stride, k);
    }
  }
}

void dot_rows(FloatType type, const uint8_t* weight, int64_t row_bytes, int num_rows,
              const float* x, int64_t x_stride, int64_t num_tokens, int64_t k, float* out,
              int64_t out_stride) {
  switch (type) {
    case FloatType::kF32:
      return dot_rows_of<FloatType::kF32>(weight, row_bytes, num_rows, x, x_stride, num_tokens, k,
                                          out, out_stride);
    case FloatType::kF16:
      return dot_rows_of<FloatType::kF16>(weight, row_bytes, num_rows, x, x_stride, num_tokens, k,
                                          out, out_stride);
    case FloatType::kBF16:
      return dot_rows_of<FloatType::kBF16>(weight, row_bytes, num_rows, x, x_stride, num_tokens, k,
                                           out, out_stride);
  }
}

// Groups of 32 or 256 elements share a scale amax / 127. A value that is not finite poisons its
// group's scale, so that it reaches the output instead of being rounded away.
void quantize_row(const float* x, int64_t k, int group, QuantizedRow out) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const int vectors = group / kLanes;
  for (int64_t begin = 0; begin < k; begin += group) {
    Vec amax = zero(), poison = zero();
    for (int i = 0; i < vectors; ++i) {
      const Vec v = load(x + begin + i * kLanes);
      amax = max(max(v, sub(zero(), v)), amax);
      poison = fma(v, zero(), poison);
    }
    const float largest = reduce_max(amax);
    const Vec inverse = splat(largest > 0.0f ? 127.0f / largest : 0.0f);
    out.scales[begin / group] = largest / 127.0f + reduce_add(poison);
    Vec rounded[kLanes];
    for (int i = 0; i < kLanes; ++i) rounded[i] = zero();
    for (int i = 0; i < vectors; ++i) {
      const Vec scaled = mul(load(x + begin + i * kLanes), inverse);
      rounded[i] = sub(add(scaled, magic), magic);
      store_i8(out.codes + begin + i * kLanes, rounded[i]);
    }
    float sums[kLanes];
    if (vectors == kLanes) {
      store(sums, reduce_add_16(rounded));
    } else {
      for (int i = 0; i < vectors; ++i) sums[i] = reduce_add(rounded[i]);
    }
    for (int i = 0; i < vectors; ++i) {
      const float bounded = sums[i] >= -2032.0f && sums[i] <= 2032.0f ? sums[i] : 0.0f;
      out.sums[begin / kLanes + i] = static_cast<int16_t>(bounded);
    }
  }
}

// Rows of one page of the cache as float, [32, dim].
void load_page(CacheType type, const uint8_t* page, int64_t dim, int64_t num_positions,
               float* out) {
  const int64_t n = num_positions * dim;
  if (type == CacheType::kF16) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(page);
    for (int64_t i = 0; i < n; i += kLanes) store(out + i, load_f16(p + i));
  } else {
    // Q8_0 blocks of 32: a half-precision scale, then 32 codes.
    for (int64_t block = 0; block < n / 32; ++block) {
      const uint8_t* p = page + block * 34;
      uint16_t halves[kLanes];
      for (int i = 0; i < kLanes; ++i) memcpy(&halves[i], p, 2);
      const Vec scale = load_f16(halves);
      const int8_t* codes = reinterpret_cast<const int8_t*>(p + 2);
      store(out + block * 32, mul(load_i8(codes), scale));
      store(out + block * 32 + kLanes, mul(load_i8(codes + kLanes), scale));
    }
  }
}

// State of one row's online softmax over a split.
struct RowState {
  float max;
  float sum;
};

// Folds one block of up to 32 positions into a row's state and weighted sum of values.
REALM_INLINE void fold_block(RowState& state, const float* scores, int first, int end,
                             const float* v, int64_t v_stride, int64_t v_dim, float* acc) {
  float masked[32];
  for (int i = 0; i < 32; ++i) masked[i] = i >= first && i < end ? scores[i] : -INFINITY;
  const Vec s0 = load(masked), s1 = load(masked + kLanes);
  const float block_max = reduce_max(max(s0, s1));
  const float new_max = state.max > block_max ? state.max : block_max;
  float weights[32];
  store(weights, exp(sub(s0, splat(new_max))));
  store(weights + kLanes, exp(sub(s1, splat(new_max))));
  for (int i = 0; i < 32; ++i) {
    if (i < first || i >= end) weights[i] = 0.0f;
  }
  const float block_sum = reduce_add(add(load(weights), load(weights + kLanes)));
  float correction[kLanes];
  store(correction, exp(splat(state.max - new_max)));
  state.sum = __builtin_fmaf(state.sum, correction[0], block_sum);
  state.max = new_max;
  const Vec c = splat(correction[0]);
  for (int64_t d = 0; d < v_dim; d += kLanes) {
    Vec sum = mul(load(acc + d), c);
    for (int j = first; j < end; ++j) sum = fma(splat(weights[j]), load(v + j * v_stride + d), sum);
    store(acc + d, sum);
  }
}

// Merges a finished split into the running result.
REALM_INLINE void merge_split(RowState& total, float* out, const RowState& split, const float* acc,
                              int64_t v_dim) {
  const float new_max = total.max > split.max ? total.max : split.max;
  float a[kLanes], b[kLanes];
  store(a, exp(splat(total.max - new_max)));
  store(b, exp(splat(split.max - new_max)));
  total.sum = __builtin_fmaf(split.sum, b[0], total.sum * a[0]);
  total.max = new_max;
  const Vec va = splat(a[0]), vb = splat(b[0]);
  for (int64_t d = 0; d < v_dim; d += kLanes) {
    store(out + d, fma(load(acc + d), vb, mul(load(out + d), va)));
  }
}

void block_scores(const float* q, const float* k, int64_t k_dim, int end, float scale,
                  float soft_cap, float* scores) {
  for (int j = 0; j < end; j += kLanes) {
    Vec acc[kLanes];
    for (int i = 0; i < kLanes; ++i) acc[i] = zero();
    // Positions past `end` read stale but finite scratch; their scores are masked.
    for (int64_t d = 0; d < k_dim; d += kLanes) {
      const Vec qd = load(q + d);
      for (int i = 0; i < kLanes; ++i) acc[i] = fma(qd, load(k + (j + i) * k_dim + d), acc[i]);
    }
    Vec s = mul(reduce_add_16(acc), splat(scale));
    if (soft_cap > 0.0f) s = mul(tanh(div(s, splat(soft_cap))), splat(soft_cap));
    store(scores + j, s);
  }
}

void attention(const AttentionTile& tile) {
  constexpr int kBlock = 32;
  float* k_block = tile.scratch;                               // [32, k_dim]
  float* v_block = k_block + kBlock * tile.k_dim;              // [32, v_dim]
  float* scores = v_block + kBlock * tile.v_dim;               // [32]
  float* acc = scores + AttentionTile::kMaxRows * kBlock;      // [rows, v_dim]
  float* merged = acc + AttentionTile::kMaxRows * tile.v_dim;  // [rows, v_dim]
  const int64_t v_stride = tile.values_in_keys ? tile.k_dim : tile.v_dim;
  const int rows = tile.num_tokens * tile.heads_per_kv;
  RowState split_state[AttentionTile::kMaxRows], total[AttentionTile::kMaxRows];
  for (int r = 0; r < rows; ++r) {
    total[r] = {-INFINITY, 0.0f};
    if (tile.sinks != nullptr) total[r] = {tile.sinks[r % tile.heads_per_kv], 1.0f};
  }
  memset(merged, 0, static_cast<size_t>(rows * tile.v_dim) * sizeof(float));

  const int64_t last = tile.positions[tile.num_tokens - 1];
  int64_t first = 0;
  if (tile.window > 0) {
    first = tile.positions[0] - tile.window + 1;
    if (first < 0) first = 0;
  }
  for (int64_t split = first / tile.split; split <= last / tile.split; ++split) {
    for (int r = 0; r < rows; ++r) split_state[r] = {-INFINITY, 0.0f};
    memset(acc, 0, static_cast<size_t>(rows * tile.v_dim) * sizeof(float));
    const int64_t split_begin = split * tile.split;
    int64_t begin = split_begin > first ? split_begin : first / kBlock * kBlock;
    int64_t end = split_begin + tile.split;
    if (end > last + 1) end = last + 1;
    for (; begin < end; begin += kBlock) {
      const int in_block = static_cast<int>(end - begin < kBlock ? end - begin : kBlock);
      const int64_t page = tile.pages[begin / kBlock];
      const uint8_t* k_page = tile.k_cache + page * tile.k_page_stride;
      const uint8_t* v_page = tile.v_cache + page * tile.v_page_stride;
      const float* k = reinterpret_cast<const float*>(k_page);
      const float* v = reinterpret_cast<const float*>(v_page);
      if (tile.cache_type != CacheType::kF32) {
        load_page(tile.cache_type, k_page, tile.k_dim, in_block, k_block);
        if (!tile.values_in_keys) {
          load_page(tile.cache_type, v_page, tile.v_dim, in_block, v_block);
        }
        k = k_block;
        v = tile.values_in_keys ? k_block : v_block;
      }
      for (int r = 0; r < rows; ++r) {
        const int token = r / tile.heads_per_kv, head = r % tile.heads_per_kv;
        const int64_t position = tile.positions[token];
        int64_t row_end = position + 1 - begin;
        if (row_end <= 0) continue;
        if (row_end > in_block) row_end = in_block;
        int64_t row_first = tile.window > 0 ? position - tile.window + 1 - begin : 0;
        if (row_first < 0) row_first = 0;
        if (row_first >= row_end) continue;
        block_scores(tile.q + token * tile.q_token_stride + head * tile.k_dim, k, tile.k_dim,
                     static_cast<int>(row_end), tile.scale, tile.soft_cap, scores);
        fold_block(split_state[r], scores, static_cast<int>(row_first), static_cast<int>(row_end),
                   v, v_stride, tile.v_dim, acc + r * tile.v_dim);
      }
    }
    for (int r = 0; r < rows; ++r) {
      if (split_state[r].sum == 0.0f) continue;
      merge_split(total[r], merged + r * tile.v_dim, split_state[r], acc + r * tile.v_dim,
                  tile.v_dim);
    }
  }
  for (int r = 0; r < rows; ++r) {
    const int token = r / tile.heads_per_kv, head = r % tile.heads_per_kv;
    float* out = tile.out + token * tile.out_token_stride + head * tile.v_dim;
    const Vec inverse = splat(1.0f / total[r].sum);
    for (int64_t d = 0; d < tile.v_dim; d += kLanes) {
      store(out + d, mul(load(merged + r * tile.v_dim + d), inverse));
    }
  }
}

}  // namespace
}  // namespace realm::cpu::REALM_ISA
