// Fields that the OpenAI-like endpoints have in common, from JSON into a GenerationSpec: the
// sampler fields of engine/sampling/params.h, stop strings, limits, seeds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/api/field_reader.h"
#include "server/api/generation.h"

namespace realm::server {

// A chunk of a stream's answer, or of none.
struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
};

// Every field of sampling_fields() but logprobs and top_logprobs, and seed, logit_bias,
// dry_sequence_breakers and samplers. A seed is drawn where none is given.
void read_sampling(FieldReader& fields, SamplingParams& params);
// A string or a list of strings.
void read_stop(FieldReader& fields, std::string_view name, std::vector<std::string>& out);
StreamOptions read_stream(FieldReader& fields);
// Fields of chat and text completions alike: sampling, stop, n, user and what vLLM and llama.cpp
// add (ignore_eos, include_stop_str_in_output, cache_salt, cache_prompt, priority).
void read_common(FieldReader& fields, GenerationSpec& spec);
// A prompt that the model cannot take.
std::optional<ApiError> check_prompt(const ServedModel& model, const std::vector<Token>& prompt,
                                     std::string_view param);

}  // namespace realm::server
