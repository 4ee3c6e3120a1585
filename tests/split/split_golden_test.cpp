// A model whose layers are split between two devices gives the bits that it gives on one: every
// golden family, cut at every layer, over two CPU backends of which one keeps its memory, weights
// included, to itself. What did not cross, or crossed too late, shows.
#include <gtest/gtest.h>

#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "backends/split/placement.h"
#include "backends/split/split_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"
#include "golden/golden_family.h"
#include "ops/backend_wrapper.h"

namespace realm {
namespace {

std::unique_ptr<Backend> cpu_backend() {
  return cpu::CpuBackend::create({.num_threads = 1, .isa = cpu::best_isa()}).value();
}

// As a GPU: weights are copied, and addresses are not the host's.
class Device final : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;
  bool is_host() const override { return false; }
  Result<TensorView> import_weight(const TensorView& host) override {
    const Buffer copy = TRY(inner_->allocate(host.extent_bytes() + 64));
    std::memcpy(copy.data.get(), host.data, host.extent_bytes());
    weights_.push_back(copy);
    bytes += host.extent_bytes();
    TensorView view = host;
    view.data = copy.data.get();
    return view;
  }
  size_t bytes = 0;

 private:
  std::vector<Buffer> weights_;
};

// Logits of every token, in steps of `chunk`; hidden states of an encoder.
Result<std::vector<float>> outputs(Backend& backend, std::shared_ptr<const Model> model,
                                   const std::vector<Token>& tokens, size_t chunk) {
  const auto engine = TRY(Engine::create(model, backend,
                                         {.context = 128,
                                          .cache_tokens = 256,
                                          .max_step_tokens = 128,
                                          .max_sequences = 2,
                                          .max_logit_rows = 128,
                                          .embeddings = model->info().is_encoder}));
  Sequence sequence(engine->pages());
  std::vector<std::pair<PageId, PageId>> copies;
  if (model->info().is_encoder) {
    TRY(sequence.reserve(static_cast<int64_t>(tokens.size()), copies));
    const StepItem item{.sequence = &sequence, .tokens = tokens, .logits = WantLogits::kAll};
    const StepHidden hidden = TRY(engine->step_hidden({&item, 1}));
    return std::vector<float>(hidden.values.begin(), hidden.values.end());
  }
  std::vector<float> all;
  const auto run = [&](Sequence& of, std::span<const Token> piece) -> Status {
    TRY(of.reserve(static_cast<int64_t>(piece.size()), copies));
    TRY(engine->copy_pages(copies));
    copies.clear();
    const StepItem item{.sequence = &of, .tokens = piece, .logits = WantLogits::kAll};
    const StepLogits logits = TRY(engine->step({&item, 1}));
    all.insert(all.end(), logits.values.begin(), logits.values.end());
    return {};
  };
  for (size_t i = 0; i < tokens.size(); i += chunk) {
    TRY(run(sequence, std::span(tokens).subspan(i, std::min(chunk, tokens.size() - i))));
  }
  // A fork writes into a page that it shares, which is copied on both sides' caches.
  Sequence fork = sequence.fork();
  TRY(run(fork, std::span(tokens).first(1)));
  TRY(run(sequence, std::span(tokens).last(1)));
  return all;
}

// How the layers are spread, and what crossed in the last step.
Result<std::vector<float>> split_outputs(const std::shared_ptr<const TensorDirectory>& file,
                                         int64_t host_layers, int64_t num_layers,
                                         const std::vector<Token>& tokens, size_t chunk,
                                         split::Crossings& crossings) {
  split::SplitBackend backend(cpu_backend(), std::make_unique<Device>(cpu_backend()),
                              {.host_layers = host_layers,
                               .num_layers = num_layers,
                               .place_of = split::places_of(file, host_layers)});
  const std::shared_ptr<const Model> model = TRY(load_model(file, backend));
  auto result = TRY(outputs(backend, model, tokens, chunk));
  crossings = backend.crossings();
  return result;
}

TEST(Split, FamiliesGiveTheSameBits) {
  const std::vector<GoldenFamily> golden = golden_families();
  if (golden.empty()) GTEST_SKIP() << "no reference data in " << REALM_SHARED_DIR;
  int families = 0;
  for (const auto& [folder, name, tokens, file] : golden) {
    const auto cpu = cpu_backend();
    auto loaded = load_model(file, *cpu);
    if (!loaded.ok()) continue;  // a family that this program does not know
    const std::shared_ptr<const Model> model = std::move(loaded).value();
    const auto whole = outputs(*cpu, model, tokens, 7);
    ASSERT_TRUE(whole.ok()) << name << ": " << whole.error().message;
    const auto num_layers = static_cast<int64_t>(model->info().kv_layers.size());
    ++families;
    for (int64_t host_layers = 1; host_layers < num_layers; ++host_layers) {
      split::Crossings crossings;
      const auto split = split_outputs(file, host_layers, num_layers, tokens, 7, crossings);
      ASSERT_TRUE(split.ok()) << name << ": " << split.error().message;
      ASSERT_EQ(split->size(), whole->size()) << name;
      EXPECT_EQ(std::memcmp(split->data(), whole->data(), 4 * whole->size()), 0)
          << name << " with " << host_layers << " of " << num_layers << " layers on the host";
      EXPECT_EQ(crossings.to_host, 0) << name;
      // Latent attention writes into rows that it has made before, which come along.
      EXPECT_LE(crossings.to_device, 4) << name;
    }
  }
  EXPECT_GE(families, 10);
}

TEST(Split, TheHiddenStateCrossesOnce) {
  auto file = open_gguf(REALM_SOURCE_DIR "/assets/realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::shared_ptr<const TensorDirectory> shared = std::move(file).value();
  const auto cpu = cpu_backend();
  const std::shared_ptr<const Model> model = load_model(shared, *cpu).value();
  const std::vector<Token> tokens = {5, 900, 77, 8000, 4, 12, 4096, 30};
  const auto whole = outputs(*cpu, model, tokens, 8);
  ASSERT_TRUE(whole.ok());
  const auto num_layers = static_cast<int64_t>(model->info().kv_layers.size());
  split::Crossings crossings;
  const auto split = split_outputs(shared, num_layers / 2, num_layers, tokens, 8, crossings);
  ASSERT_TRUE(split.ok()) << split.error().message;
  EXPECT_EQ(*split, *whole);
  // The last step was of one token: one row of single-precision numbers.
  EXPECT_EQ(crossings.to_device, 1);
  EXPECT_EQ(crossings.bytes_to_device, static_cast<size_t>(model->info().hidden_size) * 4);
  EXPECT_EQ(crossings.to_host, 0);
}

TEST(Split, AnOpOfBothSidesIsRefused) {
  split::SplitBackend backend(cpu_backend(), std::make_unique<Device>(cpu_backend()),
                              {.host_layers = 1, .num_layers = 2, .place_of = {}});
  const Buffer here = backend.allocate_cache(4096, 0).value();
  const Buffer there = backend.allocate_cache(4096, 1).value();
  const auto view = [](const Buffer& buffer) {
    return make_view(buffer.data.get(), DType::kF32, {4, 8});
  };
  const Op op = Add{view(here), view(there), view(here)};
  const auto program = backend.prepare({&op, 1});
  ASSERT_FALSE(program.ok());
  EXPECT_EQ(program.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace realm
