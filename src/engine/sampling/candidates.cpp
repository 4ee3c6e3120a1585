#include "engine/sampling/candidates.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "engine/sampling/portable_math.h"

namespace realm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Four floats: SSE2 and NEON have them on every machine. A maximum does not depend on the order in
// which it is taken, so lanes cost no determinism.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));
using Long2 = int64_t __attribute__((vector_size(16)));

Float4 load4(const float* p) {
  Float4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

bool any(Int4 mask) {
  const Long2 halves = std::bit_cast<Long2>(mask);
  return (halves[0] | halves[1]) != 0;
}

struct Scan {
  float max;
  bool has_nan;
};

Scan scan_logits(std::span<const float> x) {
  Float4 max0 = {-kInfinity, -kInfinity, -kInfinity, -kInfinity};
  Float4 max1 = max0;
  Int4 nan = {0, 0, 0, 0};
  size_t i = 0;
  for (; i + 8 <= x.size(); i += 8) {
    const Float4 a = load4(&x[i]), b = load4(&x[i + 4]);
    nan |= (a != a) | (b != b);
    max0 = a > max0 ? a : max0;
    max1 = b > max1 ? b : max1;
  }
  max0 = max0 > max1 ? max0 : max1;
  Scan scan = {-kInfinity, any(nan)};
  for (int lane = 0; lane < 4; ++lane) scan.max = std::max(scan.max, max0[lane]);
  for (; i < x.size(); ++i) {
    scan.has_nan |= x[i] != x[i];
    if (x[i] > scan.max) scan.max = x[i];
  }
  return scan;
}

}  // namespace

void select_best(std::span<const float> logits, std::span<const Token> tokens, size_t k,
                 std::vector<Candidate>& out) {
  out.clear();
  k = std::min(k, logits.size());
  if (k == 0) return;
  // Anything above the threshold goes into a buffer a little larger than k; when that is full, only
  // its k best stay and the worst of them is the new threshold. Few of a real row pass it.
  const size_t capacity = 2 * k + 64;
  float threshold = std::numeric_limits<float>::lowest();
  const auto take = [&](size_t i) {
    if (!(logits[i] >= threshold)) return;
    out.push_back({logits[i], tokens.empty() ? static_cast<Token>(i) : tokens[i]});
    if (out.size() == capacity) {
      std::nth_element(out.begin(), out.begin() + static_cast<ptrdiff_t>(k) - 1, out.end(), better);
      out.resize(k);
      threshold = out[k - 1].logit;
    }
  };
  size_t i = 0;
  for (; i + 16 <= logits.size(); i += 16) {
    const Float4 limit = {threshold, threshold, threshold, threshold};
    const float* p = &logits[i];
    const Int4 passes = (load4(p) >= limit) | (load4(p + 4) >= limit) | (load4(p + 8) >= limit) |
                        (load4(p + 12) >= limit);
    if (any(passes)) {
      for (size_t j = i; j < i + 16; ++j) take(j);
    }
  }
  for (; i < logits.size(); ++i) take(i);
  if (out.size() > k) {
    std::nth_element(out.begin(), out.begin() + static_cast<ptrdiff_t>(k) - 1, out.end(), better);
    out.resize(k);
  }
  std::sort(out.begin(), out.end(), better);
}

double SoftmaxScale::logit_at(double p) const {
  const double lowest = static_cast<double>(max_logit) + kExpLowest;
  return p > 0.0 ? std::max(max_logit + log_double(p * sum), lowest) : lowest;
}

Status Candidates::reset(std::span<const float> logits) {
  tokens_.clear();
  sorted_ = false;
  rest_ = {};
  lacks_ = false;
  logits_ = logits;
  const Scan scan = scan_logits(logits);
  if (!scan.has_nan && scan.max > -kInfinity && scan.max < kInfinity) return {};
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != logits[i] || logits[i] == kInfinity) {
      return Error{ErrorCode::kBadModel,
                   "the model gave token " + std::to_string(i) + " the logit " +
                       (logits[i] == kInfinity ? "infinity" : "NaN") +
                       "; its weights are damaged or overflow in this precision"};
    }
  }
  return Error{ErrorCode::kBadModel, logits.empty()
                                         ? "the model gave no logits"
                                         : "the model gave every token the logit -infinity"};
}

void Candidates::reset_to_best(const RowSummary& row) {
  tokens_.assign(row.tokens.begin(), row.tokens.end());
  logits_ = row.logits;
  sorted_ = true;
  lacks_ = false;
  rest_ = {.count = row.vocab - row.tokens.size(),
           .most = row.logits.back(),
           .total = row.sum,
           .total_known = true};
}

void Candidates::lack() {
  lacks_ = true;
  rest_ = {};
}

void Candidates::mask(std::span<const uint32_t> allowed) {
  float* logits = writable();
  for (size_t i = 0; i < size(); ++i) {
    const auto token = static_cast<uint32_t>(this->token(i));
    if (is_dense() && token % 32 == 0 && token / 32 < allowed.size()) {
      const uint32_t word = allowed[token / 32];
      const size_t end = std::min(i + 32, size());
      if (word == 0) {
        std::fill(logits + i, logits + end, -kInfinity);
      } else if (word != ~0u) {
        for (size_t j = i; j < end; ++j) {
          if ((word >> (j - i) & 1) == 0) logits[j] = -kInfinity;
        }
      }
      i = end - 1;
      continue;
    }
    if (token / 32 >= allowed.size() || (allowed[token / 32] >> (token % 32) & 1) == 0) {
      logits[i] = -kInfinity;
    }
  }
  sorted_ = false;
  rest_.total_known = false;
}

size_t Candidates::num_finite() const {
  size_t count = 0;
  for (const float logit : logits_) count += logit > -kInfinity;
  return count;
}

float Candidates::max_logit() {
  if (sorted_ && !logits_.empty()) return logits_[0];
  const float max = scan_logits(logits_).max;
  if (has_rest() && max < rest_.most) lack();
  return max;
}

Candidate Candidates::best() {
  if (sorted_ && !logits_.empty()) return {logits_[0], token(0)};
  const float max = max_logit();
  // Of an equal one among the rest it is not known whether its token is lower.
  if (has_rest() && max == rest_.most) lack();
  Candidate best = {max, std::numeric_limits<Token>::max()};
  for (size_t i = 0; i < size(); ++i) {
    if (logits_[i] != max) continue;
    best.token = std::min(best.token, token(i));
    if (is_dense()) break;
  }
  return best;
}

SoftmaxScale Candidates::softmax() {
  const float max = max_logit();
  if (has_rest()) {
    if (rest_.total_known) return {max, rest_.total};
    lack();
  }
  return {max, exp_block_sums(logits_, max, block_sums_)};
}

double Candidates::entropy(const SoftmaxScale& softmax) const {
  return log_double(softmax.sum) - exp_product_sum(logits_, softmax.max_logit) / softmax.sum;
}

void Candidates::divide(float divisor) {
  float* logits = writable();
  for (size_t i = 0; i < size(); ++i) logits[i] /= divisor;
  rest_.most /= divisor;
  rest_.total_known = false;
}

void Candidates::keep_best(size_t k) {
  if (k >= size() + rest_.count) return;
  if (k > size()) return lack();
  if (sorted_) {
    logits_ = logits_.first(k);
    tokens_.resize(k);
    rest_ = {};
    return;
  }
  select_best(logits_, tokens_, k, picked_);
  if (has_rest() && !(picked_.size() == k && picked_.back().logit > rest_.most)) lack();
  assign(picked_, true);
}

void Candidates::assign(std::span<const Candidate> kept, bool sorted) {
  owned_.resize(kept.size());
  tokens_.resize(kept.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    owned_[i] = kept[i].logit;
    tokens_[i] = kept[i].token;
  }
  logits_ = owned_;
  sorted_ = sorted;
  rest_ = {};
}

void Candidates::keep_from(double threshold, size_t min_keep) {
  // The least float that is no less than the threshold: the same comparison, in float.
  auto limit = std::max(static_cast<float>(threshold), std::numeric_limits<float>::lowest());
  if (limit < threshold) limit = std::nextafter(limit, kInfinity);
  if (has_rest() && limit <= rest_.most) return lack();
  picked_.clear();
  for (size_t i = 0; i < size(); ++i) {
    if (logits_[i] >= limit) {
      picked_.push_back({logits_[i], token(i)});
    }
  }
  if (picked_.size() < std::min(min_keep, size() + rest_.count)) {
    keep_best(min_keep);
  } else if (has_rest()) {
    // In the order of tokens, as the whole row's would be: the same seed draws the same one.
    std::sort(picked_.begin(), picked_.end(),
              [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
    assign(picked_, false);
  } else {
    assign(picked_, sorted_);
  }
}

// A list without rest.
void Candidates::sort() {
  picked_.clear();
  for (size_t i = 0; i < size(); ++i) picked_.push_back({logits_[i], tokens_[i]});
  std::sort(picked_.begin(), picked_.end(), better);
  assign(picked_, true);
}

float* Candidates::writable() {
  if (logits_.data() != owned_.data()) {
    owned_.assign(logits_.begin(), logits_.end());
    logits_ = owned_;
  }
  return owned_.data();
}

}  // namespace realm
