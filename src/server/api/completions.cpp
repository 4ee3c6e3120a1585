// POST /v1/completions: OpenAI's older API, which continues plain text; with echo, suffix, best_of
// and log probabilities in their legacy shape.
#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "server/api/endpoints.h"
#include "server/api/generation_fields.h"
#include "server/api/ids.h"
#include "server/api/sse.h"
#include "server/api/token_json.h"
#include "server/api/whole_answer.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's
constexpr int64_t kMaxLogprobs = 20;
constexpr size_t kMaxPrompts = 128;

struct Answer {
  std::string id = random_id("cmpl-");
  int64_t created_s = unix_seconds();
  std::string model;
  const Tokenizer* tokenizer = nullptr;
  std::string fingerprint;
  bool logprobs = false;
  StreamOptions stream;
  std::vector<std::string> echo;  // by prompt; empty: none
  size_t per_prompt = 1;          // choices shown of each prompt
  size_t made_per_prompt = 1;     // best_of

  void begin(JsonWriter& json) const {
    json.begin_object()
        .text("id", id)
        .text("object", "text_completion")
        .integer("created", created_s)
        .text("model", model)
        .text("system_fingerprint", fingerprint);
  }
  std::string echo_of(size_t made) const {
    return echo.empty() ? std::string() : echo[made / made_per_prompt];
  }

  // tokens, token_logprobs, top_logprobs, text_offset; `offset`: bytes of the text before.
  void write_logprobs(JsonWriter& json, const std::vector<TokenReport>& tokens,
                      size_t offset) const {
    json.key("logprobs");
    if (!logprobs) {
      json.null();
      return;
    }
    json.begin_object().key("tokens").begin_array();
    for (const TokenReport& token : tokens) json.text(shown_piece(*tokenizer, token.token));
    json.end_array().key("token_logprobs").begin_array();
    for (const TokenReport& token : tokens) json.number(token.logprob);
    json.end_array().key("top_logprobs").begin_array();
    for (const TokenReport& token : tokens) write_top(json, token);
    json.end_array().key("text_offset").begin_array();
    for (const TokenReport& token : tokens) {
      json.integer(static_cast<int64_t>(offset));
      offset += shown_piece(*tokenizer, token.token).size();
    }
    json.end_array().end_object();
  }

 private:
  // By their text: of two tokens that look the same the likelier.
  void write_top(JsonWriter& json, const TokenReport& token) const {
    std::vector<std::string> shown;
    json.begin_object();
    for (const TokenLogprob& top : token.top) {
      std::string piece = shown_piece(*tokenizer, top.token);
      if (std::find(shown.begin(), shown.end(), piece) != shown.end()) continue;
      json.number(piece, top.logprob);
      shown.push_back(std::move(piece));
    }
    json.end_object();
  }
};

class CompletionStream final : public GenerationObserver {
 public:
  CompletionStream(Answer answer, std::shared_ptr<Exchange> exchange, size_t choices)
      : answer_(std::move(answer)), exchange_(std::move(exchange)), offsets_(choices, 0) {}

  void open() {
    exchange_->begin(sse_head(), std::string(kSsePing));
    for (size_t i = 0; i < offsets_.size() && !answer_.echo.empty(); ++i) {
      write_chunk(i, answer_.echo_of(i), {}, {});
    }
  }

  void on_delta(const Delta& delta) override {
    write_chunk(delta.choice, delta.text, delta.tokens, {});
  }

  void on_choice_end(const ChoiceEnd& end) override {
    write_chunk(end.choice, "", {}, openai_finish_reason(end.reason));
  }

  void on_done(const Usage& usage) override {
    if (answer_.stream.include_usage) {
      JsonWriter json;
      answer_.begin(json);
      json.key("choices").begin_array().end_array().key("usage");
      write_openai_usage(json, usage);
      json.end_object();
      exchange_->write(sse_data(json.str()));
    }
    exchange_->write(kSseDone);
    exchange_->finish();
  }

  void on_error(const ApiError& error) override {
    exchange_->write(sse_data(error_json(error, ErrorShape::kOpenAi)));
    exchange_->finish();
  }

 private:
  void write_chunk(size_t choice, const std::string& text, const std::vector<TokenReport>& tokens,
                   std::string_view finish_reason) {
    JsonWriter json;
    answer_.begin(json);
    json.key("choices").begin_array().begin_object();
    json.integer("index", static_cast<int64_t>(choice)).text("text", text);
    answer_.write_logprobs(json, tokens, offsets_[choice]);
    offsets_[choice] += text.size();
    if (finish_reason.empty()) {
      json.null("finish_reason");
    } else {
      json.text("finish_reason", finish_reason);
    }
    json.end_object().end_array();
    if (answer_.stream.include_usage) json.null("usage");
    json.end_object();
    exchange_->write(sse_data(json.str()));
  }

  const Answer answer_;
  const std::shared_ptr<Exchange> exchange_;
  std::vector<size_t> offsets_;
};

class CompletionWhole final : public WholeAnswer {
 public:
  CompletionWhole(Answer answer, std::shared_ptr<Exchange> exchange, size_t choices)
      : WholeAnswer(std::move(exchange), ErrorShape::kOpenAi, choices),
        answer_(std::move(answer)) {}

 private:
  std::string render(const Usage& usage) override {
    JsonWriter json;
    answer_.begin(json);
    json.key("choices").begin_array();
    int64_t index = 0;
    for (const size_t made : shown()) {
      const Choice& choice = choices()[made];
      const std::string echo = answer_.echo_of(made);
      json.begin_object().integer("index", index++).text("text", echo + choice.text);
      answer_.write_logprobs(json, choice.tokens, echo.size());
      json.text("finish_reason", openai_finish_reason(choice.end.reason)).end_object();
    }
    json.end_array().key("usage");
    write_openai_usage(json, usage);
    json.end_object();
    return json.str();
  }

  // Of a token, so that long answers can win.
  static double score(const Choice& choice) {
    double sum = 0;
    for (const TokenReport& token : choice.tokens) sum += token.logprob;
    return choice.tokens.empty() ? 0 : sum / static_cast<double>(choice.tokens.size());
  }

  // The best ones of each prompt, best first where more were made than are shown.
  std::vector<size_t> shown() const {
    std::vector<size_t> result;
    for (size_t first = 0; first < choices().size(); first += answer_.made_per_prompt) {
      std::vector<size_t> made(answer_.made_per_prompt);
      std::iota(made.begin(), made.end(), first);
      if (answer_.made_per_prompt > answer_.per_prompt) {
        std::stable_sort(made.begin(), made.end(), [&](size_t a, size_t b) {
          return score(choices()[a]) > score(choices()[b]);
        });
        made.resize(answer_.per_prompt);
      }
      result.insert(result.end(), made.begin(), made.end());
    }
    return result;
  }

  const Answer answer_;
};

std::optional<std::vector<Token>> read_ids(const json::array& array) {
  std::vector<Token> ids;
  for (const json::value& entry : array) {
    if (!entry.is_int64() || entry.get_int64() < 0 ||
        entry.get_int64() > std::numeric_limits<Token>::max()) {
      return std::nullopt;
    }
    ids.push_back(static_cast<Token>(entry.get_int64()));
  }
  return ids;
}

// A text, a list of texts, a list of ids or a list of such lists. Ids as they are; texts through
// `encode`.
struct PromptReader {
  const ServedModel& model;
  std::optional<std::string> suffix;
  std::vector<std::vector<Token>> prompts = {};
  std::vector<std::string> texts = {};

  void add_text(FieldReader& fields, std::string text) {
    const Tokenizer& tokenizer = *model.tokenizer;
    auto tokens = tokenizer.encode(text, {.parse_special = true});
    if (!tokens.ok()) return fields.fail("prompt", "is not acceptable: " + tokens.error().message);
    texts.push_back(std::move(text));
    if (suffix) {
      fill_in_middle(fields, std::move(tokens).value());
    } else {
      prompts.push_back(std::move(tokens).value());
    }
  }

  // prefix-suffix-middle, with the model's own tokens for it.
  void fill_in_middle(FieldReader& fields, std::vector<Token> prefix) {
    const Tokenizer& tokenizer = *model.tokenizer;
    if (tokenizer.fim_prefix() == kNoToken || tokenizer.fim_suffix() == kNoToken ||
        tokenizer.fim_middle() == kNoToken) {
      return fields.fail("suffix", "is not supported by this model: it has no tokens for it");
    }
    const auto tail = tokenizer.encode(*suffix, {.add_bos_eos = false});
    if (!tail.ok()) return fields.fail("suffix", "is not acceptable: " + tail.error().message);
    const bool has_bos = !prefix.empty() && prefix.front() == tokenizer.bos();
    prefix.insert(prefix.begin() + (has_bos ? 1 : 0), tokenizer.fim_prefix());
    prefix.push_back(tokenizer.fim_suffix());
    prefix.insert(prefix.end(), tail->begin(), tail->end());
    prefix.push_back(tokenizer.fim_middle());
    prompts.push_back(std::move(prefix));
  }

  void add_ids(FieldReader& fields, const json::array& array) {
    auto ids = read_ids(array);
    if (!ids) return fields.fail("prompt", "must hold token ids or texts, and one kind of them");
    if (suffix) return fields.fail("suffix", "needs the prompt as text");
    texts.push_back(model.tokenizer->decode(*ids, false));
    prompts.push_back(std::move(*ids));
  }

  void read(FieldReader& fields) {
    const json::value* value = fields.find("prompt");
    if (value == nullptr) return fields.fail("prompt", "is required");
    if (value->is_string()) return add_text(fields, std::string(value->get_string()));
    if (!value->is_array() || value->get_array().empty()) {
      return fields.fail("prompt", "must be a text, a list of texts, or token ids");
    }
    const json::array& array = value->get_array();
    if (array.front().is_number()) return add_ids(fields, array);
    if (array.size() > kMaxPrompts) {
      return fields.fail("prompt", "must hold at most " + std::to_string(kMaxPrompts) + " prompts");
    }
    for (const json::value& entry : array) {
      if (fields.error()) return;
      if (entry.is_string() && array.front().is_string()) {
        add_text(fields, std::string(entry.get_string()));
      } else if (entry.is_array() && array.front().is_array()) {
        add_ids(fields, entry.get_array());
      } else {
        fields.fail("prompt", "must hold token ids or texts, and one kind of them");
      }
    }
  }
};

}  // namespace

void completions(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  GenerationSpec spec;
  spec.model = find_model(call.api, call.principal, fields.text("model").value_or(""), error);
  if (error) return call.respond(*error);
  PromptReader prompts{.model = *spec.model, .suffix = fields.text("suffix")};
  prompts.read(fields);
  const StreamOptions stream = read_stream(fields);
  read_common(fields, spec);
  spec.max_tokens = fields.integer("max_tokens", 1, std::numeric_limits<int32_t>::max())
                        .value_or(kDefaultMaxTokens);
  const auto logprobs = fields.integer("logprobs", 0, kMaxLogprobs);
  const int64_t best_of = fields.integer("best_of", spec.choices, 128).value_or(spec.choices);
  const bool echo = fields.boolean("echo").value_or(false);
  if (best_of > spec.choices && stream.stream) {
    fields.fail("best_of", "cannot be streamed: which is best is known at the end");
  }
  if (echo && logprobs) {
    fields.fail("logprobs", "with echo is not supported: prompts are not scored here yet");
  }
  if (static_cast<int64_t>(prompts.prompts.size()) * best_of > 256) {
    fields.fail("prompt", "times n or best_of must be at most 256 choices");
  }
  fields.finish();
  for (const auto& prompt : prompts.prompts) {
    if (!error) error = check_prompt(*spec.model, prompt, "prompt");
  }
  if (error) return call.respond(*error);

  const size_t shown_per_prompt = static_cast<size_t>(spec.choices);
  Answer answer{.model = spec.model->id,
                .tokenizer = spec.model->tokenizer,
                .fingerprint = "realm-" + call.api.version,
                .logprobs = logprobs.has_value(),
                .stream = stream,
                .echo = echo ? prompts.texts : std::vector<std::string>(),
                .per_prompt = shown_per_prompt,
                .made_per_prompt = static_cast<size_t>(best_of)};
  spec.choices = best_of;
  spec.sampling.logprobs = logprobs.has_value() || answer.made_per_prompt > shown_per_prompt;
  spec.sampling.top_logprobs = static_cast<int32_t>(logprobs.value_or(0));
  const size_t choices = prompts.prompts.size() * answer.made_per_prompt;
  spec.prompts = std::move(prompts.prompts);
  if (stream.stream) {
    run_stream(call, std::move(spec),
               std::make_unique<CompletionStream>(std::move(answer), call.exchange, choices));
  } else {
    run_generation(call, std::move(spec),
                   std::make_unique<CompletionWhole>(std::move(answer), call.exchange, choices));
  }
}

}  // namespace realm::server
