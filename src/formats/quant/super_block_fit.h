// The search behind the formats of 256 elements whose sub-blocks have integer scales under a common
// fp16 factor: first every sub-block's own best scale, then the common factor and the integers,
// which are tried a step to either side with the codes that follow, then the factor once more by
// least squares. Private to this folder.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "formats/quant/scale_fit.h"

namespace realm {

// Codes are consecutive integers (Q3_K, Q6_K).
struct IntegerCodes {
  int low, high;

  bool few() const { return high - low < 8; }
  float fit(const float* x, const float* w, int n) const { return fit_scale(x, w, n, low, high); }
  float error(const float* x, const float* w, int n, float scale) const {
    return scale_error(x, w, n, low, high, scale);
  }
  // The level nearest to x / scale.
  float level(float x, float inverse_scale) const {
    return static_cast<float>(nearest_code(x, inverse_scale, low, high));
  }
};

struct SymmetricScales {
  uint16_t d;
  int scales[16];
};

// value = d * scale * code; scales within [scale_low, -scale_low - 1]. Codes is IntegerCodes or has
// its functions.
template <typename Codes>
SymmetricScales fit_symmetric(const BlockInput& in, int sub_block, int scale_low,
                              const Codes& codes) {
  const int num_scales = 256 / sub_block;
  float wanted[16];
  float extreme = 0.0f;
  for (int j = 0; j < num_scales; ++j) {
    wanted[j] = codes.fit(in.x + j * sub_block, in.w + j * sub_block, sub_block);
    if (std::fabs(wanted[j]) > std::fabs(extreme)) extreme = wanted[j];
  }
  SymmetricScales best{};
  if (extreme == 0.0f) return best;
  float best_error = INFINITY;

  const auto attempt = [&](float factor, int reach) {
    SymmetricScales result{to_fp16_factor(factor * in.unit), {}};
    const float d = in.relative(result.d);
    float total = 0.0f;
    for (int j = 0; j < num_scales; ++j) {
      const float ideal = wanted[j] / d;
      const int middle = nearest_code(ideal, 1.0f, scale_low, -scale_low - 1);
      float least = INFINITY;
      const int last = middle + reach < -scale_low ? middle + reach : -scale_low - 1;
      for (int scale = middle - reach > scale_low ? middle - reach : scale_low; scale <= last;
           ++scale) {
        const float error = codes.error(in.x + j * sub_block, in.w + j * sub_block, sub_block,
                                        d * static_cast<float>(scale));
        if (error < least) {
          least = error;
          result.scales[j] = scale;
        }
      }
      total += least;
    }
    if (total >= best_error) return false;
    best_error = total;
    best = result;
    return true;
  };

  attempt(extreme / static_cast<float>(scale_low), 1);
  for (int round = 0; round < 2; ++round) {
    const float d = in.relative(best.d);
    double xa = 0.0, aa = 0.0;
    for (int j = 0; j < num_scales; ++j) {
      const float scale = static_cast<float>(best.scales[j]);
      const float inverse = inverse_or_zero(d * scale);
      for (int i = j * sub_block; i < (j + 1) * sub_block; ++i) {
        const float a = scale * codes.level(in.x[i], inverse);
        xa += static_cast<double>(in.w[i] * in.x[i] * a);
        aa += static_cast<double>(in.w[i] * a * a);
      }
    }
    if (!(aa > 0.0) || xa == 0.0 || !attempt(static_cast<float>(xa / aa), 1)) break;
  }
  // With few codes the best scale once scales are integers may be far from the best real one (twice
  // it, say, with codes half as large), so all are tried.
  if (codes.few() && std::isfinite(best_error)) attempt(in.relative(best.d), -2 * scale_low);
  return best;
}

struct AffineScales {
  uint16_t d, dmin;
  uint8_t scales[16], mins[16];
};

// value = d * scale * code - dmin * min, codes 0..high, scales and mins 0..max_scale.
AffineScales fit_affine_super_block(const BlockInput& in, int sub_block, int high, int max_scale);

// The codes that go with the scales, in element order.
void affine_codes(const BlockInput& in, const AffineScales& scales, int sub_block, int high,
                  uint8_t* codes);

}  // namespace realm
