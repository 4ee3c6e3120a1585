// The samplers, one function each over the candidates of one step, in files of their names, and the
// table that gives their order. A function reads the request's parameters and the sequence's
// history and draws from nothing but Step::draw; it keeps no state. Adding one: its file, its row
// in samplers.cpp, its fields in params.cpp.
#pragma once

#include <span>
#include <string_view>
#include <unordered_map>

#include "engine/sampling/candidates.h"
#include "engine/sampling/history.h"
#include "engine/sampling/params.h"
#include "engine/sampling/philox.h"
#include "ops/sample_row.h"

namespace realm {

struct Step {
  const SamplingParams& params;
  const History& history;
  uint64_t index;  // generated tokens before this one

  double draw(DrawPurpose purpose) const { return uniform_draw(params.seed, index, purpose); }
};

struct SamplerRow {
  std::string_view name;   // in the field "samplers"
  std::string_view alias;  // llama.cpp's spelling where it differs
  bool (*active)(const SamplingParams&);
  void (*apply)(Candidates&, const Step&);
  SampleStep step;  // the same on a device
  // Truncating samplers make no sense under greedy and are mirostat's job under mirostat: both skip
  // them.
  bool truncates;
  // Looks at every candidate, so that the best of a row do not do.
  bool needs_all = false;
};

// In the order in which they apply unless the request says otherwise.
std::span<const SamplerRow> samplers_table();
const SamplerRow* find_sampler(std::string_view name);

bool penalties_active(const SamplingParams& params);
bool dry_active(const SamplingParams& params);

// logit = logit / repeat_penalty (times it where negative), - count * frequency_penalty -
// presence_penalty.
void apply_penalties(Candidates& candidates, const Step& step);
// DRY, "don't repeat yourself" (p-e-w, text-generation-webui #5677): subtracts multiplier *
// base^(length - allowed_length) from each token that would continue a sequence of `length` tokens
// seen before. Sequences do not reach over a breaker.
void apply_dry(Candidates& candidates, const Step& step);
// What it subtracts from each.
std::unordered_map<Token, float> dry_penalties(const Step& step);
// Keeps logits >= max - n * standard deviation of all (Tang et al., "Top-n-sigma", 2024).
void apply_top_n_sigma(Candidates& candidates, const Step& step);
void apply_top_k(Candidates& candidates, const Step& step);
// Locally typical sampling (Meister et al., 2022).
void apply_typical_p(Candidates& candidates, const Step& step);
// Nucleus sampling (Holtzman et al., 2019).
void apply_top_p(Candidates& candidates, const Step& step);
// p >= min_p * p of the best (Nguyen et al., 2024).
void apply_min_p(Candidates& candidates, const Step& step);
// XTC, "exclude top choices" (p-e-w, text-generation-webui #6335).
void apply_xtc(Candidates& candidates, const Step& step);
// Divides by the temperature, or by one between temperature -/+ dynatemp_range that grows with the
// entropy.
void apply_temperature(Candidates& candidates, const Step& step);

// Mirostat 2 (Basu et al., 2020): drops tokens of more than `mu` bits of surprise, the best
// excepted.
void apply_mirostat(Candidates& candidates, double mu);

}  // namespace realm
