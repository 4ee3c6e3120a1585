// Float kernels over whole rows that the decoders' rarer parts need: layer norm, scaled and capped
// rows, a router's scores, the weighted sum of experts. Included by the kernels_<isa>.cpp files
// after kernels.inc.h, under the same rules. All are limited by memory: each reads its inputs once
// from memory (again from the L1 cache where a pass is repeated) and writes its output once.
#include <math.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"

namespace realm::cpu::REALM_ISA {
namespace {

REALM_INLINE Vec centred_partial(const float* x, Vec mean, int64_t n) {
  float buffer[kLanes];
  store(buffer, sub(load_partial(x, n), mean));
  return load_partial(buffer, n);
}

void layer_norm(const float* x, const float* weight, const float* bias, float* out, int64_t n,
                float eps) {
  Vec sum = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = add(load(x + i), sum);
  if (i < n) sum = add(load_partial(x + i, n - i), sum);
  const Vec mean = splat(reduce_add(sum) / static_cast<float>(n));
  Vec squares = zero();
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const Vec d = sub(load(x + i), mean);
    squares = fma(d, d, squares);
  }
  if (i < n) {
    const Vec d = centred_partial(x + i, mean, n - i);
    squares = fma(d, d, squares);
  }
  const float variance = reduce_add(squares) / static_cast<float>(n);
  const Vec scale = splat(1.0f / sqrtf(variance + eps));
  for (i = 0; i + kLanes <= n; i += kLanes) {
    Vec y = mul(sub(load(x + i), mean), scale);
    if (weight != nullptr) y = mul(y, load(weight + i));
    if (bias != nullptr) y = add(y, load(bias + i));
    store(out + i, y);
  }
  if (i < n) {
    Vec y = mul(sub(load_partial(x + i, n - i), mean), scale);
    if (weight != nullptr) y = mul(y, load_partial(weight + i, n - i));
    if (bias != nullptr) y = add(y, load_partial(bias + i, n - i));
    store_partial(out + i, y, n - i);
  }
}

REALM_INLINE Vec scale_cap_vec(Vec x, float scale, float soft_cap) {
  const Vec y = mul(x, splat(scale));
  if (!(soft_cap > 0.0f)) return y;
  return mul(tanh(div(y, splat(soft_cap))), splat(soft_cap));
}

void scale_cap(const float* x, float scale, float soft_cap, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, scale_cap_vec(load(x + i), scale, soft_cap));
  if (i < n) {
    store_partial(out + i, scale_cap_vec(load_partial(x + i, n - i), scale, soft_cap), n - i);
  }
}

void sigmoid(const float* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    const Vec v = load_partial(x + i, count);
    const Vec s = div(splat(1.0f), add(splat(1.0f), exp(sub(zero(), v))));
    store_partial(out + i, s, count);
  }
}

void softmax(const float* x, float* out, int64_t n) {
  Vec largest = splat(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = max(load(x + i), largest);
  float top = reduce_max(largest);
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  Vec sum = zero();
  for (i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    store_partial(out + i, exp(sub(load_partial(x + i, count), splat(top))), count);
    sum = add(load_partial(out + i, count), sum);
  }
  const Vec total = splat(reduce_add(sum));
  for (i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    store_partial(out + i, div(load_partial(out + i, count), total), count);
  }
}

void combine(const float* x, int64_t x_stride, const float* weights, int64_t slots, bool accumulate,
             float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vec sum = mul(load(x + i), splat(weights[0]));
    for (int64_t j = 1; j < slots; ++j) {
      sum = fma(load(x + j * x_stride + i), splat(weights[j]), sum);
    }
    store(out + i, accumulate ? add(load(out + i), sum) : sum);
  }
  for (; i < n; ++i) {
    float sum = x[i] * weights[0];
    for (int64_t j = 1; j < slots; ++j) {
      sum = __builtin_fmaf(x[j * x_stride + i], weights[j], sum);
    }
    out[i] = accumulate ? out[i] + sum : sum;
  }
}

constexpr RowKernels kRowKernels = {layer_norm, scale_cap, sigmoid, softmax, combine};

}  // namespace
}  // namespace realm::cpu::REALM_ISA
