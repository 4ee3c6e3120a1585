#include "serving/device_chains.h"

#include "backends/cpu/cpu_backend.h"
#include "formats/gguf.h"

namespace realm {
namespace {

class ChainsOnADevice : public testing::Test {
 protected:
  std::unique_ptr<cpu::CpuBackend> backend_ =
      cpu::CpuBackend::create({.num_threads = 2, .isa = cpu::best_isa()}).value();

  std::unique_ptr<Engine> make_engine() {
    auto file = open_gguf(std::string(REALM_SOURCE_DIR) + "/assets/realm-tiny.Q8_0.gguf");
    auto model = load_model(std::move(file).value(), *backend_);
    return Engine::create(std::move(model).value(), *backend_,
                          {.context = 256,
                           .cache_tokens = 1024,
                           .max_step_tokens = 64,
                           .max_sequences = 4,
                           .max_logit_rows = 4})
        .value();
  }
};

TEST_F(ChainsOnADevice, ChooseWhatTheSamplersDo) {
  expect_the_samplers_tokens(*backend_, 2500, 3.0f, 12);
  expect_the_samplers_tokens(*backend_, 2500, 0.8f, 6);
}

TEST_F(ChainsOnADevice, GiveTheHostsTexts) {
  expect_the_hosts_texts(*make_engine());
}

TEST_F(ChainsOnADevice, RowsOfAllKindsShareAStep) {
  const auto engine = make_engine();
  const auto vocab = static_cast<size_t>(engine->model().info().vocab_size);
  // A grammar that allows one token; a bias that forbids all; one that has too many changes for the
  // device and forbids all but one; and a plain draw.
  std::vector<uint32_t> allowed((vocab + 31) / 32, 0);
  allowed[1] = 1u << 8;
  SamplingParams none{.top_k = 5}, one{.top_p = 0.5f};
  for (size_t token = 0; token < vocab; ++token) {
    none.logit_bias.emplace_back(static_cast<Token>(token), -INFINITY);
    if (token != 77) one.logit_bias.emplace_back(static_cast<Token>(token), -INFINITY);
  }
  ASSERT_GT(static_cast<int64_t>(2 * vocab - 1), engine->max_changes());
  const Sampler samplers[] = {Sampler({.top_p = 0.9f}), Sampler(none), Sampler(one),
                              Sampler({.seed = 3})};
  std::vector<Sequence> sequences;
  std::vector<StepItem> items;
  std::vector<StepSampler::Row> rows;
  std::vector<std::pair<PageId, PageId>> copies;
  const std::vector<Token> tokens = {5, 6, 7};
  for (int i = 0; i < 4; ++i) sequences.emplace_back(engine->pages());
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(sequences[i].reserve(3, copies).ok());
    items.push_back({.sequence = &sequences[i], .tokens = tokens});
    rows.push_back({.sampler = &samplers[i]});
  }
  rows[0].constrained = true;
  StepSampler steps(*engine, nullptr, true);
  ASSERT_TRUE(steps.run(items, rows, [&] { rows[0].allowed = allowed; }).ok());
  ASSERT_TRUE(rows[0].status.ok()) << rows[0].status.error().message;
  EXPECT_EQ(rows[0].sampled.token, 40);
  ASSERT_FALSE(rows[1].status.ok());
  EXPECT_EQ(rows[1].status.error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(rows[2].status.ok()) << rows[2].status.error().message;
  EXPECT_EQ(rows[2].sampled.token, 77);
  EXPECT_TRUE(rows[3].status.ok());
}

}  // namespace
}  // namespace realm
