// The chain of samplers over whole rows, in double and with sorts: what other backends are held to,
// and what tests of callers run. On the host the engine's samplers look at the rows themselves.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <unordered_map>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"
#include "ops/sample_row.h"

namespace realm::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr double kLn2 = 0.69314718055994530942;
// What is this far below the best has no weight in single precision.
constexpr float kWeightless = -87.0f;

struct Slot {
  float logit;
  int32_t token;
};

bool better(const Slot& a, const Slot& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

struct Choice {
  int32_t token;
  double surprise;  // bits
};

class Chain {
 public:
  Chain(std::span<const float> logits, const SampleRow& row, const LogitChange* changes)
      : row_(row), changes_(changes + row.first_change) {
    for (size_t i = 0; i < logits.size(); ++i) {
      slots_.push_back({logits[i], static_cast<int32_t>(i)});
    }
  }

  Choice choose() {
    adjust(0, row_.num_biases,
           [](float logit, float bias) { return std::min(logit + bias, kLargest); });
    std::erase_if(slots_, [](const Slot& slot) { return slot.logit == -kInfinity; });
    if (slots_.empty()) return {-2, 0.0};
    for (int i = 0; i < row_.num_steps; ++i) apply(row_.steps[i]);
    if (row_.mirostat != 0) {
      keep_from(max_logit() + std::log(softmax_sum()) - double{row_.mirostat_mu} * kLn2, 1);
    }
    if (row_.greedy != 0) return {best().token, 0.0};
    return draw();
  }

 private:
  void apply(SampleStep step) {
    const size_t min_keep = static_cast<size_t>(row_.min_keep);
    switch (step) {
      case SampleStep::kPenalties:
        return penalties();
      case SampleStep::kDry:
        return adjust(row_.num_biases + row_.num_penalties, row_.num_dry,
                      [](float logit, float value) { return std::max(logit - value, -kLargest); });
      case SampleStep::kTopNSigma:
        return keep_from(max_logit() - double{row_.top_n_sigma} * deviation(), min_keep);
      case SampleStep::kTopK:
        return keep_best(static_cast<size_t>(row_.top_k));
      case SampleStep::kTypicalP:
        return typical_p();
      case SampleStep::kTopP:
        return top_p();
      case SampleStep::kMinP:
        return keep_from(max_logit() + std::log(double{row_.min_p}), min_keep);
      case SampleStep::kXtc:
        return xtc();
      case SampleStep::kTemperature:
        return temperature();
    }
  }

  template <typename Change>
  void adjust(int32_t first, int32_t count, Change change) {
    std::unordered_map<int32_t, float> values;
    for (int32_t i = first; i < first + count; ++i) {
      values.emplace(changes_[i].token, changes_[i].value);
    }
    for (Slot& slot : slots_) {
      const auto it = values.find(slot.token);
      if (it != values.end()) slot.logit = change(slot.logit, it->second);
    }
  }

  void penalties() {
    adjust(row_.num_biases, row_.num_penalties, [&](float logit, float count) {
      const float scaled = logit > 0.0f ? logit / row_.repeat_penalty : logit * row_.repeat_penalty;
      const float penalized = scaled - count * row_.frequency_penalty - row_.presence_penalty;
      return std::clamp(penalized, -kLargest, kLargest);
    });
  }

  Slot best() const { return *std::min_element(slots_.begin(), slots_.end(), better); }
  double max_logit() const { return best().logit; }
  static double weight(const Slot& slot, double max) {
    const double below = slot.logit - max;
    return below >= kWeightless ? std::exp(below) : 0.0;
  }
  double softmax_sum() const {
    const double max = max_logit();
    double sum = 0;
    for (const Slot& slot : slots_) sum += weight(slot, max);
    return sum;
  }
  // Of the softmax, in nats.
  double entropy(double sum) const {
    const double max = max_logit();
    double products = 0;
    for (const Slot& slot : slots_) products += weight(slot, max) * (slot.logit - max);
    return std::log(sum) - products / sum;
  }
  double deviation() const {
    double sum = 0, squares = 0;
    for (const Slot& slot : slots_) sum += slot.logit;
    const double mean = sum / static_cast<double>(slots_.size());
    for (const Slot& slot : slots_) squares += (slot.logit - mean) * (slot.logit - mean);
    return std::sqrt(squares / static_cast<double>(slots_.size()));
  }

  void sort() {
    std::sort(slots_.begin(), slots_.end(), better);
    sorted_ = true;
  }

  void keep_best(size_t k) {
    if (k >= slots_.size()) return;
    sort();
    slots_.resize(k);
  }

  void keep_from(double limit, size_t min_keep) {
    const auto reaches = [&](const Slot& slot) { return slot.logit >= limit; };
    const auto count = std::count_if(slots_.begin(), slots_.end(), reaches);
    if (static_cast<size_t>(count) < min_keep) return keep_best(min_keep);
    std::erase_if(slots_, [&](const Slot& slot) { return !reaches(slot); });
  }

  // Of `slots_` in the order they are in, as many as weigh `share` together, and min_keep.
  void keep_share(double share) {
    const double max = max_logit(), wanted = share * softmax_sum();
    const auto min_keep = static_cast<size_t>(std::max(row_.min_keep, 1));
    double reached = 0;
    for (size_t i = 0; i < slots_.size(); ++i) {
      reached += weight(slots_[i], max);
      if (reached >= wanted && i + 1 >= min_keep) return slots_.resize(i + 1);
    }
  }

  void top_p() {
    sort();
    keep_share(row_.top_p);
  }

  void typical_p() {
    const double max = max_logit(), sum = softmax_sum();
    const double center = max + std::log(sum) - entropy(sum);
    std::erase_if(slots_, [&](const Slot& slot) { return slot.logit < max + kWeightless; });
    const auto distance = [&](const Slot& slot) {
      return static_cast<float>(std::abs(center - slot.logit));
    };
    std::sort(slots_.begin(), slots_.end(), [&](const Slot& a, const Slot& b) {
      const float of_a = distance(a), of_b = distance(b);
      return of_a != of_b ? of_a < of_b : a.token < b.token;
    });
    keep_share(row_.typical_p);
    sort();
  }

  void xtc() {
    if (row_.xtc_share >= row_.xtc_probability) return;
    const double max = max_logit(), threshold = row_.xtc_threshold;
    const double limit = std::max(
        threshold > 0 ? max + std::log(threshold * softmax_sum()) : -INFINITY, max + kWeightless);
    std::vector<Slot> likely;
    for (const Slot& slot : slots_) {
      if (slot.logit >= limit) likely.push_back(slot);
    }
    if (likely.size() < 2) return;
    const Slot last = *std::max_element(likely.begin(), likely.end(), better);
    std::vector<Slot> kept;
    for (const Slot& slot : slots_) {
      if (slot.logit >= max + kWeightless && !better(slot, last)) kept.push_back(slot);
    }
    if (kept.size() >= static_cast<size_t>(std::max(row_.min_keep, 1))) slots_ = std::move(kept);
  }

  void temperature() {
    double divisor = row_.temperature;
    if (row_.dynatemp_range > 0.0f && row_.temperature > 0.0f) {
      const double low = std::max(0.0f, row_.temperature - row_.dynatemp_range);
      const double high = double{row_.temperature} + row_.dynatemp_range;
      double certainty = 0;
      if (slots_.size() > 1) {
        const double greatest = std::log(static_cast<double>(slots_.size()));
        certainty = std::clamp(entropy(softmax_sum()) / greatest, 0.0, 1.0);
      }
      divisor = low + (high - low) * std::pow(certainty, double{row_.dynatemp_exponent});
    }
    constexpr double kSmallest = 1e-6;
    if (divisor < kSmallest || std::abs(max_logit()) > kLargest * divisor) return keep_best(1);
    for (Slot& slot : slots_) slot.logit /= static_cast<float>(divisor);
  }

  Choice draw() {
    std::sort(slots_.begin(), slots_.end(), [&](const Slot& a, const Slot& b) {
      return sorted_ ? better(a, b) : a.token < b.token;
    });
    const double max = max_logit(), sum = softmax_sum();
    double left = row_.token_share * sum;
    Slot drawn = best();
    for (const Slot& slot : slots_) {
      const double w = weight(slot, max);
      if (w <= 0) continue;
      drawn = slot;
      if (left < w) break;
      left -= w;
    }
    return {drawn.token, (std::log(sum) - (drawn.logit - max)) / kLn2};
  }

  const SampleRow& row_;
  const LogitChange* changes_;
  std::vector<Slot> slots_;  // in play
  bool sorted_ = false;
};

}  // namespace

Status run(Context& context, const SampleTokens& op) {
  const RowWalker x(op.x), tokens(op.tokens), settings(op.settings), facts(op.facts);
  const auto n = static_cast<size_t>(op.x.last_dim());
  const auto* changes = reinterpret_cast<const LogitChange*>(op.changes.data);
  for_row_pieces(context.pool, x.num_rows(), op.x.last_dim(), [&](int64_t row) {
    const auto& wanted = *reinterpret_cast<const SampleRow*>(settings.row(row));
    const bool finite = reinterpret_cast<const int32_t*>(tokens.row(row))[0] >= 0;
    Choice choice{-1, 0.0};
    if (wanted.chooses != 0 && finite) {
      choice = Chain(std::span(x.row(row), n), wanted, changes).choose();
    }
    op.chosen.as<int32_t>()[row] = choice.token;
    facts.row(row)[0] = choice.token >= 0 ? x.row(row)[choice.token] : 0.0f;
    facts.row(row)[1] = static_cast<float>(choice.surprise);
  });
  return {};
}

}  // namespace realm::cpu
