#include "app/gpu_layers.h"

#include <gtest/gtest.h>

#include "app/model_loader.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/split/placement.h"
#include "ops/faulty_backend_testing.h"

namespace realm {
namespace {

TEST(GpuLayers, TheSettingIsAutoOrANumber) {
  EXPECT_EQ(parse_gpu_layers("auto").value(), std::nullopt);
  EXPECT_EQ(parse_gpu_layers("0").value(), 0);
  EXPECT_EQ(parse_gpu_layers("33").value(), 33);
  for (const char* text : {"", "-1", "3x", "all", "1e3", "999999999999999999999"}) {
    EXPECT_FALSE(parse_gpu_layers(text).ok()) << text;
  }
}

TEST(GpuLayers, TensorsGoWithTheirLayer) {
  using split::Place;
  EXPECT_EQ(split::place_of_tensor("blk.3.attn_q.weight", 4, true), Place::kHost);
  EXPECT_EQ(split::place_of_tensor("blk.4.attn_q.weight", 4, true), Place::kDevice);
  EXPECT_EQ(split::place_of_tensor("blk.11.ffn_up.weight", 4, true), Place::kDevice);
  EXPECT_EQ(split::place_of_tensor("output_norm.weight", 4, true), Place::kDevice);
  EXPECT_EQ(split::place_of_tensor("token_embd.weight", 4, true), Place::kHost);
  EXPECT_EQ(split::place_of_tensor("token_embd.weight", 4, false), Place::kBoth);
  EXPECT_EQ(split::place_of_tensor("rope_freqs.weight", 4, true), Place::kBoth);
  EXPECT_EQ(split::place_of_tensor("blk.x.weight", 4, true), Place::kBoth);
}

TEST(GpuLayers, AsManyAsFit) {
  const GpuNeed need{.layers = {10, 10, 10, 20}, .rest = 5, .all = 65};
  EXPECT_EQ(layers_that_fit(need, 65), 4);
  EXPECT_EQ(layers_that_fit(need, 64), 3);
  EXPECT_EQ(layers_that_fit(need, 35), 2);
  EXPECT_EQ(layers_that_fit(need, 34), 1);
  EXPECT_EQ(layers_that_fit(need, 25), 1);
  EXPECT_EQ(layers_that_fit(need, 24), 0);
  EXPECT_EQ(layers_that_fit(need, -7), 0);
}

// The embedded model on a device of so many megabytes.
Result<LoadedModel> load_on(int64_t megabytes, const std::string& layers,
                            const std::string& backend = "cuda") {
  const auto trouble = std::make_shared<DeviceTrouble>();
  trouble->bytes_left = megabytes << 20;
  ModelOptions options{.backend = backend, .threads = 1, .context = 256, .gpu_layers = layers};
  options.gpu_step_bytes = 1 << 20;
  options.make_gpu = [=]() -> Result<std::unique_ptr<Backend>> {
    auto cpu = TRY(cpu::CpuBackend::create({.num_threads = 1, .isa = cpu::best_isa()}));
    return std::unique_ptr<Backend>(std::make_unique<FaultyBackend>(
        std::move(cpu), trouble, true, static_cast<size_t>(megabytes) << 20));
  };
  return load_for_running(options);
}

std::vector<float> logits_of(const LoadedModel& loaded) {
  auto made = loaded.make_engine({.context = 0, .max_step_tokens = 8});
  if (!made.ok()) {
    ADD_FAILURE() << made.error().message;
    return {};
  }
  const auto engine = std::move(made).value();
  Sequence sequence(engine->pages());
  std::vector<std::pair<PageId, PageId>> copies;
  EXPECT_TRUE(sequence.reserve(4, copies).ok());
  const std::vector<Token> tokens = {1, 20, 300, 4000};
  const StepItem item{.sequence = &sequence, .tokens = tokens};
  const StepLogits logits = engine->step({&item, 1}).value();
  return {logits.values.begin(), logits.values.end()};
}

TEST(GpuLayers, ModelsAreSplitWhereTheyDoNotFit) {
  const auto whole = load_on(200, "auto");
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  EXPECT_EQ(whole->backend->name().find("layers"), std::string::npos);
  const auto split = load_on(28, "auto");
  ASSERT_TRUE(split.ok()) << split.error().message;
  EXPECT_NE(split->backend->name().find("layers"), std::string::npos) << split->backend->name();
  EXPECT_FALSE(split->backend->is_host());
  const auto asked = load_on(200, "3");
  ASSERT_TRUE(asked.ok()) << asked.error().message;
  EXPECT_NE(asked->backend->name().find("3 of "), std::string::npos) << asked->backend->name();
  const std::vector<float> expected = logits_of(*whole);
  EXPECT_EQ(logits_of(*split), expected);
  EXPECT_EQ(logits_of(*asked), expected);
}

TEST(GpuLayers, WhatCannotBeIsSaid) {
  const auto refused = [](const Result<LoadedModel>& loaded, ErrorCode code, const char* word) {
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code, code) << loaded.error().message;
    EXPECT_NE(loaded.error().message.find(word), std::string::npos) << loaded.error().message;
  };
  refused(load_on(28, "99"), ErrorCode::kExhausted, "do not fit the GPU");
  refused(load_on(3, "auto"), ErrorCode::kExhausted, "not one layer fits");
  refused(load_on(200, "0"), ErrorCode::kInvalidArgument, "--backend cpu");
  refused(load_on(200, "many"), ErrorCode::kInvalidArgument, "'many'");
  refused(load_on(200, "4", "cpu"), ErrorCode::kInvalidArgument, "no GPU");
  // Nobody insisted on the GPU: the processor does.
  const auto cpu = load_on(3, "auto", "auto");
  ASSERT_TRUE(cpu.ok()) << cpu.error().message;
  EXPECT_TRUE(cpu->backend->is_host());
}

}  // namespace
}  // namespace realm
