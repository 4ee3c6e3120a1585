#include "formats/quant/super_block_fit.h"

#include <initializer_list>

namespace realm {
namespace {

struct Factors {
  float d, dmin;
};

class AffineSearch {
 public:
  AffineSearch(const BlockInput& in, int sub_block, int high, int max_scale)
      : in_(in), sub_block_(sub_block), high_(high), max_scale_(max_scale) {
    for (int j = 0; j < num_scales(); ++j) {
      wanted_[j] = fit_affine(in.x + j * sub_block, in.w + j * sub_block, sub_block, high, true);
      largest_.d = std::fmax(largest_.d, wanted_[j].scale);
      largest_.dmin = std::fmax(largest_.dmin, -wanted_[j].min);
    }
  }

  AffineScales run() {
    const float steps = static_cast<float>(max_scale_);
    attempt({largest_.d / steps, largest_.dmin / steps});
    // Coarse scales (Q2_K): cutting off the largest may serve the others better.
    if (max_scale_ <= 15) {
      for (const float factor : {0.93f, 0.86f, 0.79f}) {
        attempt({largest_.d / steps * factor, largest_.dmin / steps});
        attempt({largest_.d / steps, largest_.dmin / steps * factor});
        attempt({largest_.d / steps * factor, largest_.dmin / steps * factor});
      }
    }
    for (int round = 0; round < 2; ++round) {
      if (!attempt(least_squares())) break;
    }
    return best_;
  }

 private:
  int num_scales() const { return 256 / sub_block_; }

  // Chooses the integers for these factors; true if that is the best so far.
  bool attempt(Factors wanted) {
    AffineScales result{};
    result.d = to_fp16_factor(wanted.d * in_.unit);
    result.dmin = to_fp16_factor(wanted.dmin * in_.unit);
    const Factors factors{in_.relative(result.d), in_.relative(result.dmin)};
    float total = 0.0f;
    for (int j = 0; j < num_scales() && total < best_error_; ++j) {
      total += choose(j, factors, result);
    }
    if (!(total < best_error_)) return false;
    best_error_ = total;
    best_ = result;
    return true;
  }

  float choose(int j, Factors factors, AffineScales& result) const {
    const float* x = in_.x + j * sub_block_;
    const float* w = in_.w + j * sub_block_;
    const int scale_middle =
        nearest_code(wanted_[j].scale, inverse_or_zero(factors.d), 0, max_scale_);
    const int min_middle =
        nearest_code(-wanted_[j].min, inverse_or_zero(factors.dmin), 0, max_scale_);
    float least = INFINITY;
    for (int scale = scale_middle - 1; scale <= scale_middle + 1; ++scale) {
      if (scale < 0 || scale > max_scale_) continue;
      for (int min = min_middle - 1; min <= min_middle + 1; ++min) {
        if (min < 0 || min > max_scale_) continue;
        const float error = affine_error(
            x, w, sub_block_, high_,
            {factors.d * static_cast<float>(scale), -factors.dmin * static_cast<float>(min)});
        if (error < least) {
          least = error;
          result.scales[j] = static_cast<uint8_t>(scale);
          result.mins[j] = static_cast<uint8_t>(min);
        }
      }
    }
    return least;
  }

  // The factors that suit the best integers and their codes: minimizes the sum over
  // w (x - d a + dmin b)^2 with a = scale * code, b = min.
  Factors least_squares() const {
    uint8_t codes[256];
    affine_codes(in_, best_, sub_block_, high_, codes);
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int i = 0; i < 256; ++i) {
      const double w = static_cast<double>(in_.w[i]), x = static_cast<double>(in_.x[i]);
      const double a = best_.scales[i / sub_block_] * codes[i];
      const double b = best_.mins[i / sub_block_];
      aa += w * a * a;
      ab += w * a * b;
      bb += w * b * b;
      xa += w * x * a;
      xb += w * x * b;
    }
    const double determinant = aa * bb - ab * ab;
    Factors result{in_.relative(best_.d), in_.relative(best_.dmin)};
    if (determinant > 1e-9 * aa * bb) {
      result.d = static_cast<float>((bb * xa - ab * xb) / determinant);
      result.dmin = static_cast<float>((ab * xa - aa * xb) / determinant);
    } else if (aa > 0 && bb == 0) {
      result.d = static_cast<float>(xa / aa);
    }
    result.d = std::fmax(result.d, 0.0f);
    result.dmin = std::fmax(result.dmin, 0.0f);
    return result;
  }

  const BlockInput& in_;
  const int sub_block_, high_, max_scale_;
  AffineFit wanted_[16];
  Factors largest_{0.0f, 0.0f};
  AffineScales best_{};
  float best_error_ = INFINITY;
};

}  // namespace

AffineScales fit_affine_super_block(const BlockInput& in, int sub_block, int high, int max_scale) {
  return AffineSearch(in, sub_block, high, max_scale).run();
}

void affine_codes(const BlockInput& in, const AffineScales& scales, int sub_block, int high,
                  uint8_t* codes) {
  const float d = in.relative(scales.d), dmin = in.relative(scales.dmin);
  for (int i = 0; i < 256; ++i) {
    const int j = i / sub_block;
    const float inverse = inverse_or_zero(d * static_cast<float>(scales.scales[j]));
    const float min = dmin * static_cast<float>(scales.mins[j]);
    codes[i] = static_cast<uint8_t>(nearest_code(in.x[i] + min, inverse, 0, high));
  }
}

}  // namespace realm
