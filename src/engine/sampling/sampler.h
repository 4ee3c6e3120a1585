// Chooses the tokens of one sequence: the request's parameters, the history its penalties need and
// the step its random numbers depend on. The engine calls sample() with each row of logits and
// accept() with each token that becomes part of the sequence, the prompt's too. sample() changes no
// state, so a step can be drawn again or thrown away (speculation, preemption).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "engine/sampling/candidates.h"
#include "engine/sampling/history.h"
#include "engine/sampling/params.h"
#include "engine/sampling/samplers.h"
#include "ops/sample_row.h"

namespace realm {

struct TokenLogprob {
  Token token;
  float logprob;
};

// A log probability of -infinity is reported as this, as OpenAI's API does.
inline constexpr float kLowestLogprob = -9999.0f;

struct Sampled {
  Token token;
  // Under params.logprobs: the model's own log probabilities, i.e. the log-softmax of the raw
  // logits before bias, mask and samplers. `top` has top_logprobs entries, best first.
  float logprob;
  std::vector<TokenLogprob> top;
  double surprise;  // bits, among the candidates that were left; accept() feeds it to mirostat
};

// What a device draws with (ops/top_candidates.h).
struct DeviceDraw {
  float inverse_temperature = 1, share = 0;
};

class Sampler {
 public:
  // `params` must have passed validate(). `token_text` is needed for DRY's sequence breakers only;
  // what it refers to must outlive this object.
  explicit Sampler(SamplingParams params, TokenText token_text = {});

  // `logits` [vocab]. `allowed`: empty, or a bit per token (Candidates::mask). `scratch` may serve
  // any number of samplers, one at a time.
  // Errors: kBadModel where the logits hold NaN or +infinity or nothing else than -infinity;
  // kInvalidArgument where bias and mask leave no token.
  Result<Sampled> sample(std::span<const float> logits, std::span<const uint32_t> allowed,
                         Candidates& scratch) const;

  // The same from a summary of the row and what a device chose, if it did and there is no mask;
  // none where that does not decide it, and the row itself is needed. Errors: kInvalidArgument
  // where bias and mask leave no token.
  Result<std::optional<Sampled>> sample(const RowSummary& row, std::span<const uint32_t> allowed,
                                        Candidates& scratch) const;
  DeviceDraw device_draw() const;
  // Whether the token is the row's best, and nothing else of the row is wanted.
  bool takes_best() const { return plain_best_ && !params_.logprobs; }
  // Whether more is to be done than a summary and a DeviceDraw tell.
  bool needs_chain() const { return !plain_draw_ && !plain_best_; }
  // Then a device runs the chain by `row`, whose changes are appended to `changes`. False where
  // there is none, or it cannot by the number of samplers or of changes.
  bool device_row(SampleRow& row, std::vector<LogitChange>& changes, size_t max_changes) const;

  // A token of the prompt: counts for the penalties, not as a step.
  void accept_prompt(Token token) { history_.push(token); }
  // A generated token: `sampled` as sample() returned it, or a token that was forced.
  void accept(const Sampled& sampled);
  void accept_forced(Token token);

  const SamplingParams& params() const { return params_; }
  uint64_t num_generated() const { return step_; }

 private:
  bool is_greedy() const;
  bool append_changes(SampleRow& row, std::vector<LogitChange>& changes, size_t max_changes) const;
  // Mask, bias, then the samplers in order.
  Status narrow(std::span<const uint32_t> allowed, Candidates& candidates) const;
  void choose(Candidates& candidates, Sampled& sampled) const;

  SamplingParams params_;
  std::vector<const SamplerRow*> order_;  // the active ones
  bool plain_draw_ = false;               // from the row's own softmax at some temperature
  bool plain_best_ = false;               // the row's own
  std::unordered_map<Token, float> bias_;
  History history_;
  uint64_t step_ = 0;
  double mirostat_mu_;
};

}  // namespace realm
