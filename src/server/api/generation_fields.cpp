#include "server/api/generation_fields.h"

#include <charconv>
#include <chrono>
#include <limits>

#include "engine/stop_strings.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxChoices = 128;
constexpr size_t kMaxSaltBytes = 256;
constexpr double kMaxTimeoutSeconds = 86400;

std::optional<Token> token_id(std::string_view text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 ||
      id > std::numeric_limits<Token>::max()) {
    return std::nullopt;
  }
  return static_cast<Token>(id);
}

// {"15043": -1.5, "2": false} as in OpenAI's API, or [[15043, -1.5], [2, false]] as in llama.cpp's.
void read_logit_bias(FieldReader& fields, SamplingParams& params) {
  constexpr std::string_view kName = "logit_bias";
  const json::value* value = fields.find(kName);
  if (value == nullptr) return;
  const auto add = [&](std::optional<Token> token, const json::value& bias) {
    float number = 0;
    if (bias.is_bool() && !bias.get_bool()) {
      number = -std::numeric_limits<float>::infinity();
    } else if (bias.is_number()) {
      number = static_cast<float>(bias.to_number<double>());
      if (!(number >= -100.0f && number <= 100.0f)) {
        fields.fail(kName, "must hold numbers of -100 to 100");
      }
    } else {
      fields.fail(kName, "must hold numbers of -100 to 100, or false to forbid a token");
    }
    if (!token) fields.fail(kName, "must name tokens by their ids");
    if (token) params.logit_bias.emplace_back(*token, number);
  };
  if (const json::object* object = value->if_object()) {
    for (const auto& entry : *object) {
      add(token_id({entry.key().data(), entry.key().size()}), entry.value());
    }
  } else if (const json::array* array = value->if_array()) {
    for (const json::value& entry : *array) {
      const json::array* pair = entry.if_array();
      if (pair == nullptr || pair->size() != 2 || !pair->at(0).is_int64()) {
        fields.fail(kName, "must be an object of token ids and numbers");
        return;
      }
      const int64_t id = pair->at(0).get_int64();
      const bool fits = id >= 0 && id <= std::numeric_limits<Token>::max();
      add(fits ? std::optional(static_cast<Token>(id)) : std::nullopt, pair->at(1));
    }
  } else {
    fields.fail(kName, "must be an object of token ids and numbers");
  }
}

std::vector<std::string> read_texts(FieldReader& fields, std::string_view name) {
  std::vector<std::string> texts;
  const json::array* array = fields.array(name);
  if (array == nullptr) return texts;
  for (const json::value& entry : *array) {
    if (!entry.is_string()) {
      fields.fail(name, "must be an array of strings");
      return {};
    }
    texts.emplace_back(entry.get_string());
  }
  return texts;
}

}  // namespace

void read_sampling(FieldReader& fields, SamplingParams& params) {
  for (const SamplingField& field : sampling_fields()) {
    if (field.name == "logprobs" || field.name == "top_logprobs") continue;
    for (const std::string_view name : {field.name, field.alias}) {
      if (name.empty() || !fields.has(name)) continue;
      const bool is_float = std::holds_alternative<float SamplingParams::*>(field.member);
      constexpr double kAny = std::numeric_limits<double>::max();
      const auto value =
          is_float ? fields.number(name, -kAny, kAny) : [&]() -> std::optional<double> {
        const auto whole =
            fields.integer(name, static_cast<int64_t>(field.min), static_cast<int64_t>(field.max));
        return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
      }();
      if (!value) continue;
      if (const Status set = set_sampling_field(params, field, *value); !set.ok()) {
        // "top_p must be ...": the field's place in the request is fail()'s to say.
        const std::string& message = set.error().message;
        fields.fail(name, message.substr(message.find(' ') + 1));
      }
    }
  }
  const auto seed = fields.integer("seed", std::numeric_limits<int64_t>::min(),
                                   std::numeric_limits<int64_t>::max());
  params.seed = seed && *seed != -1 ? static_cast<uint64_t>(*seed) : random_seed();
  read_logit_bias(fields, params);
  if (fields.has("dry_sequence_breakers")) {
    params.dry_sequence_breakers = read_texts(fields, "dry_sequence_breakers");
  }
  params.samplers = read_texts(fields, "samplers");
}

void read_stop(FieldReader& fields, std::string_view name, std::vector<std::string>& out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (value->is_string()) {
    out = {std::string(value->get_string())};
  } else if (value->is_array()) {
    out = read_texts(fields, name);
  } else {
    fields.fail(name, "must be a string or an array of strings");
  }
  if (const auto stops = StopStrings::create(out); !stops.ok() && !fields.error()) {
    fields.error() = bad_field(fields.param(name), stops.error().message);
  }
}

StreamOptions read_stream(FieldReader& fields) {
  StreamOptions options{.stream = fields.boolean("stream").value_or(false)};
  const json::object* object = fields.object("stream_options");
  if (object == nullptr) return options;
  if (!options.stream) fields.fail("stream_options", "needs stream to be true");
  FieldReader inner(*object, "stream_options", fields.error());
  options.include_usage = inner.boolean("include_usage").value_or(false);
  inner.refuse("include_obfuscation", "is not done here", false);
  inner.finish();
  return options;
}

void read_common(FieldReader& fields, GenerationSpec& spec) {
  read_sampling(fields, spec.sampling);
  read_stop(fields, "stop", spec.stop);
  spec.choices = fields.integer("n", 1, kMaxChoices).value_or(1);
  spec.ignore_end = fields.boolean("ignore_eos").value_or(false);
  spec.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  spec.cache_prompt = fields.boolean("cache_prompt").value_or(true);
  spec.cache_salt = fields.text("cache_salt").value_or("");
  if (spec.cache_salt.size() > kMaxSaltBytes) {
    fields.fail("cache_salt", "must be of at most " + std::to_string(kMaxSaltBytes) + " bytes");
  }
  // Smaller is sooner, as in vLLM.
  const int64_t priority = fields.integer("priority", -1, 1).value_or(0);
  spec.priority = static_cast<Priority>(-priority);
  if (const auto timeout = fields.number("timeout_s", 0.001, kMaxTimeoutSeconds)) {
    spec.deadline = std::chrono::steady_clock::now() +
                    std::chrono::milliseconds(static_cast<int64_t>(*timeout * 1000));
  }
  // Notes for the operator's side of other servers.
  fields.text("user");
}

std::optional<ApiError> check_prompt(const ServedModel& model, const std::vector<Token>& prompt,
                                     std::string_view param) {
  if (prompt.empty()) return bad_field(std::string(param), std::string(param) + " is empty");
  if (static_cast<int64_t>(prompt.size()) <= model.context) {
    for (const Token token : prompt) {
      if (token >= 0 && token < model.vocab_size) continue;
      return bad_field(std::string(param), std::string(param) + ": token id " +
                                               std::to_string(token) + " is not in 0.." +
                                               std::to_string(model.vocab_size - 1));
    }
    return std::nullopt;
  }
  ApiError error =
      bad_field(std::string(param),
                "This model's maximum context length is " + std::to_string(model.context) +
                    " tokens, and " + std::string(param) + " has " + std::to_string(prompt.size()));
  error.code = "context_length_exceeded";
  return error;
}

}  // namespace realm::server
