#include "engine/sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace realm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Sampled sample(const Sampler& sampler, const std::vector<float>& logits,
               std::span<const uint32_t> allowed = {}) {
  Candidates scratch;
  auto sampled = sampler.sample(logits, allowed, scratch);
  CHECK(sampled.ok());
  return std::move(sampled).value();
}

// Draws many tokens from one row and compares their counts with the wanted probabilities.
void expect_distribution(const std::vector<float>& logits, SamplingParams params,
                         const std::map<Token, double>& want,
                         std::span<const uint32_t> allowed = {}) {
  constexpr int kDraws = 20000;
  params.seed = 1234;
  ASSERT_TRUE(validate(params, static_cast<int64_t>(logits.size())).ok());
  Sampler sampler(params);
  std::map<Token, int> counts;
  for (int i = 0; i < kDraws; ++i) {
    const Sampled sampled = sample(sampler, logits, allowed);
    ++counts[sampled.token];
    sampler.accept(sampled);
  }
  double chi_square = 0.0;
  int degrees = -1;
  for (const auto& [token, p] : want) {
    const double expected = p * kDraws;
    ASSERT_GT(expected, 5.0);
    chi_square += std::pow(counts[token] - expected, 2) / expected;
    ++degrees;
  }
  for (const auto& [token, count] : counts) EXPECT_TRUE(want.contains(token)) << token;
  // Wilson and Hilferty's approximation of the quantile at p = 0.001.
  const double k = std::max(degrees, 1);
  const double quantile =
      k * std::pow(1.0 - 2.0 / (9.0 * k) + 3.09 * std::sqrt(2.0 / (9.0 * k)), 3);
  EXPECT_LT(chi_square, quantile);
}

std::map<Token, double> softmax(const std::map<Token, double>& logits) {
  double sum = 0.0;
  std::map<Token, double> p;
  for (const auto& [token, logit] : logits) sum += p[token] = std::exp(logit);
  for (auto& [token, value] : p) value /= sum;
  return p;
}

const std::vector<float> kLogits = {1.0f, 2.0f, 0.0f, -1.0f, 1.5f, 0.5f};

TEST(Sampler, PlainDistribution) {
  expect_distribution(kLogits, {},
                      softmax({{0, 1.0}, {1, 2.0}, {2, 0.0}, {3, -1.0}, {4, 1.5}, {5, 0.5}}));
}

TEST(Sampler, DistributionOfAWideRow) {
  // Several blocks of the draw's search: tokens 0, 64, 128, ... alone have weight.
  std::vector<float> logits(1000, -kInfinity);
  std::map<Token, double> want;
  for (size_t i = 3; i < logits.size(); i += 61) {
    logits[i] = static_cast<float>(i % 5) * 0.5f;
    want[static_cast<Token>(i)] = logits[i];
  }
  expect_distribution(logits, {}, softmax(want));
}

TEST(Sampler, DistributionAfterEachSampler) {
  expect_distribution(kLogits, {.temperature = 0.5f},
                      softmax({{0, 2.0}, {1, 4.0}, {2, 0.0}, {4, 3.0}, {5, 1.0}, {3, -2.0}}));
  expect_distribution(kLogits, {.top_k = 3}, softmax({{0, 1.0}, {1, 2.0}, {4, 1.5}}));
  expect_distribution(kLogits, {.top_p = 0.6f}, softmax({{1, 2.0}, {4, 1.5}}));
  expect_distribution(kLogits, {.min_p = 0.3f}, softmax({{0, 1.0}, {1, 2.0}, {4, 1.5}}));
  expect_distribution(kLogits, {.top_n_sigma = 1.1f}, softmax({{0, 1.0}, {1, 2.0}, {4, 1.5}}));
  expect_distribution(kLogits, {.xtc_probability = 1.0f, .xtc_threshold = 0.2f},
                      softmax({{0, 1.0}, {2, 0.0}, {3, -1.0}, {4, 1.5}, {5, 0.5}}));
  expect_distribution(kLogits, {.logit_bias = {{1, -kInfinity}, {3, 2.5f}, {2, -100.0f}}},
                      softmax({{0, 1.0}, {3, 1.5}, {4, 1.5}, {5, 0.5}}));
}

TEST(Sampler, OrderOfSamplers) {
  // Temperature first flattens what top_p sees; last, it does not.
  SamplingParams params{.temperature = 4.0f, .top_p = 0.6f};
  expect_distribution(kLogits, params, softmax({{1, 0.5}, {4, 0.375}}));
  params.samplers = {"temperature", "top_p"};
  expect_distribution(kLogits, params, softmax({{0, 0.25}, {1, 0.5}, {4, 0.375}}));
  // What the list leaves out does not apply.
  params.samplers = {"top_k"};
  expect_distribution(kLogits, params,
                      softmax({{0, 1.0}, {1, 2.0}, {2, 0.0}, {3, -1.0}, {4, 1.5}, {5, 0.5}}));
}

TEST(Sampler, MaskedDistribution) {
  const std::vector<uint32_t> allowed = {0b101101};
  expect_distribution(kLogits, {}, softmax({{0, 1.0}, {2, 0.0}, {3, -1.0}, {5, 0.5}}), allowed);
  EXPECT_EQ(sample(Sampler({.temperature = 0.0f}), kLogits, allowed).token, 0);
}

TEST(Sampler, SeedDecidesEverything) {
  const auto text = [](uint64_t seed) {
    Sampler sampler({.seed = seed});
    std::vector<Token> tokens;
    for (int i = 0; i < 50; ++i) {
      const Sampled sampled = sample(sampler, kLogits);
      EXPECT_EQ(sample(sampler, kLogits).token, sampled.token) << "sample() changed the state";
      tokens.push_back(sampled.token);
      sampler.accept(sampled);
    }
    return tokens;
  };
  EXPECT_EQ(text(7), text(7));
  EXPECT_NE(text(7), text(8));
  // The same on every machine, compiler and release.
  const std::vector<Token> first = text(7);
  EXPECT_EQ(std::vector<Token>(first.begin(), first.begin() + 12),
            (std::vector<Token>{4, 4, 0, 1, 5, 1, 1, 1, 5, 0, 5, 4}));
}

TEST(Sampler, PromptDoesNotMoveTheSeed) {
  Sampler a({.seed = 3}), b({.seed = 3});
  for (Token t = 0; t < 5; ++t) b.accept_prompt(t);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(sample(a, kLogits).token, sample(b, kLogits).token);
    a.accept_forced(0);
    b.accept_forced(1);
  }
  EXPECT_EQ(a.num_generated(), 20u);
}

TEST(Sampler, GreedyTakesTheBestAfterBiasAndPenalties) {
  SamplingParams params{
      .temperature = 0.0f, .top_k = 1, .typical_p = 0.01f, .xtc_probability = 1.0f};
  EXPECT_EQ(sample(Sampler(params), kLogits).token, 1);
  params.logit_bias = {{3, 100.0f}};
  EXPECT_EQ(sample(Sampler(params), kLogits).token, 3);
  params.logit_bias = {};
  params.presence_penalty = 2.0f;
  Sampler sampler(params);
  sampler.accept_prompt(1);
  EXPECT_EQ(sample(sampler, kLogits).token, 4);
  // Ties go to the lowest token.
  EXPECT_EQ(sample(Sampler({.temperature = 0.0f}), {0.0f, 5.0f, 5.0f, 5.0f}).token, 1);
}

TEST(Sampler, LogprobsAreTheModels) {
  const SamplingParams params{
      .temperature = 0.0f, .logprobs = true, .top_logprobs = 3, .logit_bias = {{3, 100.0f}}};
  const std::vector<float> logits = {1.0f, 2.0f, -kInfinity, -1.0f, 2.0f};
  const Sampled sampled = sample(Sampler(params), logits);
  const double log_sum = std::log(std::exp(1.0) + 2 * std::exp(2.0) + std::exp(-1.0));
  EXPECT_EQ(sampled.token, 3);
  EXPECT_NEAR(sampled.logprob, -1.0 - log_sum, 1e-6);
  ASSERT_EQ(sampled.top.size(), 3u);
  EXPECT_EQ(sampled.top[0].token, 1);
  EXPECT_EQ(sampled.top[1].token, 4);
  EXPECT_EQ(sampled.top[2].token, 0);
  EXPECT_NEAR(sampled.top[0].logprob, 2.0 - log_sum, 1e-6);
  EXPECT_NEAR(sampled.top[2].logprob, 1.0 - log_sum, 1e-6);
  // The rest of the vocabulary when more are asked for than there are.
  SamplingParams all = params;
  all.top_logprobs = 20;
  EXPECT_EQ(sample(Sampler(all), logits).top.size(), 4u);
  EXPECT_TRUE(sample(Sampler({.temperature = 0.0f}), logits).top.empty());
  // Log probabilities are finite, whatever the logits.
  const Sampled tiny = sample(Sampler({.logprobs = true, .top_logprobs = 2}), {3e38f, -3e38f});
  EXPECT_EQ(tiny.top[1].logprob, kLowestLogprob);
}

TEST(Sampler, MirostatHoldsTheSurprise) {
  std::vector<float> logits(2000);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(-1.1 * std::log(1.0 + static_cast<double>(i)));  // Zipf's law
  }
  for (const float tau : {2.0f, 4.0f}) {
    Sampler sampler({.mirostat = 2, .mirostat_tau = tau, .seed = 11});
    double surprise = 0.0;
    constexpr int kWarmUp = 200, kSteps = 3000;
    for (int i = 0; i < kWarmUp + kSteps; ++i) {
      const Sampled sampled = sample(sampler, logits);
      if (i >= kWarmUp) surprise += sampled.surprise / kSteps;
      sampler.accept(sampled);
    }
    EXPECT_NEAR(surprise, tau, 0.1);
  }
}

TEST(Sampler, RefusesUnusableLogits) {
  Candidates scratch;
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.temperature = 0.0f}, SamplingParams{.top_p = 0.5f},
        SamplingParams{.mirostat = 2}, SamplingParams{.typical_p = 0.5f}}) {
    const Sampler sampler(params);
    for (const std::vector<float>& logits :
         {std::vector<float>{}, std::vector<float>{1.0f, std::nanf("")},
          std::vector<float>{kInfinity, 1.0f}, std::vector<float>(9, -kInfinity)}) {
      const auto sampled = sampler.sample(logits, {}, scratch);
      ASSERT_FALSE(sampled.ok());
      EXPECT_EQ(sampled.error().code, ErrorCode::kBadModel);
    }
    const std::vector<uint32_t> none = {0u};
    const auto sampled = sampler.sample(kLogits, none, scratch);
    ASSERT_FALSE(sampled.ok());
    EXPECT_EQ(sampled.error().code, ErrorCode::kInvalidArgument);
  }
}

// Every combination of samplers on hostile rows: a token that was possible, or an error.
TEST(Sampler, AnyParametersGiveAPossibleToken) {
  Candidates scratch;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const auto u = [&](uint64_t i) { return uniform_draw(seed, i, DrawPurpose::kToken); };
    SamplingParams params;
    uint64_t draw = 0;
    for (const SamplingField& field : sampling_fields()) {
      if (u(draw++) < 0.5) continue;
      const bool whole = !std::holds_alternative<float SamplingParams::*>(field.member);
      const double top = std::min(field.max, 20.0);
      double value = field.min + u(draw++) * (top - field.min);
      if (whole) value = std::floor(value);
      if (u(draw++) < 0.2) value = u(draw) < 0.5 ? field.max : field.min;
      const Status set = set_sampling_field(params, field, value);
      EXPECT_TRUE(set.ok() || field.name == "mirostat" || field.min_excluded);
    }
    params.logprobs = params.logprobs || params.top_logprobs > 0;
    params.seed = seed;
    std::vector<float> logits(1 + static_cast<size_t>(u(draw++) * 300));
    const double extent = u(draw) < 0.2 ? 3e38 : u(draw) < 0.6 ? 5.0 : 100.0;
    for (float& logit : logits) {
      const double x = u(draw++);
      logit = x < 0.1 ? -kInfinity : static_cast<float>((x - 0.55) * 2 * extent);
    }
    logits[0] = 0.0f;
    ASSERT_TRUE(validate(params, static_cast<int64_t>(logits.size())).ok());
    Sampler sampler(params, [](Token t) { return t % 10 == 0 ? "\n" : "word"; });
    for (int step = 0; step < 30; ++step) {
      const auto sampled = sampler.sample(logits, {}, scratch);
      ASSERT_TRUE(sampled.ok()) << sampled.error().message;
      ASSERT_GE(sampled->token, 0);
      ASSERT_LT(static_cast<size_t>(sampled->token), logits.size());
      EXPECT_GT(logits[static_cast<size_t>(sampled->token)], -kInfinity);
      EXPECT_TRUE(std::isfinite(sampled->surprise));
      EXPECT_TRUE(std::isfinite(sampled->logprob));
      sampler.accept(*sampled);
    }
  }
}

// Rows as a device would tell of them.
struct Summary {
  std::vector<float> logits;
  std::vector<Token> tokens;
  RowSummary row;

  Summary(const std::vector<float>& all, size_t best, const DeviceDraw& draw) {
    std::vector<Candidate> top;
    select_best(all, {}, best, top);
    for (const Candidate& entry : top) {
      logits.push_back(entry.logit);
      tokens.push_back(entry.token);
    }
    double sum = 0, scaled = 0;
    for (const float x : all) sum += std::exp(double{x} - logits[0]);
    for (const float x : all)
      scaled += std::exp((double{x} - logits[0]) * draw.inverse_temperature);
    double left = draw.share * scaled;
    size_t drawn = 0;
    for (; drawn + 1 < all.size(); ++drawn) {
      const double weight = std::exp((double{all[drawn]} - logits[0]) * draw.inverse_temperature);
      if (left < weight) break;
      left -= weight;
    }
    row = {.logits = logits,
           .tokens = tokens,
           .vocab = all.size(),
           .sum = sum,
           .drawn = static_cast<Token>(drawn),
           .drawn_logit = all[drawn]};
  }
};

std::vector<float> random_logits(size_t count, uint64_t seed) {
  std::vector<float> logits(count);
  for (size_t i = 0; i < count; ++i) {
    double sum = 0;
    for (uint64_t k = 0; k < 6; ++k) sum += uniform_draw(seed, 6 * i + k, DrawPurpose::kToken);
    logits[i] = static_cast<float>(4 * (sum - 3));
  }
  return logits;
}

TEST(SamplerOfSummaries, ChoosesWhatTheWholeRowGives) {
  struct Wanted {
    SamplingParams params;
    bool decided;  // mostly, by 128 of 3000
  };
  const std::vector<Wanted> all = {
      {{.temperature = 0}, true},
      {{.temperature = 0, .repeat_penalty = 1.3f, .frequency_penalty = 0.5f}, true},
      {{.temperature = 0, .logit_bias = {{3, 2.0f}, {2999, -1.0f}}}, true},
      {{.temperature = 0, .logit_bias = {{3, 100.0f}}}, false},
      {{.temperature = 0, .logprobs = true, .top_logprobs = 20}, true},
      {{.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f}, true},
      {{.temperature = 0.8f, .top_k = 40, .repeat_penalty = 1.1f}, true},
      {{.temperature = 1.3f, .min_p = 0.2f, .logprobs = true, .top_logprobs = 3}, true},
      {{.temperature = 0.7f}, true},
      {{.temperature = 1.0f, .logprobs = true}, true},
      {{.temperature = 1.0f, .top_p = 0.3f}, true},
      {{.temperature = 1.0f, .top_p = 0.999f}, false},
      {{.temperature = 1.0f, .top_k = 128}, true},
      {{.temperature = 1.0f, .top_k = 129}, false},
      {{.temperature = 1.0f, .top_k = 20, .xtc_probability = 0.5f}, true},
      {{.temperature = 1.0f, .top_k = 30, .typical_p = 0.9f}, true},
      {{.temperature = 1.0f, .typical_p = 0.9f}, false},
      {{.temperature = 1.0f, .top_n_sigma = 1.5f}, false},
      {{.temperature = 1.0f, .mirostat = 2, .mirostat_tau = 3.0f}, true},
      {{.temperature = 1.0f, .frequency_penalty = 0.2f}, false},
      {{.temperature = 1.0f, .dynatemp_range = 0.5f}, false},
      {{.temperature = 1.0f, .dry_multiplier = 0.8f}, false},
  };
  Candidates scratch;
  for (size_t w = 0; w < all.size(); ++w) {
    SamplingParams params = all[w].params;
    params.seed = w;
    ASSERT_TRUE(validate(params, 3000).ok());
    Sampler sampler(params);
    int decided = 0;
    constexpr int kSteps = 50;
    for (int i = 0; i < kSteps; ++i) {
      const std::vector<float> logits = random_logits(3000, 1000 * w + static_cast<uint64_t>(i));
      const Summary summary(logits, 128, sampler.device_draw());
      const Sampled whole = sample(sampler, logits);
      const auto brief = sampler.sample(summary.row, {}, scratch);
      ASSERT_TRUE(brief.ok()) << brief.error().message;
      if (*brief) {
        ++decided;
        EXPECT_EQ((*brief)->token, whole.token) << "parameters " << w << ", step " << i;
        EXPECT_NEAR((*brief)->logprob, whole.logprob, 1e-4);
        ASSERT_EQ((*brief)->top.size(), whole.top.size());
        for (size_t t = 0; t < whole.top.size(); ++t) {
          EXPECT_EQ((*brief)->top[t].token, whole.top[t].token);
          EXPECT_NEAR((*brief)->top[t].logprob, whole.top[t].logprob, 1e-4);
        }
      }
      sampler.accept(whole);
    }
    if (all[w].decided) {
      EXPECT_GT(decided, kSteps / 2) << "parameters " << w;
    } else {
      EXPECT_LT(decided, kSteps / 2) << "parameters " << w;
    }
  }
}

TEST(SamplerOfSummaries, MasksLeaveWhatIsKnown) {
  const std::vector<float> logits = random_logits(3000, 7);
  const Summary summary(logits, 128, {});
  std::vector<uint32_t> allowed((3000 + 31) / 32, 0);
  const auto allow = [&](Token token) {
    allowed[static_cast<size_t>(token) / 32] |= 1u << token % 32;
  };
  Candidates scratch;
  const Sampler greedy({.temperature = 0});
  // Nothing of the best is allowed: the others may be.
  Token outside = 0;
  while (std::find(summary.tokens.begin(), summary.tokens.end(), outside) != summary.tokens.end()) {
    ++outside;
  }
  allow(outside);
  EXPECT_FALSE(greedy.sample(summary.row, allowed, scratch).value().has_value());
  allow(summary.tokens[5]);
  EXPECT_EQ(greedy.sample(summary.row, allowed, scratch).value()->token, summary.tokens[5]);
  // A draw would need to know what is allowed outside.
  const Sampler draws({.temperature = 1.0f});
  EXPECT_FALSE(draws.sample(summary.row, allowed, scratch).value().has_value());
}

TEST(SamplerOfSummaries, RowsThatAreWholeDecideEverything) {
  const std::vector<float> logits = random_logits(100, 9);
  const Summary summary(logits, 128, {});
  Candidates scratch;
  for (SamplingParams params :
       {SamplingParams{.typical_p = 0.5f}, SamplingParams{.top_n_sigma = 1.0f},
        SamplingParams{.frequency_penalty = 1.0f}}) {
    const Sampler sampler(params);
    EXPECT_TRUE(sampler.sample(summary.row, {}, scratch).value().has_value());
  }
}

}  // namespace
}  // namespace realm
