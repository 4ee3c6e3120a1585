// Chains of samplers where the rows of logits are (ops/sample_tokens.h) against the host's samplers
// over the rows themselves: the same tokens for the same seeds, so the same distribution. For any
// backend; the caller names it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/step_sampler.h"
#include "ops/sample_row.h"

namespace realm {

inline std::string newline_every_tenth(Token token) {
  return token % 10 == 0 ? "\n" : "word";
}

inline const std::vector<SamplingParams>& chains_to_try() {
  static const std::vector<SamplingParams> kChains = {
      {.temperature = 0, .repeat_penalty = 1.3f, .frequency_penalty = 0.5f},
      {.temperature = 0, .presence_penalty = -1.5f, .logit_bias = {{3, 9.0f}, {70, -1.0f}}},
      {.temperature = 0, .repeat_penalty = 1.1f, .dry_multiplier = 3.0f, .dry_allowed_length = 1},
      {.temperature = 0, .logit_bias = {{3, 100.0f}}},
      {.top_k = 40},
      {.top_k = 400},
      {.top_p = 0.3f},
      {.top_p = 0.97f},
      {.top_p = 0.1f, .min_keep = 10},
      {.min_p = 0.1f},
      {.min_p = 0.001f},
      {.typical_p = 0.5f},
      {.typical_p = 0.9f, .min_keep = 200},
      {.top_n_sigma = 1.5f},
      {.xtc_probability = 0.5f, .xtc_threshold = 0.02f},
      {.temperature = 0.7f, .frequency_penalty = 0.2f},
      {.temperature = 1.0f, .dynatemp_range = 0.5f, .dynatemp_exponent = 1.5f},
      {.temperature = 1.4f, .mirostat = 2, .mirostat_tau = 3.0f},
      {.mirostat = 2, .mirostat_tau = 6.0f, .repeat_penalty = 1.2f},
      {.dry_multiplier = 1.5f, .dry_allowed_length = 1},
      {.logit_bias = {{5, 3.0f}, {17, -4.0f}, {1999, 2.0f}}},
      {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f},
      {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .repeat_penalty = 1.1f},
      {.temperature = 1.2f, .min_p = 0.02f, .xtc_probability = 0.5f, .dry_multiplier = 0.8f},
      {.temperature = 2.0f, .top_p = 0.8f, .samplers = {"temperature", "top_p"}},
      {.top_k = 40, .repeat_penalty = 1.3f, .samplers = {"top_k", "penalties"}},
      {.temperature = 0.8f,
       .top_p = 0.9f,
       .dry_multiplier = 0.8f,
       .dry_allowed_length = 1,
       .samplers = {"top_p", "dry", "temperature"}},
      {.temperature = 0.9f,
       .top_k = 300,
       .top_p = 0.95f,
       .min_p = 0.01f,
       .typical_p = 0.95f,
       .top_n_sigma = 3.0f,
       .xtc_probability = 0.3f,
       .repeat_penalty = 1.05f},
  };
  return kChains;
}

// The tokens of rows [rows, n] by TopCandidates and SampleTokens.
class DeviceRows {
 public:
  DeviceRows(Backend& backend, int64_t rows, int64_t n)
      : backend_(backend), rows_(rows), n_(n), k_(std::min(TopCandidates::kMost, n)) {
    const auto take = [&](DType type, int64_t count, int64_t columns) {
      buffers_.push_back(backend_.allocate(static_cast<size_t>(count * columns * 4)).value());
      return make_view(buffers_.back().data.get(), type, {count, columns});
    };
    top_ = {.x = take(DType::kF32, rows, n),
            .draws = take(DType::kF32, rows, 2),
            .values = take(DType::kF32, rows, k_),
            .tokens = take(DType::kI32, rows, 1 + k_),
            .sums = take(DType::kF32, rows, 2)};
    sample_ = {.x = top_.x,
               .values = top_.values,
               .tokens = top_.tokens,
               .sums = top_.sums,
               .settings = take(DType::kI32, rows, SampleRow::kWords),
               .changes = take(DType::kI32, kMaxChanges, 2),
               .work = take(DType::kF32, rows, n),
               .chosen = make_view(take(DType::kI32, rows, 1).data, DType::kI32, {rows}),
               .facts = take(DType::kF32, rows, 2)};
  }

  static constexpr int64_t kMaxChanges = 1 << 16;

  std::vector<DeviceChoice> choose(const std::vector<float>& logits,
                                   const std::vector<SampleRow>& chains,
                                   const std::vector<LogitChange>& changes) {
    const std::vector<DeviceDraw> draws(chains.size());
    upload(top_.x, std::as_bytes(std::span(logits)));
    upload(top_.draws, std::as_bytes(std::span(draws)));
    upload(sample_.settings, std::as_bytes(std::span(chains)));
    upload(sample_.changes, std::as_bytes(std::span(changes)));
    const std::vector<Op> ops = {top_, sample_};
    EXPECT_TRUE(backend_.run(ops).ok());
    std::vector<Token> chosen(chains.size());
    std::vector<float> facts(2 * chains.size());
    EXPECT_TRUE(
        backend_.download(std::as_writable_bytes(std::span(chosen)), sample_.chosen.data).ok());
    EXPECT_TRUE(
        backend_.download(std::as_writable_bytes(std::span(facts)), sample_.facts.data).ok());
    std::vector<DeviceChoice> choices;
    for (size_t i = 0; i < chosen.size(); ++i) {
      choices.push_back({chosen[i], facts[2 * i], facts[2 * i + 1]});
    }
    return choices;
  }

 private:
  void upload(const TensorView& to, std::span<const std::byte> bytes) {
    EXPECT_TRUE(bytes.empty() || backend_.upload(to.data, bytes).ok());
  }

  Backend& backend_;
  int64_t rows_, n_, k_;
  std::vector<Buffer> buffers_;
  TopCandidates top_;
  SampleTokens sample_;
};

// `spread` of the rows' logits: with 3 the best 128 of a few thousand have most of the weight.
inline void expect_the_samplers_tokens(Backend& backend, int64_t n, float spread, int steps) {
  constexpr size_t kRows = 16;
  DeviceRows device(backend, kRows, n);
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, spread);
  for (size_t c = 0; c < chains_to_try().size(); ++c) {
    SCOPED_TRACE(testing::Message() << "chain " << c << ", n " << n << ", spread " << spread);
    std::vector<Sampler> samplers;
    for (size_t row = 0; row < kRows; ++row) {
      SamplingParams params = chains_to_try()[c];
      params.seed = 100 * c + row;
      samplers.emplace_back(params, newline_every_tenth);
      for (int i = 0; i < 40; ++i) samplers[row].accept_prompt(static_cast<Token>(random() % 30));
    }
    const bool greedy = chains_to_try()[c].temperature == 0;
    int others = 0;
    std::vector<float> logits(kRows * static_cast<size_t>(n));
    Candidates scratch;
    for (int step = 0; step < steps; ++step) {
      for (float& logit : logits) logit = normal(random);
      std::vector<SampleRow> chains(kRows);
      std::vector<LogitChange> changes;
      for (size_t row = 0; row < kRows; ++row) {
        EXPECT_TRUE(samplers[row].device_row(chains[row], changes, DeviceRows::kMaxChanges));
      }
      const std::vector<DeviceChoice> choices = device.choose(logits, chains, changes);
      for (size_t row = 0; row < kRows; ++row) {
        const auto own =
            std::span(logits).subspan(row * static_cast<size_t>(n), static_cast<size_t>(n));
        const Sampled sampled = samplers[row].sample(own, {}, scratch).value();
        samplers[row].accept(sampled);
        if (choices[row].token != sampled.token) {
          ++others;
          continue;
        }
        EXPECT_EQ(choices[row].logit, own[static_cast<size_t>(sampled.token)]);
        EXPECT_NEAR(choices[row].surprise, sampled.surprise, 1e-3);
      }
    }
    // Where a share falls next to the edge of a token's part, rounding decides.
    EXPECT_LE(others, greedy ? 0 : 1 + steps * static_cast<int>(kRows) / 200);
  }
}

inline std::vector<Token> text_of(Engine& engine, const SamplingParams& params, bool summaries,
                                  int64_t* rows_fetched = nullptr) {
  Sequence sequence(engine.pages());
  Sampler sampler(params, newline_every_tenth);
  StepSampler steps(engine, nullptr, summaries);
  std::vector<std::pair<PageId, PageId>> copies;
  std::vector<Token> run = {5, 90, 17, 90, 17, 33}, text;
  for (const Token token : run) sampler.accept_prompt(token);
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(sequence.reserve(static_cast<int64_t>(run.size()), copies).ok());
    const StepItem item{.sequence = &sequence, .tokens = run};
    StepSampler::Row row{.sampler = &sampler};
    EXPECT_TRUE(steps.run({&item, 1}, {&row, 1}).ok());
    EXPECT_TRUE(row.status.ok()) << row.status.error().message;
    sampler.accept(row.sampled);
    text.push_back(row.sampled.token);
    run = {row.sampled.token};
  }
  if (rows_fetched != nullptr) *rows_fetched += steps.rows_fetched();
  return text;
}

// Greedy texts are the very same; of the others, drawn with weights that were rounded otherwise,
// nearly all begin alike and all are of tokens that there are.
inline void expect_the_hosts_texts(Engine& engine) {
  int64_t rows_fetched = 0;
  int same = 0, drawn = 0;
  for (size_t c = 0; c < chains_to_try().size(); ++c) {
    SamplingParams params = chains_to_try()[c];
    params.seed = c;
    params.logprobs = true;
    params.top_logprobs = 5;
    ASSERT_TRUE(validate(params, engine.model().info().vocab_size).ok());
    const std::vector<Token> host = text_of(engine, params, false);
    const std::vector<Token> device = text_of(engine, params, true, &rows_fetched);
    for (const Token token : device) {
      EXPECT_GE(token, 0);
      EXPECT_LT(token, engine.model().info().vocab_size);
    }
    if (params.temperature == 0) {
      EXPECT_EQ(device, host) << "chain " << c;
    } else {
      ++drawn;
      same += std::equal(device.begin(), device.begin() + 10, host.begin()) ? 1 : 0;
    }
  }
  EXPECT_EQ(rows_fetched, 0);
  EXPECT_GE(same, drawn - 2);
}

}  // namespace realm
