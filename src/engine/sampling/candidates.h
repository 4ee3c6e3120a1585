// The tokens still in play while one is chosen. It starts as a view of a row of logits, one per
// token of the vocabulary ("dense": slot i is token i); the first sampler that changes a logit
// makes a copy, the first that drops tokens leaves a list of (token, logit). Nothing sorts a whole
// vocabulary unless the distribution is so flat that nearly all of it is kept. One object serves
// every sequence in turn, so that scratch memory is per thread and not per request.
//
// A logit of -infinity means "dropped". A sorted list is in order of logit, then of token: every
// tie is decided, the same way on every machine.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace realm {

struct Candidate {
  float logit;
  Token token;
};

// By logit, best first, and then by token.
inline bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

struct SoftmaxScale {
  float max_logit;
  double sum;  // of exp(logit - max_logit)

  // The least logit of a token of probability p or more; tokens without any weight are below it.
  double logit_at(double p) const;
};

// What a device chose by a chain of samplers (ops/sample_tokens.h).
struct DeviceChoice {
  Token token;  // -2: bias left none
  float logit, surprise;
};

// What a device tells of a row of logits that stays there (ops/top_candidates.h).
struct RowSummary {
  std::span<const float> logits;  // the best, sorted
  std::span<const Token> tokens;
  size_t vocab;  // slots of the row
  double sum;    // of exp(logit - logits[0]) over the whole row
  Token drawn;   // as DeviceDraw wants it
  float drawn_logit;
  std::optional<DeviceChoice> choice = {};
};

// The k best of `logits` (all that are above -infinity where there are fewer), best first.
// `tokens` names them; where it is empty slot i is token i. One pass, O(n + k log k).
void select_best(std::span<const float> logits, std::span<const Token> tokens, size_t k,
                 std::vector<Candidate>& out);

class Candidates {
 public:
  // A view of `logits` [vocab], which must outlive the use of this object for this step.
  // Errors: kBadModel where a logit is NaN or +infinity, or none is finite.
  Status reset(std::span<const float> logits);
  // The best of a row in place of all of it. Whatever depends on the others makes lacks() true, and
  // what this object then holds is of no use.
  void reset_to_best(const RowSummary& row);
  bool has_rest() const { return rest_.count > 0; }
  void lack();
  bool lacks() const { return lacks_; }
  // Drops the tokens whose bit is 0: bit t % 32 of word t / 32 (llguidance's layout).
  void mask(std::span<const uint32_t> allowed);

  // Slots, those at -infinity included; num_finite counts without them.
  size_t size() const { return logits_.size(); }
  size_t num_finite() const;
  bool is_sorted() const { return sorted_; }
  bool is_dense() const { return tokens_.empty(); }
  std::span<const float> logits() const { return logits_; }
  // Empty in dense form.
  std::span<const Token> tokens() const { return tokens_; }
  Token token(size_t slot) const { return is_dense() ? static_cast<Token>(slot) : tokens_[slot]; }
  // -infinity where nothing is left.
  float max_logit();
  // The best slot, the lowest token of equals. Requires a finite logit.
  Candidate best();
  SoftmaxScale softmax();
  // Of the softmax, in nats.
  double entropy(const SoftmaxScale& softmax) const;
  // Sums of exp(logit - max_logit) per block of kExpBlock slots, as the last softmax() left them.
  std::span<const double> block_sums() const { return block_sums_; }

  void divide(float divisor);
  // logit = change(logit, value) for each token of `values` that is in play. The order in which
  // tokens come does not matter: each is changed once, on its own.
  template <typename Value, typename Change>
  void adjust(const std::unordered_map<Token, Value>& values, Change change);

  // The k best, sorted; nothing happens where there are no more than k.
  void keep_best(size_t k);
  // Logits >= threshold, or the min_keep best where that leaves fewer.
  void keep_from(double threshold, size_t min_keep);
  void assign(std::span<const Candidate> kept, bool sorted);

 private:
  // Tokens of the row that are not slots.
  struct Rest {
    size_t count = 0;
    float most = 0;            // none has a greater logit
    double total = 0;          // of exp(logit - max_logit) over slots and rest
    bool total_known = false;  // no logit has changed
  };

  float* writable();
  void sort();

  std::span<const float> logits_;
  std::vector<float> owned_;
  std::vector<Token> tokens_;
  std::vector<Candidate> picked_;
  std::vector<double> block_sums_;
  bool sorted_ = false;
  Rest rest_;
  bool lacks_ = false;
};

template <typename Value, typename Change>
void Candidates::adjust(const std::unordered_map<Token, Value>& values, Change change) {
  if (values.empty()) return;
  const bool stays_sorted = sorted_ && !is_dense() && !has_rest();
  float* logits = writable();
  if (is_dense()) {
    for (const auto& [token, value] : values) {
      if (static_cast<size_t>(token) < size()) logits[token] = change(logits[token], value);
    }
  } else {
    for (size_t i = 0; i < size(); ++i) {
      if (const auto it = values.find(tokens_[i]); it != values.end()) {
        logits[i] = change(logits[i], it->second);
      }
    }
    // Every change keeps the order of the logits that it is applied to.
    float most = rest_.most;
    for (const auto& [token, value] : values) {
      if (!has_rest() || change(rest_.most, value) <= most) continue;
      const bool slot = std::find(tokens_.begin(), tokens_.end(), token) != tokens_.end();
      if (!slot) most = change(rest_.most, value);
    }
    rest_.most = most;
    rest_.total_known = false;
  }
  sorted_ = false;
  if (stays_sorted) sort();
}

}  // namespace realm
