#include "formats/quant/codebook_fit.h"

#include <cmath>

namespace realm {
namespace {

// The entries chosen for a group at some scale, and what follows from them.
struct Choice {
  uint16_t indices[8];
  bool negative[8];
  float error;   // sum of w (x - scale code)^2
  float xq, qq;  // sum of w x code, of w code^2
  float gain() const { return qq > 0.0f ? xq * xq / qq : 0.0f; }
};

void add_vector(const float* x, const float* w, const float* codes, int dims, float scale,
                Choice& choice) {
  for (int i = 0; i < dims; ++i) {
    const float miss = x[i] - scale * codes[i];
    choice.error += w[i] * miss * miss;
    choice.xq += w[i] * x[i] * codes[i];
    choice.qq += w[i] * codes[i] * codes[i];
  }
}

// IQ2 and IQ3: signs are settled first, whatever the scale, and entries approximate magnitudes.
class Magnitudes {
 public:
  static constexpr int kMaxScale = 15;

  Magnitudes(const BlockInput& in, const CodebookSearch& search, int group, bool even_signs)
      : search_(search), w_(in.w), group_(group) {
    for (int octet = 0; octet < 32; ++octet) take_signs(in, octet, even_signs);
  }

  float first_ratio() const { return 0.75f * static_cast<float>(search_.top_level()); }
  float last_ratio() const { return 1.5f * static_cast<float>(search_.top_level()); }
  int vectors() const { return group_ / search_.dims(); }
  uint8_t signs(int octet) const { return signs_[octet]; }

  Choice choose(int group, float scale) const {
    Choice choice{};
    const float inverse = inverse_or_zero(scale);
    const int dims = search_.dims();
    for (int v = 0; v < vectors(); ++v) {
      const float* x = magnitudes_ + group * group_ + v * dims;
      const float* w = w_ + group * group_ + v * dims;
      float scaled[8];
      for (int i = 0; i < dims; ++i) scaled[i] = x[i] * inverse;
      const int index = search_.nearest(scaled, w);
      choice.indices[v] = static_cast<uint16_t>(index);
      add_vector(x, w, search_.entry(index), dims, scale, choice);
    }
    return choice;
  }

 private:
  void take_signs(const BlockInput& in, int octet, bool even_signs) {
    const int first = 8 * octet;
    uint32_t signs = 0;
    int cheapest = first;
    for (int i = first; i < first + 8; ++i) {
      magnitudes_[i] = std::fabs(in.x[i]);
      if (in.x[i] < 0.0f) signs |= 1u << (i - first);
      const float cost = in.w[i] * in.x[i] * in.x[i];
      if (cost < in.w[cheapest] * in.x[cheapest] * in.x[cheapest]) cheapest = i;
    }
    if (even_signs && __builtin_popcount(signs) % 2 != 0) {
      signs ^= 1u << (cheapest - first);
      magnitudes_[cheapest] = -magnitudes_[cheapest];
    }
    signs_[octet] = static_cast<uint8_t>(signs);
  }

  const CodebookSearch& search_;
  const float* w_;
  const int group_;
  float magnitudes_[256];
  uint8_t signs_[32];
};

// IQ1: codes are 8 (g + 1/8) or 8 (g - 1/8).
class Shifted {
 public:
  static constexpr int kMaxScale = 7;

  Shifted(const BlockInput& in, int group, bool delta_per_vector)
      : search_(CodebookSearch::iq1()),
        in_(in),
        group_(group),
        delta_per_vector_(delta_per_vector) {}

  float first_ratio() const { return 7.0f; }
  float last_ratio() const { return 26.0f; }
  int vectors() const { return group_ / 8; }
  uint8_t signs(int) const { return 0; }

  Choice choose(int group, float scale) const {
    if (delta_per_vector_) {
      Choice choice{};
      for (int v = 0; v < vectors(); ++v) {
        Choice plus{}, minus{};
        choose_vector(group, v, scale, false, plus);
        choose_vector(group, v, scale, true, minus);
        const Choice& better = minus.error < plus.error ? minus : plus;
        choice.indices[v] = better.indices[v];
        choice.negative[v] = better.negative[v];
        choice.error += better.error;
        choice.xq += better.xq;
        choice.qq += better.qq;
      }
      return choice;
    }
    Choice plus{}, minus{};
    for (int v = 0; v < vectors(); ++v) {
      choose_vector(group, v, scale, false, plus);
      choose_vector(group, v, scale, true, minus);
    }
    return minus.error < plus.error ? minus : plus;
  }

 private:
  void choose_vector(int group, int v, float scale, bool negative, Choice& choice) const {
    const float inverse = 0.125f * inverse_or_zero(scale);
    const float delta = negative ? -1.0f : 1.0f;
    const float* x = in_.x + group * group_ + 8 * v;
    const float* w = in_.w + group * group_ + 8 * v;
    float scaled[8], codes[8];
    for (int i = 0; i < 8; ++i) scaled[i] = x[i] * inverse - 0.125f * delta;
    const int index = search_.nearest(scaled, w);
    for (int i = 0; i < 8; ++i) codes[i] = 8.0f * search_.entry(index)[i] + delta;
    choice.indices[v] = static_cast<uint16_t>(index);
    choice.negative[v] = negative;
    add_vector(x, w, codes, 8, scale, choice);
  }

  const CodebookSearch& search_;
  const BlockInput& in_;
  const int group_;
  const bool delta_per_vector_;
};

// The scale that suits one group best.
template <typename Codes>
float fit_group(const BlockInput& in, const Codes& codes, int group, int group_size) {
  const float extreme = std::fabs(extreme_of(in.x + group * group_size, group_size));
  if (extreme < 1e-12f) return 0.0f;
  Choice best{};
  constexpr int kSteps = 12;
  const float growth = std::pow(codes.last_ratio() / codes.first_ratio(), 1.0f / kSteps);
  float ratio = codes.first_ratio();
  for (int step = 0; step <= kSteps; ++step, ratio *= growth) {
    const Choice choice = codes.choose(group, extreme / ratio);
    if (choice.xq > 0.0f && choice.gain() > best.gain()) best = choice;
  }
  for (int round = 0; round < 3 && best.qq > 0.0f; ++round) {
    const Choice choice = codes.choose(group, best.xq / best.qq);
    if (!(choice.xq > 0.0f && choice.gain() > best.gain() * 1.00001f)) break;
    best = choice;
  }
  return best.qq > 0.0f ? best.xq / best.qq : 0.0f;
}

template <typename Codes>
CodebookBlock fit_block(const BlockInput& in, const Codes& codes, int group_size, float divisor) {
  const int groups = 256 / group_size;
  float wanted[16];
  float largest = 0.0f;
  for (int g = 0; g < groups; ++g) {
    wanted[g] = fit_group(in, codes, g, group_size);
    largest = std::fmax(largest, wanted[g]);
  }
  CodebookBlock best{};
  for (int octet = 0; octet < 32; ++octet) best.signs[octet] = codes.signs(octet);
  if (largest == 0.0f) return best;

  // No codebook holds zeros alone, so a block may be best with d = 0: the start to be improved on.
  float best_error = 0.0f, next_unit = 0.0f;
  for (int i = 0; i < 256; ++i) best_error += in.w[i] * in.x[i] * in.x[i];
  const auto attempt = [&](float wanted_unit) {
    CodebookBlock result = best;
    result.d = to_fp16_factor(divisor * wanted_unit * in.unit);
    const float unit = in.relative(result.d) / divisor;
    float total = 0.0f;
    double xq = 0.0, qq = 0.0;
    for (int g = 0; g < groups && total < best_error; ++g) {
      const int middle = nearest_code((wanted[g] / unit - 1.0f) * 0.5f, 1.0f, 0, Codes::kMaxScale);
      Choice choice{};
      choice.error = INFINITY;
      for (int scale = middle - 1; scale <= middle + 1; ++scale) {
        if (scale < 0 || scale > Codes::kMaxScale) continue;
        const Choice candidate = codes.choose(g, unit * static_cast<float>(2 * scale + 1));
        if (!(candidate.error < choice.error)) continue;
        choice = candidate;
        result.scales[g] = static_cast<uint8_t>(scale);
      }
      total += choice.error;
      const double odd = 2 * result.scales[g] + 1;
      xq += odd * static_cast<double>(choice.xq);
      qq += odd * odd * static_cast<double>(choice.qq);
      for (int v = 0; v < codes.vectors(); ++v) {
        result.indices[g * codes.vectors() + v] = choice.indices[v];
        result.negative[(g * codes.vectors() + v) % 32] = choice.negative[v];
      }
    }
    if (!(total < best_error)) return false;
    best_error = total;
    best = result;
    next_unit = qq > 0.0 ? static_cast<float>(xq / qq) : 0.0f;
    return true;
  };

  const float plain = largest / static_cast<float>(2 * Codes::kMaxScale + 1);
  attempt(plain);
  for (int round = 0; round < 3 && next_unit > 0.0f; ++round) {
    if (!attempt(next_unit)) break;
  }
  return best;
}

}  // namespace

CodebookBlock fit_magnitudes(const BlockInput& in, const CodebookSearch& search, int group,
                             bool even_signs, float divisor) {
  return fit_block(in, Magnitudes(in, search, group, even_signs), group, divisor);
}

CodebookBlock fit_shifted(const BlockInput& in, int group, bool delta_per_vector) {
  return fit_block(in, Shifted(in, group, delta_per_vector), group, 8.0f);
}

}  // namespace realm
