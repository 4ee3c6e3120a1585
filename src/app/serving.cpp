#include "app/serving.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <thread>

#include "app/embedded_model.h"
#include "app/machine.h"
#include "formats/quant/quant_table.h"
#include "scheduler/engine_runner.h"
#include "server/api/model_digest.h"

namespace realm {
namespace {

// Scratch of a step and 16-bit copies of what products read, of models of 8 to 70 B.
constexpr double kStepBytesPerToken = 512e3;

constexpr const char* kEmbeddedName = "realm-tiny";

std::string name_of(const std::string& path) {
  if (path.empty()) return kEmbeddedName;
  std::filesystem::path file(path);
  if (!file.has_filename()) file = file.parent_path();
  std::string name = file.filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name.empty() ? path : name;
}

int64_t cache_bytes_per_token(const LoadedModel& loaded) {
  const BlockFormat& format = *find_block_format(loaded.kv_type);
  int64_t elements = 0;
  for (const KvLayerShape& layer : loaded.model->info().kv_layers) {
    elements += layer.num_heads * (layer.k_dim + layer.v_dim);
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

}  // namespace

ModelToServe parse_model_to_serve(const std::string& text) {
  const size_t equals = text.find('=');
  // A path may hold '=', too; a name holds no '/'.
  if (equals == std::string::npos || equals == 0 || text.find('/') < equals) {
    return {.name = name_of(text), .path = text};
  }
  const std::string name = text.substr(0, equals), path = text.substr(equals + 1);
  return {.name = name, .path = path == kEmbeddedName ? "" : path};
}

Serving::Serving(ServingOptions options)
    : options_(std::move(options)),
      pool_(std::make_shared<SharedPool>(
          options_.model_options.threads > 0 ? options_.model_options.threads : usable_cores())) {
  for (int i = 0; i < options_.io_threads; ++i) {
    loops_.push_back(std::make_unique<server::IoLoop>());
  }
}

Serving::~Serving() {
  if (!stopped_) {
    options_.drain = std::chrono::milliseconds(0);
    const Status stopped = stop();
    if (!stopped.ok()) spdlog::error("{}", stopped.error().message);
  }
  // Work that the loops did not come to holds requests, which refer to the tenancy and the models.
  admin_http_.reset();
  http_.reset();
  admin_loop_.reset();
  loops_.clear();
}

std::function<void()> Serving::flush_loops() {
  std::vector<server::IoLoop*> loops;
  for (const auto& loop : loops_) loops.push_back(loop.get());
  return [loops] {
    for (server::IoLoop* loop : loops) loop->flush();
  };
}

Result<int64_t> Serving::cache_tokens(const LoadedModel& loaded) const {
  if (options_.cache_tokens > 0) {
    if (options_.cache_tokens >= loaded.context) return options_.cache_tokens;
    return Error{ErrorCode::kInvalidArgument,
                 "--cache-tokens " + std::to_string(options_.cache_tokens) +
                     " holds not even one context of " + std::to_string(loaded.context) +
                     " tokens; raise it or lower --ctx"};
  }
  const int64_t token_bytes = std::max<int64_t>(cache_bytes_per_token(loaded), 1);
  const int64_t most = loaded.context * options_.parallel;
  if (loaded.backend->is_host()) {
    const auto available = static_cast<int64_t>(examine_machine().memory_available_bytes);
    return std::clamp(available / 4 / token_bytes, loaded.context, most);
  }
  // What is not taken yet of the share, less what a step works with: logits, and a few rows of the
  // widest layer for each token.
  const Backend::Memory memory = TRY(loaded.backend->memory());
  const ModelInfo& info = loaded.model->info();
  const auto taken = static_cast<double>(memory.total_bytes - memory.free_bytes);
  const double step = 4.0 * static_cast<double>(options_.parallel * info.vocab_size) +
                      kStepBytesPerToken * static_cast<double>(step_tokens(loaded));
  const double room = options_.gpu_memory * static_cast<double>(memory.total_bytes) - taken - step;
  const auto fitting = static_cast<int64_t>(room / static_cast<double>(token_bytes));
  if (fitting >= loaded.context) return std::min(fitting, most);
  return Error{ErrorCode::kExhausted,
               "the GPU has room for " + std::to_string(std::max<int64_t>(fitting, 0)) +
                   " tokens of KV cache beside the model, and the context is " +
                   std::to_string(loaded.context) +
                   "; lower --ctx, raise --gpu-memory or use --backend cpu"};
}

// A device needs many tokens at once to be busy; on the host larger steps only delay others.
int64_t Serving::step_tokens(const LoadedModel& loaded) const {
  if (options_.step_tokens > 0) return options_.step_tokens;
  return loaded.backend->is_host() ? 512 : 2048;
}

Result<std::shared_ptr<server::ServedModel>> Serving::load(const ModelToServe& wanted) {
  ModelOptions model_options = options_.model_options;
  model_options.path = wanted.path;
  model_options.pool = pool_;
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
                                         .embeddings = true}));
  const ModelInfo& info = loaded->model->info();
  served->id = wanted.name;
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
      SchedulerOptions{.max_queued = options_.max_queued, .on_step_end = flush_loops()});
  spdlog::info("serving {} as '{}': {}, context {}, up to {} requests at once", loaded->label,
               wanted.name, served->description, served->context, options_.parallel);
  return served;
}

Result<std::unique_ptr<Serving>> Serving::create(ServingOptions options) {
  std::unique_ptr<Serving> serving(new Serving(std::move(options)));
  ServingOptions& o = serving->options_;
  // First what fails fast.
  TRY(serving->open_tenancy());
  if (o.models.empty()) o.models.push_back({.name = kEmbeddedName, .path = ""});
  for (const ModelToServe& wanted : o.models) {
    auto model = TRY(serving->load(wanted));
    TRY(serving->models_.add(std::move(model)));
  }
  if (serving->tenancy_ != nullptr) {
    serving->apply_policies(*serving->tenancy_->directory().snapshot());
  }
  TRY(serving->listen());
  return serving;
}

void Serving::start() {
  for (const auto& loop : loops_) loop->start();
  http_->start();
  if (admin_http_ == nullptr) return;
  admin_loop_->start();
  admin_loop_->post([this] { admin_loop_->add(&retired_); });
  admin_http_->start();
}

namespace {

// Waits until all connections have ended, for so long at the most.
void wait_for_connections(const server::HttpServer& http, std::chrono::milliseconds most) {
  const auto until = std::chrono::steady_clock::now() + most;
  while (http.num_connections() > 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

Status Serving::stop() {
  stopped_ = true;
  // Nothing is changed while it ends.
  if (admin_http_ != nullptr) {
    admin_http_->drain();
    wait_for_connections(*admin_http_, std::chrono::seconds(2));
    admin_http_->abort();
    wait_for_connections(*admin_http_, std::chrono::seconds(2));
    admin_loop_->stop();
    admin_loop_->join();
    admin_loop_->remove(&retired_);
  }
  if (http_ != nullptr) {
    http_->drain();
    wait_for_connections(*http_, options_.drain);
  }
  // What is left ends with an error that clients see.
  for (const auto& model : models_.all()) model->scheduler->stop();
  retired_.stop();
  if (tenancy_ != nullptr) tenancy_->ledger().flush(std::chrono::seconds(5));
  if (http_ != nullptr && http_->num_connections() > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    http_->abort();
    wait_for_connections(*http_, std::chrono::seconds(2));
  }
  for (const auto& loop : loops_) loop->stop();
  for (const auto& loop : loops_) loop->join();
  if (reports_ != nullptr && reports_->exporter() != nullptr) reports_->exporter()->stop();
  return tenancy_ == nullptr ? Status() : tenancy_->ledger().stop();
}

}  // namespace realm
