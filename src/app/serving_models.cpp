// The parts of Serving that are about its models: loaded at the start and at run time, each file
// once under all its names, unloaded, and the prefixes of prompts that tenants share on them.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "app/embedded_model.h"
#include "app/machine.h"
#include "app/serving.h"
#include "base/json_writer.h"
#include "formats/quant/quant_table.h"
#include "scheduler/engine_runner.h"
#include "server/api/chat_messages.h"
#include "server/api/field_reader.h"
#include "server/api/model_digest.h"

namespace realm {

namespace json = boost::json;

namespace {

// Scratch of a step and 16-bit copies of what products read, of models of 8 to 70 B.
constexpr double kStepBytesPerToken = 512e3;

// Layers are left to the processor rather than the KV cache of a GPU be smaller than this.
constexpr int64_t kContextsOnGpu = 4;

constexpr const char* kEmbeddedName = "realm-tiny";

std::string name_of(const std::string& path) {
  if (path.empty()) return kEmbeddedName;
  std::filesystem::path file(path);
  if (!file.has_filename()) file = file.parent_path();
  std::string name = file.filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name.empty() ? path : name;
}

bool same_file(const std::string& a, const std::string& b) {
  if (a == b) return true;
  std::error_code missing;
  return !a.empty() && !b.empty() && std::filesystem::equivalent(a, b, missing);
}

// Of the layers whose cache lies in the host's memory, or the others.
int64_t cache_bytes_per_token(const LoadedModel& loaded, bool on_host) {
  const BlockFormat& format = *find_block_format(loaded.kv_type);
  const std::vector<KvLayerShape>& layers = loaded.model->info().kv_layers;
  int64_t elements = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const bool here = loaded.backend->layer_is_on_host(static_cast<int64_t>(i)) == on_host;
    if (here) elements += layers[i].elements();
  }
  return elements / static_cast<int64_t>(format.block_elements) *
         static_cast<int64_t>(format.block_bytes);
}

std::string commonest_type(const TensorDirectory& file) {
  std::map<DType, size_t> bytes;
  for (const TensorInfo& tensor : file.tensors()) bytes[tensor.dtype] += tensor.data.size();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "" : dtype_name(most->first);
}

void write_model(JsonWriter& json, const server::ServedModel& model) {
  json.begin_object().text("name", model.id).key("aliases").begin_array();
  for (const std::string& alias : model.aliases) json.text(alias);
  json.end_array().text("path", model.path).text("architecture", model.architecture);
  json.text("quantization", model.quantization).integer("context", model.context);
  json.integer("size_bytes", model.size_bytes).integer("loaded_s", model.created_s);
  const std::optional<Error> fault = model.scheduler->stats().fault;
  json.boolean("healthy", !fault.has_value()).key("fault");
  fault ? json.text(fault->message) : json.null();
  json.end_object();
}

std::optional<server::ApiError> parse_admin_body(const AdminRequest& request, json::object& out) {
  constexpr size_t kMaxBytes = 8 << 20;
  return server::parse_body(request.body, kMaxBytes, out);
}

std::string last_name(const AdminRequest& request, std::string_view before) {
  return server::decode_percent(std::string_view(request.target).substr(before.size()));
}

}  // namespace

ModelToServe parse_model_to_serve(const std::string& text) {
  const size_t equals = text.find('=');
  // A path may hold '=', too; a name holds no '/'.
  if (equals == std::string::npos || equals == 0 || text.find('/') < equals) {
    return {.name = name_of(text), .path = text};
  }
  const std::string path = text.substr(equals + 1);
  ModelToServe model{.name = "", .path = path == kEmbeddedName ? "" : path};
  const std::string_view names = std::string_view(text).substr(0, equals);
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size());
    const std::string name(names.substr(begin, end - begin));
    if (model.name.empty()) {
      model.name = name;
    } else if (!name.empty()) {
      model.aliases.push_back(name);
    }
    begin = end + 1;
  }
  return model;
}

std::vector<ModelToServe> each_file_once(const std::vector<ModelToServe>& models) {
  std::vector<ModelToServe> result;
  for (const ModelToServe& model : models) {
    const auto same = std::find_if(result.begin(), result.end(), [&](const ModelToServe& known) {
      return same_file(known.path, model.path);
    });
    if (same == result.end()) {
      result.push_back(model);
      continue;
    }
    same->aliases.push_back(model.name);
    same->aliases.insert(same->aliases.end(), model.aliases.begin(), model.aliases.end());
  }
  return result;
}

Result<int64_t> Serving::cache_tokens(const LoadedModel& loaded) const {
  if (options_.cache_tokens > 0) {
    if (options_.cache_tokens >= loaded.context) return options_.cache_tokens;
    return Error{ErrorCode::kInvalidArgument,
                 "--cache-tokens " + std::to_string(options_.cache_tokens) +
                     " holds not even one context of " + std::to_string(loaded.context) +
                     " tokens; raise it or lower --ctx"};
  }
  int64_t most = loaded.context * options_.parallel;
  if (const int64_t host_bytes = cache_bytes_per_token(loaded, true); host_bytes > 0) {
    const auto available = static_cast<int64_t>(examine_machine().memory_available_bytes);
    most = std::clamp(available / 4 / host_bytes, loaded.context, most);
  }
  if (loaded.backend->is_host()) return most;
  // What is not taken yet of the share, less what a step works with: logits, and a few rows of the
  // widest layer for each token.
  const Backend::Memory memory = TRY(loaded.backend->memory());
  const ModelInfo& info = loaded.model->info();
  const auto taken = static_cast<double>(memory.total_bytes - memory.free_bytes);
  const double step = 4.0 * static_cast<double>(options_.parallel * info.vocab_size) +
                      kStepBytesPerToken * static_cast<double>(step_tokens(loaded));
  const double room = options_.gpu_memory * static_cast<double>(memory.total_bytes) - taken - step;
  const int64_t token_bytes = std::max<int64_t>(cache_bytes_per_token(loaded, false), 1);
  const auto fitting = static_cast<int64_t>(room / static_cast<double>(token_bytes));
  if (fitting >= loaded.context) return std::min(fitting, most);
  return Error{ErrorCode::kExhausted,
               "the GPU has room for " + std::to_string(std::max<int64_t>(fitting, 0)) +
                   " tokens of KV cache beside the model, and the context is " +
                   std::to_string(loaded.context) +
                   "; lower --ctx or --gpu-layers, raise --gpu-memory or use --backend cpu"};
}

// A device needs many tokens at once to be busy; on the host larger steps only delay others.
int64_t Serving::step_tokens(const LoadedModel& loaded) const {
  if (options_.step_tokens > 0) return options_.step_tokens;
  return loaded.backend->is_host() ? 512 : gpu_step_tokens();
}

int64_t Serving::gpu_step_tokens() const {
  return options_.step_tokens > 0 ? options_.step_tokens : 2048;
}

// Where all layers' caches lie on the GPU.
int32_t Serving::host_pages(const LoadedModel& loaded) const {
  const ModelInfo& info = loaded.model->info();
  if (info.is_encoder || cache_bytes_per_token(loaded, true) > 0) return 0;
  const auto available = static_cast<double>(examine_machine().memory_available_bytes);
  const double bytes = std::min(options_.swap_gb * 1e9, available / 8);
  const auto page = static_cast<double>(Engine::page_bytes(info, loaded.kv_type));
  return static_cast<int32_t>(std::min(bytes / page, 1e6));
}

Result<std::shared_ptr<server::ServedModel>> Serving::load(const ModelToServe& wanted) {
  ModelOptions model_options = options_.model_options;
  model_options.path = wanted.path;
  model_options.pool = pool_;
  model_options.gpu_memory = options_.gpu_memory;
  model_options.gpu_cache_tokens = options_.cache_tokens;
  model_options.gpu_cache_contexts = std::min(options_.parallel, kContextsOnGpu);
  model_options.gpu_step_bytes =
      static_cast<int64_t>(kStepBytesPerToken * static_cast<double>(gpu_step_tokens()));
  auto loaded = std::make_shared<LoadedModel>(TRY(load_for_running(model_options)));
  if (const int64_t most = loaded->model->info().position_limit; most > 0) {
    // --ctx is of all models; this one's positions end earlier.
    loaded->context = std::min(loaded->context, most);
  }
  auto served = std::make_shared<server::ServedModel>();
  const int64_t tokens_cached = TRY(cache_tokens(*loaded));
  auto engine = TRY(loaded->make_engine({.context = 0,
                                         .cache_tokens = tokens_cached,
                                         .max_step_tokens = step_tokens(*loaded),
                                         .max_sequences = options_.parallel,
                                         .max_logit_rows = options_.parallel,
                                         .host_pages = host_pages(*loaded),
                                         .embeddings = true}));
  const ModelInfo& info = loaded->model->info();
  served->id = wanted.name;
  served->aliases = wanted.aliases;
  served->path = wanted.path;
  served->created_s = server::unix_seconds();
  served->architecture = info.architecture;
  served->description = loaded->description();
  served->quantization = commonest_type(*loaded->file);
  served->num_parameters = info.num_parameters;
  served->size_bytes = info.weight_bytes;
  served->context = loaded->context;
  served->vocab_size = info.vocab_size;
  served->generates = !info.is_encoder;
  served->embedding_size = info.hidden_size;
  if (const auto pooling = pooling_of(info); pooling.ok()) served->pooling = *pooling;
  served->tokenizer = loaded->tokenizer.get();
  auto prompts = PromptTemplate::create(*loaded->file, *loaded->tokenizer);
  if (prompts.ok()) {
    served->prompts = std::move(prompts).value();
  } else if (prompts.error().code != ErrorCode::kNotFound) {
    return prompts.error().at(loaded->label);
  }
  served->digest = [digest = std::make_shared<server::ModelDigest>(wanted.path, embedded_model())] {
    return digest->text();
  };
  served->owner = loaded;
  served->scheduler = std::make_unique<Scheduler>(
      std::make_unique<EngineRunner>(std::move(engine), pool_),
      SchedulerOptions{
          .max_queued = options_.max_queued,
          .max_step_stretch = options_.step_stretch,
          .step_floor_seconds = std::chrono::duration<double>(options_.step_floor).count(),
          .on_step_end = flush_loops()});
  spdlog::info("serving {} as '{}': {}, context {}, up to {} requests at once", loaded->label,
               wanted.name, served->description, served->context, options_.parallel);
  return served;
}

Result<std::string> Serving::load_named(const AdminRequest& request) {
  json::object body;
  std::optional<server::ApiError> error = parse_admin_body(request, body);
  server::FieldReader fields(body, "", error);
  ModelToServe wanted = parse_model_to_serve(fields.required_text("path"));
  if (const auto name = fields.text("name")) wanted.name = *name;
  if (const json::array* aliases = fields.array("aliases")) {
    for (const json::value& alias : *aliases) {
      if (!alias.is_string()) {
        fields.fail("aliases", "must hold names");
        break;
      }
      wanted.aliases.emplace_back(alias.get_string());
    }
  }
  if (wanted.name.empty()) fields.fail("name", "must not be empty");
  fields.finish();
  if (error) return Error{ErrorCode::kInvalidArgument, error->message};
  for (const auto& known : models_.all()) {
    if (!same_file(known->path, wanted.path)) continue;
    return Error{ErrorCode::kInvalidArgument,
                 "path: this file is loaded already, as '" + known->id + "'"};
  }
  // Before the file is read; add() sees to it in any case.
  std::vector<std::string> names = wanted.aliases;
  names.push_back(wanted.name);
  for (const std::string& name : names) {
    if (models_.find(name) == nullptr) continue;
    return Error{ErrorCode::kInvalidArgument, "there is a model '" + name + "' already"};
  }
  const auto model = TRY(load(wanted));
  TRY(models_.add(model));
  if (tenancy_ != nullptr) apply_policies(*tenancy_->directory().snapshot());
  JsonWriter out;
  write_model(out, *model);
  return out.str();
}

Result<std::string> Serving::unload_named(const std::string& name) {
  auto removed = name.empty() ? nullptr : models_.remove(name);
  if (removed == nullptr) {
    return Error{ErrorCode::kNotFound, "there is no model '" + name + "'"};
  }
  std::erase_if(prefixes_, [&](const PublishedPrefix& prefix) { return prefix.model == removed; });
  spdlog::info("model '{}' is unloaded once its requests have ended", removed->id);
  JsonWriter out;
  out.begin_object().text("removed", removed->id).end_object();
  retired_.add(std::move(removed));
  return out.str();
}

Result<std::string> Serving::change_models(const AdminRequest& request) {
  if (request.method == "POST") return load_named(request);
  if (request.method == "DELETE") return unload_named(last_name(request, "/admin/models/"));
  JsonWriter out;
  out.begin_object().key("models").begin_array();
  for (const auto& model : models_.all()) write_model(out, *model);
  return out.end_array().end_object().str();
}

// --- Prefixes that all tenants share ---

namespace {

constexpr size_t kMaxPrefixes = 64;

// What every conversation under this system prompt begins with.
std::optional<server::ApiError> system_prefix(const server::ServedModel& model,
                                              const std::string& system, std::vector<Token>& out) {
  std::vector<Token> other;
  std::vector<server::ChatTurn> turns = {{.role = "system", .content = system},
                                         {.role = "user", .content = "a"}};
  if (auto error = server::chat_prompt(model, turns, {.param = "system"}, out)) return error;
  turns.back().content = "1";
  if (auto error = server::chat_prompt(model, turns, {.param = "system"}, other)) return error;
  const auto ends = std::mismatch(out.begin(), out.end(), other.begin(), other.end());
  out.erase(ends.first, out.end());
  return std::nullopt;
}

void write_prefix(JsonWriter& json, const PublishedPrefix& prefix) {
  const auto tokens = static_cast<int64_t>(prefix.tokens.size());
  json.begin_object().text("name", prefix.name).text("model", prefix.model->id);
  json.integer("tokens", tokens).integer("shared_tokens", tokens / kPageTokens * kPageTokens);
  json.end_object();
}

}  // namespace

Result<std::string> Serving::publish_prefix(const AdminRequest& request) {
  json::object body;
  std::optional<server::ApiError> error = parse_admin_body(request, body);
  server::FieldReader fields(body, "", error);
  PublishedPrefix prefix{.name = fields.required_text("name"), .model = nullptr, .tokens = {}};
  if (prefix.name.empty()) fields.fail("name", "must not be empty");
  for (const PublishedPrefix& known : prefixes_) {
    if (known.name == prefix.name) fields.fail("name", "is that of another prefix");
  }
  if (prefixes_.size() >= kMaxPrefixes) {
    fields.fail("name", "is one too many: at most " + std::to_string(kMaxPrefixes));
  }
  const std::string model = fields.text("model").value_or("");
  prefix.model = models_.find(model);
  if (prefix.model == nullptr) fields.fail("model", "must be one of the models here");
  const auto system = fields.text("system"), text = fields.text("text");
  if (system.has_value() == text.has_value()) {
    fields.fail("system", "(of conversations) or text (of plain prompts) is required, one of them");
  }
  fields.finish();
  if (!error && system) error = system_prefix(*prefix.model, *system, prefix.tokens);
  if (!error && text) {
    prefix.tokens = TRY(prefix.model->tokenizer->encode(*text, {.parse_special = true}));
  }
  if (!error && static_cast<int64_t>(prefix.tokens.size()) < kPageTokens) {
    fields.fail(system ? "system" : "text", "has " + std::to_string(prefix.tokens.size()) +
                                                " tokens; pages of " + std::to_string(kPageTokens) +
                                                " are shared, so it takes at least so many");
  }
  for (const PublishedPrefix& known : prefixes_) {
    if (error || known.model != prefix.model || known.tokens != prefix.tokens) continue;
    fields.fail(system ? "system" : "text", "is published already, as '" + known.name + "'");
  }
  if (error) return Error{ErrorCode::kInvalidArgument, error->message};
  prefix.model->scheduler->publish(prefix.tokens);
  JsonWriter out;
  write_prefix(out, prefix);
  prefixes_.push_back(std::move(prefix));
  return out.str();
}

Result<std::string> Serving::change_prefixes(const AdminRequest& request) {
  JsonWriter out;
  if (request.method == "POST") return publish_prefix(request);
  if (request.method == "DELETE") {
    const std::string name = last_name(request, "/admin/prefixes/");
    const auto found =
        std::find_if(prefixes_.begin(), prefixes_.end(),
                     [&](const PublishedPrefix& prefix) { return prefix.name == name; });
    if (found == prefixes_.end()) {
      return Error{ErrorCode::kNotFound, "there is no prefix '" + name + "'"};
    }
    found->model->scheduler->unpublish(found->tokens);
    prefixes_.erase(found);
    return out.begin_object().text("removed", name).end_object().str();
  }
  out.begin_object().key("prefixes").begin_array();
  for (const PublishedPrefix& prefix : prefixes_) write_prefix(out, prefix);
  return out.end_array().end_object().str();
}

}  // namespace realm
