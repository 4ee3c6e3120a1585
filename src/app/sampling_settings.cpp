// From the settings to the engine's SamplingParams.
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>

#include "app/settings.h"
#include "formats/json.h"

namespace realm {
namespace {

Error bad_bias(const std::string& source, const std::string& problem) {
  return Error{ErrorCode::kInvalidArgument,
               source +
                   " must be a JSON object of token ids and numbers, such as "
                   "{\"15043\": -1.5, \"2\": false}; " +
                   problem};
}

Result<std::vector<std::pair<Token, float>>> parse_bias(const std::string& text,
                                                        const std::string& source) {
  const auto json = parse_json(text, source);
  if (!json.ok()) return bad_bias(source, "this is not JSON: " + json.error().message);
  if (!json->is_object()) return bad_bias(source, "this is something else");
  std::vector<std::pair<Token, float>> bias;
  for (const auto& entry : json->get_object()) {
    const std::string key(entry.key());
    int64_t token = 0;
    for (const char c : key) {
      if (c < '0' || c > '9' || token > std::numeric_limits<Token>::max()) token = -1;
      if (token < 0) break;
      token = token * 10 + (c - '0');
    }
    if (key.empty() || token < 0 || token > std::numeric_limits<Token>::max()) {
      return bad_bias(source, "'" + key + "' is no token id");
    }
    const auto& value = entry.value();
    float number = 0.0f;
    if (value.is_bool() && !value.get_bool()) {
      number = -std::numeric_limits<float>::infinity();
    } else if (value.is_number()) {
      number = static_cast<float>(value.to_number<double>());
    } else {
      return bad_bias(source, "the value of '" + key + "' is neither a number nor false");
    }
    bias.emplace_back(static_cast<Token>(token), number);
  }
  return bias;
}

}  // namespace

Result<SamplingParams> sampling_params(const Settings& settings) {
  SamplingParams params;
  for (const SamplingField& field : sampling_fields()) {
    std::string name(field.name);
    for (char& c : name) c = c == '_' ? '-' : c;
    if (name == "logprobs" || name == "top-logprobs") continue;
    const bool is_float = std::holds_alternative<float SamplingParams::*>(field.member);
    const double value =
        is_float ? *settings.find_float(name) : static_cast<double>(*settings.find_int(name));
    TRY(set_sampling_field(params, field, value));
  }
  const int64_t seed = *settings.find_int("seed");
  params.seed = seed < 0 ? random_seed() : static_cast<uint64_t>(seed);
  if (const auto bias = settings.find_text("logit-bias")) {
    params.logit_bias = TRY(parse_bias(*bias, settings.source("logit-bias")));
  }
  if (!settings.source("dry-sequence-breaker").empty()) {
    params.dry_sequence_breakers = settings.get_list("dry-sequence-breaker");
  }
  for (const std::string& names : settings.get_list("samplers")) {
    for (size_t begin = 0; begin <= names.size();) {
      const size_t end = std::min(names.find_first_of(",;", begin), names.size());
      params.samplers.push_back(names.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return params;
}

}  // namespace realm
