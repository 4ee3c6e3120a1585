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

}  // namespace
}  // namespace realm::cpu::REALM_ISA
