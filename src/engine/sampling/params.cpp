#include "engine/sampling/params.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <random>

#include "engine/sampling/samplers.h"

namespace realm {
namespace {

constexpr double kIntMax = std::numeric_limits<int32_t>::max();
using P = SamplingParams;

constexpr auto kFields = std::to_array<SamplingField>({
    {"temperature", "temp", &P::temperature, 0, 100, false,
     "randomness; 0 takes the likeliest token every time"},
    {"dynatemp_range", "", &P::dynatemp_range, 0, 100, false,
     "temperature varies by this much either way with the entropy; 0 is off"},
    {"dynatemp_exponent", "", &P::dynatemp_exponent, 0, 100, true,
     "how the entropy maps into dynatemp_range"},
    {"top_k", "", &P::top_k, -1, kIntMax, false, "keep the K likeliest tokens; 0 or -1 keeps all"},
    {"top_p", "", &P::top_p, 0, 1, false,
     "keep the likeliest tokens that together reach this probability; 1 is off"},
    {"min_p", "", &P::min_p, 0, 1, false,
     "drop tokens less likely than this share of the likeliest one; 0 is off"},
    {"typical_p", "typ_p", &P::typical_p, 0, 1, false,
     "keep the tokens of most typical surprise up to this probability; 1 is off"},
    {"top_n_sigma", "", &P::top_n_sigma, -1, 1000, false,
     "keep logits within this many standard deviations of the best; 0 or -1 is off"},
    {"xtc_probability", "", &P::xtc_probability, 0, 1, false,
     "chance, per token, of dropping all but the last of the likely tokens; 0 is off"},
    {"xtc_threshold", "", &P::xtc_threshold, 0, 1, false,
     "probability from which xtc_probability takes a token as likely; above 0.5 is off"},
    {"mirostat", "", &P::mirostat, 0, 2, false,
     "2 holds the text's surprise at mirostat_tau in place of the truncating samplers; 0 is off"},
    {"mirostat_tau", "", &P::mirostat_tau, 0, 100, true, "wanted surprise, in bits per token"},
    {"mirostat_eta", "", &P::mirostat_eta, 0, 1, false, "how fast mirostat corrects itself"},
    {"repeat_penalty", "repetition_penalty", &P::repeat_penalty, 0, 100, true,
     "divides the logits of tokens seen lately; 1 is off"},
    {"presence_penalty", "", &P::presence_penalty, -2, 2, false,
     "subtracted from the logits of tokens seen lately; 0 is off"},
    {"frequency_penalty", "", &P::frequency_penalty, -2, 2, false,
     "subtracted once per time the token was seen lately; 0 is off"},
    {"repeat_last_n", "", &P::repeat_last_n, -1, kIntMax, false,
     "tokens that count as lately for the three penalties; -1 is the whole context"},
    {"dry_multiplier", "", &P::dry_multiplier, 0, 100, false,
     "strength of the penalty on continuing a repeated sequence; 0 is off"},
    {"dry_base", "", &P::dry_base, 1, 100, false,
     "growth of that penalty with each further repeated token"},
    {"dry_allowed_length", "", &P::dry_allowed_length, 0, kIntMax, false,
     "repeated sequences shorter than this go unpenalized"},
    {"dry_penalty_last_n", "", &P::dry_penalty_last_n, -1, kIntMax, false,
     "tokens searched for repeated sequences; -1 is the whole context, 0 is off"},
    {"min_keep", "", &P::min_keep, 0, kIntMax, false,
     "tokens that truncating samplers other than top_k leave at least"},
    {"logprobs", "", &P::logprobs, 0, 1, false, "report the log probability of each token"},
    {"top_logprobs", "", &P::top_logprobs, 0, 100, false,
     "with logprobs: also those of this many likeliest tokens"},
});

std::string number(double value) {
  if (value == kIntMax) return "2147483647";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 6);
  return {text, end.ptr};
}

Error invalid(std::string message) {
  return Error{ErrorCode::kInvalidArgument, std::move(message)};
}

Error out_of_range(const SamplingField& field, double value) {
  return invalid(std::string(field.name) + " must be " +
                 (field.min_excluded ? "above " : "at least ") + number(field.min) +
                 " and at most " + number(field.max) + ", not " + number(value));
}

Status check_field(const SamplingField& field, double value) {
  const bool above_min = field.min_excluded ? value > field.min : value >= field.min;
  if (!above_min || !(value <= field.max)) return out_of_range(field, value);
  if (!std::holds_alternative<float P::*>(field.member) && value != std::floor(value)) {
    return invalid(std::string(field.name) + " must be a whole number, not " + number(value));
  }
  if (field.name == "mirostat" && value == 1) {
    return invalid("mirostat must be 0 or 2; version 1 is not offered");
  }
  return {};
}

Status check_sampler_names(const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (find_sampler(names[i]) == nullptr) {
      std::string known;
      for (const SamplerRow& row : samplers_table()) {
        known += known.empty() ? "" : ", ";
        known += row.name;
      }
      return invalid("samplers: '" + names[i] + "' is not one of " + known);
    }
    for (size_t j = 0; j < i; ++j) {
      if (find_sampler(names[j]) == find_sampler(names[i])) {
        return invalid("samplers: '" + names[i] + "' is named twice");
      }
    }
  }
  return {};
}

}  // namespace

std::span<const SamplingField> sampling_fields() {
  return kFields;
}

const SamplingField* find_sampling_field(std::string_view name) {
  for (const SamplingField& field : kFields) {
    if (name == field.name || (!field.alias.empty() && name == field.alias)) return &field;
  }
  return nullptr;
}

double get_sampling_field(const SamplingParams& params, const SamplingField& field) {
  return std::visit([&](auto member) { return static_cast<double>(params.*member); }, field.member);
}

Status set_sampling_field(SamplingParams& params, const SamplingField& field, double value) {
  TRY(check_field(field, value));
  std::visit(
      [&](auto member) {
        params.*member = static_cast<std::remove_reference_t<decltype(params.*member)>>(value);
      },
      field.member);
  return {};
}

Status validate(const SamplingParams& params, int64_t vocab_size) {
  for (const SamplingField& field : kFields) {
    TRY(check_field(field, get_sampling_field(params, field)));
  }
  if (params.top_logprobs > 0 && !params.logprobs) {
    return invalid("top_logprobs needs logprobs to be true");
  }
  if (params.dry_sequence_breakers.size() > kMaxSequenceBreakers) {
    return invalid("dry_sequence_breakers must have at most " +
                   std::to_string(kMaxSequenceBreakers) + " entries, not " +
                   std::to_string(params.dry_sequence_breakers.size()));
  }
  for (const std::string& breaker : params.dry_sequence_breakers) {
    if (breaker.empty() || breaker.size() > kMaxSequenceBreakerBytes) {
      return invalid("dry_sequence_breakers must be of 1 to " +
                     std::to_string(kMaxSequenceBreakerBytes) + " bytes each, not " +
                     std::to_string(breaker.size()));
    }
  }
  if (params.logit_bias.size() > kMaxLogitBias) {
    return invalid("logit_bias must have at most " + std::to_string(kMaxLogitBias) +
                   " entries, not " + std::to_string(params.logit_bias.size()));
  }
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      return invalid("logit_bias: token " + std::to_string(token) +
                     " is not in the vocabulary of " + std::to_string(vocab_size) + " tokens");
    }
    const bool forbids = bias == -std::numeric_limits<float>::infinity();
    if (!forbids && !(bias >= -100.0f && bias <= 100.0f)) {
      return invalid("logit_bias of token " + std::to_string(token) +
                     " must be at least -100 and at most 100, not " + number(bias));
    }
  }
  return check_sampler_names(params.samplers);
}

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace realm
