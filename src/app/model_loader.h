// From the MODEL argument to something that can run: the file, a backend, the weights, the
// tokenizer. Every command that runs a model starts here, so that they all take the same models and
// refuse the same ones; and it is the one place that turns a backend's name into a backend.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "base/shared_pool.h"
#include "engine/engine.h"
#include "formats/tensor_directory.h"
#include "models/model.h"
#include "ops/backend.h"
#include "text/tokenizer.h"

namespace realm {

struct ModelOptions {
  std::string path = {};         // GGUF file or Hugging Face folder; empty: the embedded realm-tiny
  std::string backend = "auto";  // auto, cpu or cuda
  int threads = 0;               // 0: every usable core
  std::shared_ptr<SharedPool> pool = {};  // of the CPU backend, in place of threads of its own
  std::string cpu_isa = {};               // empty: the best this processor has (debugging aid)
  int64_t context = 0;                    // tokens; 0: default_context()
  std::string kv_type = "f16";            // f32, f16 or q8_0
  std::vector<std::string> lora = {};
  std::string gpu_layers = "auto";  // or how many of the last layers the GPU takes
  double gpu_memory = 0.9;          // share of the GPU's memory that may be in use
  // What the GPU shall have room for where layers are chosen by what fits: tokens of KV cache (0:
  // so many contexts), and a step's own memory.
  int64_t gpu_cache_tokens = 0, gpu_cache_contexts = 1;
  int64_t gpu_step_bytes = int64_t{512} << 20;
  bool batch_invariant = false;  // of the CUDA backend; the CPU's always is
  // What the CUDA backend's products multiply: bf16, fp16 or fp8; auto: bf16. The CPU's have their
  // own way, and refuse all but auto.
  std::string compute = "auto";
  bool no_mmap = false;  // read the file into memory in place of mapping it
  bool mlock = false;    // keep the weights from being paged out; the CPU backend alone
  // In place of the CUDA backend (tests).
  std::function<Result<std::unique_ptr<Backend>>()> make_gpu = {};
  bool with_tokenizer = true;  // false: for work on token ids that asks nothing of the vocabulary
};

struct LoadedModel {
  std::string label;  // what messages call it: the path, or "realm-tiny (embedded)"
  std::shared_ptr<const TensorDirectory> file;
  std::unique_ptr<Backend> backend;
  std::shared_ptr<const Model> model;
  std::unique_ptr<Tokenizer> tokenizer;  // null only where with_tokenizer was false
  int threads = 1;
  int64_t context = 0;
  DType kv_type = DType::kF16;

  // An engine with this model's context and KV type wherever `options` leaves `context` at 0; the
  // KV type is always this model's.
  Result<std::unique_ptr<Engine>> make_engine(EngineOptions options) const;
  // "llama Q8_0 28.3M": the architecture, the type of most weight bytes, the parameters.
  std::string description() const;
};

// Puts something between the models and the device (statistics, traces).
using WrapBackend = std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)>;

// Errors: kExhausted where the model does not fit the GPU; kNotFound, kIo; kBadModel for a file
// that is not acceptable, and where its vocabulary is larger than its embedding; kUnsupported for a
// backend this build does not have; kExhausted for memory that cannot be had or locked;
// kInvalidArgument for other options.
Result<LoadedModel> load_for_running(const ModelOptions& options, const WrapBackend& wrap = {});

// The file alone, for commands that run nothing. An empty path is the embedded model.
Result<std::shared_ptr<const TensorDirectory>> open_model_argument(
    const std::string& path, FileAccess access = FileAccess::kMapped);
std::string model_label(const std::string& path);
// Whether a word alone, where MODEL may be left out, is a text for the embedded model: it has white
// space or ends a sentence, and no file has that name.
bool reads_like_text(const std::string& word);
Result<DType> parse_kv_type(const std::string& name);

// What the model was trained for, at most 8192 tokens: memory for more has to be asked for.
int64_t default_context(const ModelInfo& info);

}  // namespace realm
