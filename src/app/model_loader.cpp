#include "app/model_loader.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "app/embedded_model.h"
#include "app/nearest.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "base/memory_lock.h"
#include "formats/gguf.h"
#include "formats/open_model.h"

namespace realm {
namespace {

constexpr int64_t kDefaultContextMax = 8192;

Result<std::unique_ptr<Backend>> make_backend(const ModelOptions& options, int& threads) {
  if (options.backend != "auto" && options.backend != "cpu" && options.backend != "cuda") {
    return Error{ErrorCode::kInvalidArgument,
                 "backend '" + options.backend + "' is not one of auto, cpu, cuda"};
  }
  // A person who names an instruction set wants the CPU.
  if (options.backend == "cuda" || (options.backend == "auto" && options.cpu_isa.empty())) {
    auto gpu = cuda::CudaBackend::create({.batch_invariant = options.batch_invariant});
    if (gpu.ok()) return std::unique_ptr<Backend>(std::move(gpu).value());
    const ErrorCode code = gpu.error().code;
    const bool absent = code == ErrorCode::kUnavailable || code == ErrorCode::kUnsupported;
    if (options.backend == "cuda" || !absent) return gpu.error().at("backend cuda");
  }
  cpu::CpuOptions cpu_options{
      .num_threads = options.threads, .isa = cpu::best_isa(), .pool = options.pool};
  if (!options.cpu_isa.empty()) cpu_options.isa = TRY(cpu::parse_isa(options.cpu_isa));
  auto backend = TRY(cpu::CpuBackend::create(cpu_options));
  threads = backend->pool()->num_threads();
  return std::unique_ptr<Backend>(std::move(backend));
}

// Errors of readers name the file already where it is the culprit.
Error naming(const Error& error, const std::string& label) {
  return error.message.starts_with(label) ? error : error.at(label);
}

// Files and folders beside the one that is not there, of which one may have been meant.
std::vector<std::string> models_beside(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.parent_path();
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder.empty() ? "." : folder, error), end;
       !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() == ".gguf" || entry->is_directory(ignored)) {
      names.push_back((folder / entry->path().filename()).string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The tensors as they lie in host memory, wherever that is: a mapped file, one that was read, or
// what a checkpoint's loader put together.
Status lock_weights(const LoadedModel& loaded) {
  if (loaded.backend->name().starts_with("cuda")) {
    return Error{ErrorCode::kInvalidArgument,
                 "mlock keeps weights in the machine's memory, but the backend " +
                     loaded.backend->name() + " has them in its own"};
  }
  for (const TensorInfo& tensor : loaded.file->tensors()) {
    const Status locked = lock_memory(tensor.data);
    if (!locked.ok()) return locked.error().at(loaded.label + ": --mlock");
  }
  return {};
}

std::string short_count(int64_t count) {
  char text[32];
  const double value = static_cast<double>(count);
  if (count >= 1'000'000'000) {
    std::snprintf(text, sizeof text, "%.1fB", value / 1e9);
  } else {
    std::snprintf(text, sizeof text, "%.1fM", value / 1e6);
  }
  return text;
}

}  // namespace

std::string model_label(const std::string& path) {
  return path.empty() ? "realm-tiny (embedded)" : path;
}

bool reads_like_text(const std::string& word) {
  if (word.find_first_of(" \t\n?!") == std::string::npos || word.ends_with(".gguf")) return false;
  std::error_code ignored;
  return !std::filesystem::exists(word, ignored);
}

Result<std::shared_ptr<const TensorDirectory>> open_model_argument(const std::string& path,
                                                                   FileAccess access) {
  if (path.empty()) {
    return std::shared_ptr<const TensorDirectory>(
        TRY(parse_gguf(embedded_model(), model_label(path))));
  }
  std::error_code error;
  if (std::filesystem::status(path, error).type() == std::filesystem::file_type::not_found) {
    const std::string hint = suggestion(path, models_beside(path));
    return Error{ErrorCode::kNotFound,
                 path + ": no such file" +
                     (hint.empty() ? "; MODEL is a GGUF file or a folder with a Hugging Face "
                                     "checkpoint"
                                   : hint)};
  }
  auto file = open_model(path, access);
  if (!file.ok()) return naming(file.error(), path);
  return std::shared_ptr<const TensorDirectory>(std::move(file).value());
}

Result<DType> parse_kv_type(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "q8_0") return DType::kQ8_0;
  return Error{ErrorCode::kInvalidArgument, "kv-type '" + name + "' is not one of f32, f16, q8_0"};
}

int64_t default_context(const ModelInfo& info) {
  return std::clamp<int64_t>(info.trained_context, 1, kDefaultContextMax);
}

Result<LoadedModel> load_for_running(const ModelOptions& options, const WrapBackend& wrap) {
  if (!options.lora.empty()) {
    return Error{ErrorCode::kUnsupported, "lora: this build does not run adapters"};
  }
  LoadedModel loaded;
  loaded.label = model_label(options.path);
  loaded.kv_type = TRY(parse_kv_type(options.kv_type));
  loaded.backend = TRY(make_backend(options, loaded.threads));
  if (wrap) loaded.backend = wrap(std::move(loaded.backend));
  loaded.file = TRY(
      open_model_argument(options.path, options.no_mmap ? FileAccess::kRead : FileAccess::kMapped));
  if (options.mlock) TRY(lock_weights(loaded));
  auto model = load_model(loaded.file, *loaded.backend);
  if (!model.ok()) return naming(model.error(), loaded.label);
  loaded.model = std::move(model).value();
  const ModelInfo& info = loaded.model->info();
  if (options.with_tokenizer) {
    auto tokenizer = Tokenizer::create(loaded.file->metadata());
    if (!tokenizer.ok()) return naming(tokenizer.error(), loaded.label);
    loaded.tokenizer = std::move(tokenizer).value();
    if (loaded.tokenizer->vocab_size() > info.vocab_size) {
      return Error{ErrorCode::kBadModel, loaded.label + ": the vocabulary has " +
                                             std::to_string(loaded.tokenizer->vocab_size()) +
                                             " tokens, token_embd.weight only " +
                                             std::to_string(info.vocab_size)};
    }
  }
  loaded.context = options.context > 0 ? options.context : default_context(info);
  return loaded;
}

Result<std::unique_ptr<Engine>> LoadedModel::make_engine(EngineOptions options) const {
  options.kv_type = kv_type;
  if (options.context == 0) options.context = context;
  auto engine = Engine::create(model, *backend, options);
  if (!engine.ok() && engine.error().code == ErrorCode::kBadModel) {
    return naming(engine.error(), label);
  }
  return engine;
}

std::string LoadedModel::description() const {
  std::map<DType, size_t> bytes;
  for (const TensorInfo& tensor : file->tensors()) bytes[tensor.dtype] += tensor.data.size();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const std::string type = most == bytes.end() ? "" : dtype_name(most->first) + " ";
  return model->info().architecture + " " + type + short_count(model->info().num_parameters);
}

}  // namespace realm
