// How one request wants its tokens chosen: plain data with the names of the OpenAI and llama.cpp
// JSON fields. The field table says name, alias, range and help of each once; the API, the command
// line, the settings and the checks all walk it. A new sampler's fields are rows here and its
// function a row in samplers.h.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace realm {

// The defaults change nothing: the model's own distribution at temperature 1, as OpenAI's API does.
struct SamplingParams {
  float temperature = 1.0f;  // 0 is greedy: the likeliest token after bias and penalties
  float dynatemp_range = 0.0f;
  float dynatemp_exponent = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float top_n_sigma = -1.0f;
  float xtc_probability = 0.0f;
  float xtc_threshold = 0.1f;
  int32_t mirostat = 0;
  float mirostat_tau = 5.0f;
  float mirostat_eta = 0.1f;
  float repeat_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  int32_t repeat_last_n = 64;
  float dry_multiplier = 0.0f;
  float dry_base = 1.75f;
  int32_t dry_allowed_length = 2;
  int32_t dry_penalty_last_n = -1;
  int32_t min_keep = 0;
  bool logprobs = false;
  int32_t top_logprobs = 0;
  // Whoever takes a request without a seed draws one (random_seed) and can report it.
  uint64_t seed = 0;
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  // Added to the raw logits; -infinity forbids the token.
  std::vector<std::pair<Token, float>> logit_bias = {};
  // Names of samplers.h in the order to apply them; those left out are off. Empty: the table's
  // order.
  std::vector<std::string> samplers = {};
};

struct SamplingField {
  std::string_view name;   // the JSON field; on the command line with dashes
  std::string_view alias;  // a second accepted spelling, or empty
  std::variant<float SamplingParams::*, int32_t SamplingParams::*, bool SamplingParams::*> member;
  double min, max;
  bool min_excluded;
  std::string_view help;
};

// Every scalar field but the seed, whose 64 bits a double cannot hold.
std::span<const SamplingField> sampling_fields();
// By name or alias; null where there is none.
const SamplingField* find_sampling_field(std::string_view name);
double get_sampling_field(const SamplingParams& params, const SamplingField& field);
// Error kInvalidArgument naming the field and its range.
Status set_sampling_field(SamplingParams& params, const SamplingField& field, double value);

// Limits on the lists a request may carry.
inline constexpr size_t kMaxSequenceBreakers = 64;
inline constexpr size_t kMaxSequenceBreakerBytes = 256;
inline constexpr size_t kMaxLogitBias = 4096;

// Everything a Sampler relies on. Errors: kInvalidArgument naming the field and its range.
Status validate(const SamplingParams& params, int64_t vocab_size);

// From the operating system's generator.
uint64_t random_seed();

}  // namespace realm
