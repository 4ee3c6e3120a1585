#include "app/model_loader.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "app/embedded_model.h"
#include "app/gpu_layers.h"
#include "app/nearest.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/split/placement.h"
#include "backends/split/split_backend.h"
#include "base/memory_lock.h"
#include "formats/gguf.h"
#include "formats/open_model.h"

namespace realm {
namespace {

constexpr int64_t kDefaultContextMax = 8192;

std::string gigabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

Result<std::unique_ptr<Backend>> make_cpu(const ModelOptions& options, int& threads) {
  cpu::CpuOptions cpu_options{
      .num_threads = options.threads, .isa = cpu::best_isa(), .pool = options.pool};
  if (!options.cpu_isa.empty()) cpu_options.isa = TRY(cpu::parse_isa(options.cpu_isa));
  auto backend = TRY(cpu::CpuBackend::create(cpu_options));
  threads = backend->pool()->num_threads();
  return std::unique_ptr<Backend>(std::move(backend));
}

Result<cuda::Compute> parse_compute(const std::string& name) {
  if (name == "auto" || name == "bf16") return cuda::Compute::kBf16;
  if (name == "fp16") return cuda::Compute::kFp16;
  if (name == "fp8") return cuda::Compute::kFp8;
  return Error{ErrorCode::kInvalidArgument,
               "compute '" + name + "' is not one of auto, bf16, fp16, fp8"};
}

// The GPU's backend where one is wanted and there; null where the CPU is to do.
Result<std::unique_ptr<Backend>> make_gpu(const ModelOptions& options,
                                          const std::optional<int64_t>& layers) {
  if (options.backend != "auto" && options.backend != "cpu" && options.backend != "cuda") {
    return Error{ErrorCode::kInvalidArgument,
                 "backend '" + options.backend + "' is not one of auto, cpu, cuda"};
  }
  const cuda::Compute compute = TRY(parse_compute(options.compute));
  const bool is_asked_for = options.backend == "cuda";
  if (is_asked_for && layers == 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "--gpu-layers 0 leaves backend cuda nothing to do; take --backend cpu"};
  }
  // A person who names an instruction set wants the CPU.
  const bool is_wanted = options.backend == "auto" && options.cpu_isa.empty() && layers != 0;
  if (!is_asked_for && !is_wanted) return std::unique_ptr<Backend>();
  Result<std::unique_ptr<Backend>> gpu = [&]() -> Result<std::unique_ptr<Backend>> {
    if (options.make_gpu) return options.make_gpu();
    return std::unique_ptr<Backend>(TRY(cuda::CudaBackend::create(
        {.compute = compute, .batch_invariant = options.batch_invariant})));
  }();
  if (gpu.ok()) return gpu;
  const ErrorCode code = gpu.error().code;
  const bool absent = code == ErrorCode::kUnavailable || code == ErrorCode::kUnsupported;
  if (is_asked_for || !absent) return gpu.error().at("backend cuda");
  return std::unique_ptr<Backend>();
}

// Errors of readers name the file already where it is the culprit.
Error naming(const Error& error, const std::string& label) {
  return error.message.starts_with(label) ? error : error.at(label);
}

// Files and folders beside the one that is not there, of which one may have been meant. Names are
// compared, not paths: in a deep folder any two paths are alike.
std::vector<std::string> models_beside(std::filesystem::path path) {
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  const std::filesystem::path folder = path.parent_path();
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder.empty() ? "." : folder, error), end;
       !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() == ".gguf" || entry->is_directory(ignored)) {
      names.push_back(entry->path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  names = nearest(path.filename().string(), names);
  for (std::string& name : names) name = (folder / name).string();
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

namespace {

// How many of the model's last layers the GPU takes; all of them: the whole model.
struct LayerSplit {
  int64_t gpu_layers = 0, num_layers = 0;
};

Result<LayerSplit> split_layers(const ModelOptions& options, const LoadedModel& loaded,
                                Backend& gpu, Backend& cpu, const std::optional<int64_t>& wanted) {
  // On the CPU, where importing weights costs nothing, to know the shapes.
  auto shown = load_model(loaded.file, cpu);
  if (!shown.ok()) return naming(shown.error(), loaded.label);
  const ModelInfo& info = (*shown)->info();
  const auto num_layers = static_cast<int64_t>(info.kv_layers.size());
  const int64_t context = options.context > 0 ? options.context : default_context(info);
  const Backend::Memory memory = TRY(gpu.memory());
  const double taken = static_cast<double>(memory.total_bytes - memory.free_bytes);
  const auto room =
      static_cast<int64_t>(options.gpu_memory * static_cast<double>(memory.total_bytes) - taken);
  const auto fitting = [&](int64_t contexts) {
    const int64_t kv_tokens =
        options.gpu_cache_tokens > 0 ? options.gpu_cache_tokens : contexts * context;
    return layers_that_fit(
        gpu_need(*loaded.file, info, kv_tokens, loaded.kv_type, options.gpu_step_bytes), room);
  };
  // With the least cache that will do the whole model may fit; where it does not, layers make room
  // for more.
  const int64_t most = fitting(1);
  const int64_t count = wanted               ? std::min(*wanted, num_layers)
                        : most == num_layers ? most
                                             : fitting(options.gpu_cache_contexts);
  if (count > most) {
    return Error{ErrorCode::kExhausted, loaded.label + ": " + std::to_string(count) + " of " +
                                            std::to_string(num_layers) +
                                            " layers do not fit the GPU, which has room for " +
                                            gigabytes(std::max<int64_t>(room, 0)) +
                                            " (--gpu-memory): at most " + std::to_string(most) +
                                            " do beside a KV cache of the context; take "
                                            "--gpu-layers auto or lower --ctx"};
  }
  if (count == num_layers) return LayerSplit{num_layers, num_layers};
  if (count == 0 && options.backend == "cuda") {
    return Error{ErrorCode::kExhausted,
                 loaded.label + ": not one layer fits the GPU, which has room for " +
                     gigabytes(std::max<int64_t>(room, 0)) +
                     "; lower --ctx, free the GPU's memory or take --backend cpu"};
  }
  spdlog::warn(
      "{}: {} of {} layers run on the GPU, which has room for {}; the others run on the "
      "processor, which is slower",
      loaded.label, count, num_layers, gigabytes(std::max<int64_t>(room, 0)));
  return LayerSplit{count, num_layers};
}

// What the model runs on where there is a GPU.
Status choose_backend(const ModelOptions& options, LoadedModel& loaded,
                      std::unique_ptr<Backend> gpu, const std::optional<int64_t>& layers) {
  std::unique_ptr<Backend> cpu = TRY(make_cpu(options, loaded.threads));
  const LayerSplit chosen = TRY(split_layers(options, loaded, *gpu, *cpu, layers));
  if (chosen.gpu_layers == chosen.num_layers) {
    loaded.backend = std::move(gpu);
  } else if (chosen.gpu_layers == 0) {
    loaded.backend = std::move(cpu);
  } else {
    const int64_t host_layers = chosen.num_layers - chosen.gpu_layers;
    loaded.backend = std::make_unique<split::SplitBackend>(
        std::move(cpu), std::move(gpu),
        split::SplitOptions{.host_layers = host_layers,
                            .num_layers = chosen.num_layers,
                            .place_of = split::places_of(loaded.file, host_layers)});
  }
  return {};
}

}  // namespace

Result<LoadedModel> load_for_running(const ModelOptions& options, const WrapBackend& wrap) {
  if (!options.lora.empty()) {
    return Error{ErrorCode::kUnsupported, "lora: this build does not run adapters"};
  }
  LoadedModel loaded;
  loaded.label = model_label(options.path);
  loaded.kv_type = TRY(parse_kv_type(options.kv_type));
  const std::optional<int64_t> layers = TRY(parse_gpu_layers(options.gpu_layers));
  std::unique_ptr<Backend> gpu = TRY(make_gpu(options, layers));
  if (gpu == nullptr && layers.value_or(0) > 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "--gpu-layers " + options.gpu_layers + ": there is no GPU to take them" +
                     (options.backend == "cpu" ? " with --backend cpu" : "")};
  }
  if (gpu == nullptr && options.compute != "auto") {
    return Error{ErrorCode::kInvalidArgument,
                 "--compute " + options.compute +
                     " is a choice for GPUs and there is none to make it for: the CPU multiplies "
                     "weights as they are stored by activations in 8 bits or single precision"};
  }
  if (gpu == nullptr) loaded.backend = TRY(make_cpu(options, loaded.threads));
  loaded.file = TRY(
      open_model_argument(options.path, options.no_mmap ? FileAccess::kRead : FileAccess::kMapped));
  if (gpu != nullptr) TRY(choose_backend(options, loaded, std::move(gpu), layers));
  if (wrap) loaded.backend = wrap(std::move(loaded.backend));
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
  if (!engine.ok() && engine.error().code == ErrorCode::kExhausted) {
    return Error{ErrorCode::kExhausted,
                 label + ": " + engine.error().message +
                     "; lower --ctx, --cache-tokens or --parallel, take --kv-type q8_0" +
                     (backend->is_host() ? "" : ", fewer --gpu-layers, or --backend cpu")};
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
