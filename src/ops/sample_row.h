// What SampleTokens is told of a row: the chain of samplers in its order and their parameters. The
// samplers are those of engine/sampling/samplers.h, which says where each comes from; a row here is
// their parameters as a device reads them. Kept apart from the op's own header, which every kernel
// includes.
//
// The chain: biases are added to the row; each step keeps some of the tokens or changes their
// logits; mirostat drops what surprises too much; the best is taken, or one drawn from the softmax
// of what is left. Of tokens of equal logits the lowest is the better one. min_keep tokens at least
// are left by top_n_sigma, typical_p, top_p and min_p, and xtc does nothing where it would leave
// fewer.
//
// A draw takes the first token at which the running sum of weights passes token_share of them all:
// in the order of tokens, or of logits, best first, once top_k, typical_p, top_p or min_keep's
// count has picked the best.
#pragma once

#include <cstdint>

namespace realm {

enum class SampleStep : int32_t {
  kPenalties,
  kDry,
  kTopNSigma,
  kTopK,
  kTypicalP,
  kTopP,
  kMinP,
  kXtc,
  kTemperature,
};

// A change of one token's logit. A row's changes come in three runs, of a token once each at most:
// bias, which is added; penalties, whose value is how often the token was seen; DRY, whose value is
// subtracted.
struct LogitChange {
  int32_t token;
  float value;
};
static_assert(sizeof(LogitChange) == 2 * sizeof(int32_t));

// As it is made, a row asks for nothing and its samplers change nothing.
struct SampleRow {
  static constexpr int kMostSteps = 12;
  static constexpr int kWords = 48;

  int32_t chooses = 0;  // 0: nothing is asked for
  int32_t greedy = 0;   // after the steps, the best; else a draw
  int32_t num_steps = 0;
  SampleStep steps[kMostSteps] = {};
  int32_t first_change = 0;  // in SampleTokens::changes
  int32_t num_biases = 0, num_penalties = 0, num_dry = 0;
  float token_share = 0, xtc_share = 0;  // uniform in [0, 1): of the token's draw and of XTC's
  float temperature = 1, dynatemp_range = 0, dynatemp_exponent = 1;
  int32_t top_k = 0;
  float top_p = 1, min_p = 0, typical_p = 1, top_n_sigma = 0;
  float xtc_probability = 0, xtc_threshold = 0;
  float repeat_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int32_t min_keep = 0;
  int32_t mirostat = 0;  // 0: off, else version 2 with the threshold mirostat_mu, in bits
  float mirostat_mu = 0;
  int32_t unused[kWords - 37] = {};
};
static_assert(sizeof(SampleRow) == SampleRow::kWords * sizeof(int32_t));

}  // namespace realm
