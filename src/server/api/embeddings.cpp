// POST /v1/embeddings (OpenAI), /api/embed and /api/embeddings (ollama): each text's hidden states,
// pooled as the model's file says and brought to length 1. Texts run through the scheduler like any
// prompt, many to a step.
#include <openssl/evp.h>

#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "base/json_writer.h"
#include "server/api/endpoints.h"
#include "server/api/field_reader.h"
#include "server/api/generation_fields.h"
#include "server/api/ollama_names.h"
#include "server/api/whole_answer.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr size_t kMaxInputs = 2048;  // OpenAI's

// What a request asks for, whichever API it came by.
struct Wanted {
  std::shared_ptr<ServedModel> model;
  std::vector<std::vector<Token>> inputs = {};
  std::string model_name = {};  // as the answer calls it
  std::optional<int64_t> dimensions = {};
  bool truncate = false;  // what is too long is cut, and not refused
};

// The first `dimensions` of the vector, at length 1.
std::vector<float> shown(std::vector<float> vector, const std::optional<int64_t>& dimensions) {
  if (dimensions) vector.resize(static_cast<size_t>(*dimensions));
  normalize(vector);
  return vector;
}

void write_floats(JsonWriter& json, std::span<const float> values) {
  json.begin_array();
  for (const float value : values) json.float32(value);
  json.end_array();
}

// Little-endian floats.
std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  const auto bytes = std::as_bytes(values);
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

class OpenAiEmbeddings final : public WholeAnswer {
 public:
  OpenAiEmbeddings(Wanted wanted, std::shared_ptr<Exchange> exchange, size_t inputs, bool as_base64)
      : WholeAnswer(std::move(exchange), ErrorShape::kOpenAi, inputs),
        wanted_(std::move(wanted)),
        as_base64_(as_base64) {}

 private:
  std::string render(const Usage& usage) override {
    JsonWriter json;
    json.begin_object().text("object", "list").key("data").begin_array();
    int64_t index = 0;
    for (const Choice& choice : choices()) {
      json.begin_object().text("object", "embedding").integer("index", index++).key("embedding");
      const std::vector<float> vector = shown(choice.end.embedding, wanted_.dimensions);
      if (as_base64_) {
        json.text(base64(vector));
      } else {
        write_floats(json, vector);
      }
      json.end_object();
    }
    json.end_array().text("model", wanted_.model_name).key("usage").begin_object();
    json.integer("prompt_tokens", usage.prompt_tokens);
    json.integer("total_tokens", usage.prompt_tokens).end_object().end_object();
    return json.str();
  }

  const Wanted wanted_;
  const bool as_base64_;
};

class OllamaEmbeddings final : public WholeAnswer {
 public:
  OllamaEmbeddings(Wanted wanted, std::shared_ptr<Exchange> exchange, size_t inputs, bool single)
      : WholeAnswer(std::move(exchange), ErrorShape::kOllama, inputs),
        wanted_(std::move(wanted)),
        single_(single) {}

 private:
  std::string render(const Usage& usage) override {
    JsonWriter json;
    json.begin_object();
    if (single_) {
      json.key("embedding");
      write_floats(json, shown(choices().front().end.embedding, wanted_.dimensions));
      return json.end_object().str();
    }
    json.text("model", wanted_.model_name).key("embeddings").begin_array();
    for (const Choice& choice : choices()) {
      write_floats(json, shown(choice.end.embedding, wanted_.dimensions));
    }
    const std::chrono::duration<double, std::nano> total =
        std::chrono::steady_clock::now() - began_;
    json.end_array().integer("total_duration", static_cast<int64_t>(total.count()));
    json.integer("load_duration", 0).integer("prompt_eval_count", usage.prompt_tokens);
    return json.end_object().str();
  }

  const Wanted wanted_;
  const bool single_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// Texts and lists of ids into `wanted`, each error naming the entry.
struct InputReader {
  FieldReader& fields;
  Wanted& wanted;
  std::string_view name;

  void add(std::vector<Token> tokens, const std::string& where) {
    const ServedModel& model = *wanted.model;
    const auto most = static_cast<size_t>(model.context);
    if (wanted.truncate && tokens.size() > most) {
      // The end token stays where there is one.
      const Token last = tokens.back();
      tokens.resize(most);
      if (last == model.tokenizer->eos()) tokens.back() = last;
    }
    if (auto problem = check_prompt(model, tokens, where)) {
      problem->param = std::string(name);
      if (!fields.error()) fields.error() = std::move(problem);
      return;
    }
    wanted.inputs.push_back(std::move(tokens));
  }

  void add_text(const json::string& text, const std::string& where) {
    auto tokens = wanted.model->tokenizer->encode(std::string_view(text), {});
    if (!tokens.ok()) return fields.fail(name, "is not acceptable: " + tokens.error().message);
    add(std::move(tokens).value(), where);
  }

  void add_ids(const json::array& array, const std::string& where) {
    std::vector<Token> tokens;
    for (const json::value& entry : array) {
      const int64_t* id = entry.if_int64();
      if (id == nullptr || *id < 0 || *id > std::numeric_limits<Token>::max()) {
        return fields.fail(name, "must hold texts, token ids, or lists of token ids");
      }
      tokens.push_back(static_cast<Token>(*id));
    }
    add(std::move(tokens), where);
  }

  void read(bool with_ids) {
    const json::value* value = fields.find(name);
    if (fields.error()) return;
    if (value == nullptr) return fields.fail(name, "is required");
    const std::string whole(name);
    if (value->is_string()) return add_text(value->get_string(), whole);
    if (!value->is_array()) return fields.fail(name, "must be a text or a list");
    const json::array& array = value->get_array();
    if (array.empty()) return fields.fail(name, "must not be empty");
    if (with_ids && array.front().is_number()) return add_ids(array, whole);
    if (array.size() > kMaxInputs) {
      return fields.fail(name, "has more than " + std::to_string(kMaxInputs) + " entries");
    }
    for (size_t i = 0; i < array.size() && !fields.error(); ++i) {
      const std::string where = whole + "[" + std::to_string(i) + "]";
      const json::value& entry = array[i];
      if (entry.is_string()) {
        add_text(entry.get_string(), where);
      } else if (with_ids && entry.is_array()) {
        add_ids(entry.get_array(), where);
      } else {
        fields.fail(name, with_ids ? "must hold texts, token ids, or lists of token ids"
                                   : "must hold texts");
      }
    }
  }
};

void require_embeddings(FieldReader& fields, const Wanted& wanted) {
  if (fields.error() || wanted.model->pooling) return;
  ApiError refusal = bad_field("model", "the model '" + wanted.model->id + "' gives no embeddings");
  refusal.code = "unsupported_model";
  fields.error() = std::move(refusal);
}

void read_dimensions(FieldReader& fields, Wanted& wanted) {
  if (fields.error()) return;
  wanted.dimensions = fields.integer("dimensions", 1, wanted.model->embedding_size);
}

GenerationSpec spec_of(Wanted& wanted) {
  GenerationSpec spec{.model = wanted.model, .prompts = std::move(wanted.inputs)};
  spec.embed = wanted.model->pooling;
  spec.max_tokens = 0;
  return spec;
}

void run_ollama(Call& call, bool single) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  Wanted wanted;
  wanted.model_name = fields.required_text("model");
  wanted.model = find_model(call.api, call.principal, plain_name(wanted.model_name), error);
  require_embeddings(fields, wanted);
  wanted.truncate = single || fields.boolean("truncate").value_or(true);
  if (!single) read_dimensions(fields, wanted);
  fields.ignore("keep_alive");
  // None of ollama's options bears on embeddings, but the context.
  if (const json::object* options = fields.object("options"); options != nullptr && !error) {
    const json::value* context = options->if_contains("num_ctx");
    if (context != nullptr && context->is_int64() && context->get_int64() > wanted.model->context) {
      fields.fail("options",
                  "num_ctx is at most " + std::to_string(wanted.model->context) + " here (--ctx)");
    }
  }
  InputReader{fields, wanted, single ? "prompt" : "input"}.read(false);
  fields.finish();
  if (error) return call.respond(*error);
  GenerationSpec spec = spec_of(wanted);
  const size_t count = spec.prompts.size();
  run_generation(
      call, std::move(spec),
      std::make_unique<OllamaEmbeddings>(std::move(wanted), call.exchange, count, single));
}

}  // namespace

void embeddings(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  Wanted wanted;
  wanted.model = find_model(call.api, call.principal, fields.text("model").value_or(""), error);
  require_embeddings(fields, wanted);
  if (!error) wanted.model_name = wanted.model->id;
  const std::string format = fields.text("encoding_format").value_or("float");
  if (format != "float" && format != "base64") {
    fields.fail("encoding_format", "must be one of float, base64");
  }
  read_dimensions(fields, wanted);
  fields.text("user");
  InputReader{fields, wanted, "input"}.read(true);
  fields.finish();
  if (error) return call.respond(*error);
  GenerationSpec spec = spec_of(wanted);
  const size_t count = spec.prompts.size();
  run_generation(call, std::move(spec),
                 std::make_unique<OpenAiEmbeddings>(std::move(wanted), call.exchange, count,
                                                    format == "base64"));
}

void ollama_embed(Call& call) {
  run_ollama(call, false);
}

void ollama_embeddings(Call& call) {
  run_ollama(call, true);
}

}  // namespace realm::server
