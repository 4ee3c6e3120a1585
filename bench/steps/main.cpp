// realm-steps: whole engine steps of a model of a real shape with random weights, on a backend.
//   realm-steps --preset llama-8b --type Q4_K_M --backend cuda --dir /dev/shm p2048 d1 d8 d1@32768
// pN is a prefill step of N tokens, dB a decode step of B sequences, at 512 cached tokens or those
// after the @. With d32@8200s8000 the sequences share the pages of their first 8000 tokens; with
// an a in the place of the s they do, but the backend is not told and reads them apart. With a q at
// the end nobody waits for results between the steps: the mean is the device's own time, and what
// is missing to the step's is the host's. Prints the median of the steps' times, and what they come
// to in tokens a second and in bytes of weights read.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"
#include "formats/synth.h"
#include "ops/backend_wrapper.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

using Clock = std::chrono::steady_clock;

struct Test {
  bool decode = false;
  int64_t count = 1, depth = 0, shared = 0;
  bool apart = false, queued = false;
  std::string name;
};

struct Options {
  std::string preset = "llama-8b", type = "Q4_K_M", backend = "cuda", directory = "/tmp";
  std::string kv = "f16";
  int layers = 0, steps = 24;
  std::string compute = "bf16";
  bool batch_invariant = false;
  std::vector<Test> tests;
};

Result<Test> parse_test(const std::string& text) {
  Test test{.decode = text[0] == 'd', .count = 0, .depth = text[0] == 'd' ? 512 : 0, .name = text};
  char* end = nullptr;
  test.count = std::strtol(text.c_str() + 1, &end, 10);
  if (*end == '@') test.depth = std::strtol(end + 1, &end, 10);
  if (test.decode && (*end == 's' || *end == 'a')) {
    test.apart = *end == 'a';
    test.shared = std::strtol(end + 1, &end, 10) / kPageTokens * kPageTokens;
  }
  test.queued = *end == 'q';
  if (test.queued) ++end;
  if ((text[0] != 'd' && text[0] != 'p') || *end != 0 || test.count < 1 || test.depth < 0 ||
      test.shared < 0 || test.shared > test.depth) {
    return Error{ErrorCode::kInvalidArgument,
                 "no test '" + text + "': p2048, d8, d8q, d1@32768, d32@8200s8000"};
  }
  return test;
}

Result<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--batch-invariant") {
      options.batch_invariant = true;
      continue;
    }
    if (!name.starts_with("--")) {
      options.tests.push_back(TRY(parse_test(name)));
      continue;
    }
    if (++i == argc) return Error{ErrorCode::kInvalidArgument, name + " needs a value"};
    const std::string value = argv[i];
    if (name == "--preset")
      options.preset = value;
    else if (name == "--type")
      options.type = value;
    else if (name == "--backend")
      options.backend = value;
    else if (name == "--dir")
      options.directory = value;
    else if (name == "--kv")
      options.kv = value;
    else if (name == "--compute")
      options.compute = value;
    else if (name == "--layers")
      options.layers = std::atoi(value.c_str());
    else if (name == "--steps")
      options.steps = std::atoi(value.c_str());
    else
      return Error{ErrorCode::kInvalidArgument, "there is no option '" + name + "'"};
  }
  return options;
}

Result<std::unique_ptr<Backend>> make_backend(const Options& options) {
  if (options.backend == "cuda") {
    cuda::Compute compute = cuda::Compute::kBf16;
    if (options.compute == "fp16") compute = cuda::Compute::kFp16;
    if (options.compute == "fp8") compute = cuda::Compute::kFp8;
    return std::unique_ptr<Backend>(TRY(cuda::CudaBackend::create(
        {.compute = compute, .batch_invariant = options.batch_invariant})));
  }
  return std::unique_ptr<Backend>(TRY(cpu::CpuBackend::create({})));
}

// The backend, which can be kept from knowing what sequences share, and its user from waiting for
// results.
class Told final : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;
  bool reads_shared_pages_once() const override {
    return !apart && inner_->reads_shared_pages_once();
  }
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override {
    return inner_->prepare(ops);
  }
  Status download(std::span<std::byte> to, const std::byte* from) override {
    if (waits) return inner_->download(to, from);
    std::fill(to.begin(), to.end(), std::byte{0});
    return {};
  }
  bool apart = false, waits = true;
};

class Bench {
 public:
  Bench(const Options& options, Told& backend, std::shared_ptr<const Model> model)
      : options_(options), backend_(backend), model_(std::move(model)) {}

  Status run(const Test& test) {
    const int64_t sequences = test.decode ? test.count : 1;
    const int64_t step = test.decode ? 1 : test.count;
    const int64_t context = test.depth + (test.decode ? options_.steps + 8 : step);
    const KvType* kv = find_kv_type(options_.kv);
    if (kv == nullptr) {
      return Error{ErrorCode::kInvalidArgument, "--kv is one of " + kv_type_names()};
    }
    backend_.apart = test.apart;
    const auto engine = TRY(Engine::create(
        model_, backend_,
        {.context = context,
         .cache_tokens = sequences * (context + kPageTokens - test.shared) + test.shared,
         .max_step_tokens = std::max(sequences, step),
         .max_sequences = sequences,
         .max_logit_rows = sequences,
         .kv_type = kv->dtype,
         .shared_bytes_min = 1}));
    std::vector<Sequence> all;
    std::vector<std::pair<PageId, PageId>> copies;
    for (int64_t i = 0; i < sequences; ++i) {
      Sequence& sequence = all.emplace_back(engine->pages());
      // What is cached does not change the time of a step.
      const std::vector<Token> tokens = random_tokens(test.depth);
      if (i > 0) {
        sequence.share(std::span(tokens).first(static_cast<size_t>(test.shared)),
                       all[0].pages().first(static_cast<size_t>(test.shared / kPageTokens)));
      }
      const auto rest = std::span(tokens).subspan(static_cast<size_t>(sequence.length()));
      TRY(sequence.reserve(static_cast<int64_t>(rest.size()), copies));
      sequence.append(rest);
    }
    std::vector<double> seconds;
    Clock::time_point start;
    const int repeats = test.decode ? options_.steps : 6;
    for (int i = 0; i < repeats + 3; ++i) {
      std::vector<std::vector<Token>> tokens;
      std::vector<StepItem> items;
      for (Sequence& sequence : all) {
        if (!test.decode) sequence.truncate(test.depth);
        TRY(sequence.reserve(step, copies));
        tokens.push_back(random_tokens(step));
      }
      for (size_t s = 0; s < all.size(); ++s) {
        items.push_back({.sequence = &all[s], .tokens = tokens[s], .logits = WantLogits::kLast});
      }
      if (!test.queued || i <= 3) start = Clock::now();
      backend_.waits = !test.queued || i < 3 || i == repeats + 2;
      TRY(engine->step_greedy(items));
      const double taken = std::chrono::duration<double>(Clock::now() - start).count();
      if (i >= 3 && !test.queued) seconds.push_back(taken);
      if (test.queued && backend_.waits) seconds.assign(1, taken / repeats);
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    std::printf("%-12s %-8s %-14s kv %-5s %10.3f ms  %10.1f tok/s %6.0f GB/s   (%.3f .. %.3f ms)\n",
                options_.preset.c_str(), options_.type.c_str(), test.name.c_str(),
                options_.kv.c_str(), median * 1e3, static_cast<double>(test.count) / median,
                static_cast<double>(model_->info().bytes_per_token) / median / 1e9,
                seconds.front() * 1e3, seconds.back() * 1e3);
    std::fflush(stdout);
    return {};
  }

 private:
  std::vector<Token> random_tokens(int64_t count) {
    std::vector<Token> tokens(static_cast<size_t>(count));
    for (Token& token : tokens) {
      token = static_cast<Token>(random_() % static_cast<uint64_t>(model_->info().vocab_size));
    }
    return tokens;
  }

  const Options& options_;
  Told& backend_;
  std::shared_ptr<const Model> model_;
  std::mt19937_64 random_{1};
};

Status run(int argc, char** argv) {
  const Options options = TRY(parse(argc, argv));
  const std::string path = options.directory + "/" + options.preset + "-" + options.type + "-" +
                           std::to_string(options.layers) + ".gguf";
  if (!std::filesystem::exists(path)) {
    TRY(write_synthetic_model(path, {.preset = options.preset,
                                     .type = options.type,
                                     .layers = options.layers,
                                     .seed = 1,
                                     .on_tensor = {}}));
  }
  const auto backend = std::make_unique<Told>(TRY(make_backend(options)));
  const std::shared_ptr<const TensorDirectory> file = TRY(open_gguf(path));
  const auto start = Clock::now();
  const std::shared_ptr<const Model> model = TRY(load_model(file, *backend));
  std::printf("%s: %s loaded in %.2f s, %.2f GB read for a token\n", backend->name().c_str(),
              path.c_str(), std::chrono::duration<double>(Clock::now() - start).count(),
              static_cast<double>(model->info().bytes_per_token) / 1e9);
  Bench bench(options, *backend, model);
  for (const Test& test : options.tests) TRY(bench.run(test));
  return {};
}

}  // namespace
}  // namespace realm

int main(int argc, char** argv) {
  const auto status = realm::run(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "realm-steps: %s\n", status.error().message.c_str());
  return status.error().code == realm::ErrorCode::kInvalidArgument ? 2 : 1;
}
