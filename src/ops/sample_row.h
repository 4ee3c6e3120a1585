// What SampleTokens is told of a row: the chain of samplers in its order and their parameters. The
// samplers are those of engine/sampling/samplers.h, which defines what each does; a row here is
// their parameters as a device reads them. Kept apart from the op's own header, which every kernel
// includes.
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

// A change of one token's logit. A row's changes come in three runs: bias, which is added; penalties,
// whose value is how often the token was seen; DRY, whose value is subtracted.
struct LogitChange {
  int32_t token;
  float value;
};

struct SampleRow {
  static constexpr int kMostSteps = 12;
  static constexpr int kWords = 48;

  int32_t chooses;  // 0: nothing is asked for
  int32_t greedy;   // after the steps, the best; else a draw
  int32_t num_steps;
  SampleStep steps[kMostSteps];
  int32_t first_change;  // in SampleTokens::changes
  int32_t num_biases, num_penalties, num_dry;
  float token_share, xtc_share;  // uniform in [0, 1): of the token's draw and of XTC's
  float temperature, dynatemp_range, dynatemp_exponent;
  int32_t top_k;
  float top_p, min_p, typical_p, top_n_sigma, xtc_probability, xtc_threshold;
  float repeat_penalty, presence_penalty, frequency_penalty;
  int32_t min_keep;
  int32_t mirostat;  // 0: off, else version 2 with the threshold mirostat_mu, in bits
  float mirostat_mu;
  int32_t unused[kWords - 37];
};
static_assert(sizeof(SampleRow) == SampleRow::kWords * sizeof(int32_t));

}  // namespace realm
