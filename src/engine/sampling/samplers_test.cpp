// Each sampler against a plain formulation of its definition: probabilities in double with the C
// library's functions, whole sorts, quadratic searches. Every case runs on the dense form, on an
// unsorted list and on a sorted list.
#include "engine/sampling/samplers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

namespace realm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Kept = std::map<Token, double>;  // token -> logit

std::vector<float> random_logits(size_t n, uint64_t seed, double spread) {
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; ++i) {
    // A sum of uniforms: bell-shaped, as real rows are.
    double sum = 0.0;
    for (uint64_t j = 0; j < 6; ++j) sum += uniform_draw(seed, i * 6 + j, DrawPurpose::kToken);
    logits[i] = static_cast<float>((sum - 3.0) * spread);
  }
  if (n > 4) logits[n / 3] = -kInfinity;
  return logits;
}

Kept finite(const std::vector<float>& logits) {
  Kept kept;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) kept[static_cast<Token>(i)] = logits[i];
  }
  return kept;
}

std::map<Token, double> probabilities(const Kept& kept) {
  double max = -1e300, sum = 0.0;
  for (const auto& [token, logit] : kept) max = std::max(max, logit);
  std::map<Token, double> p;
  for (const auto& [token, logit] : kept) sum += p[token] = std::exp(logit - max);
  for (auto& [token, value] : p) value /= sum;
  return p;
}

double entropy(const std::map<Token, double>& p) {
  double sum = 0.0;
  for (const auto& [token, value] : p) sum -= value > 0.0 ? value * std::log(value) : 0.0;
  return sum;
}

std::vector<Token> by(const std::map<Token, double>& score, bool descending) {
  std::vector<Token> tokens;
  for (const auto& [token, value] : score) tokens.push_back(token);
  std::stable_sort(tokens.begin(), tokens.end(), [&](Token a, Token b) {
    return descending ? score.at(a) > score.at(b) : score.at(a) < score.at(b);
  });
  return tokens;
}

Kept only(const Kept& kept, std::span<const Token> tokens) {
  Kept result;
  for (const Token token : tokens) result[token] = kept.at(token);
  return result;
}

// The first tokens of `order` whose probabilities reach `wanted`, at least min_keep.
Kept until(const Kept& kept, const std::vector<Token>& order, double wanted, int min_keep) {
  const auto p = probabilities(kept);
  double sum = 0.0;
  std::vector<Token> taken;
  for (const Token token : order) {
    taken.push_back(token);
    sum += p.at(token);
    if (sum >= wanted && static_cast<int>(taken.size()) >= min_keep) break;
  }
  return only(kept, taken);
}

enum class Form { kDense, kList, kSorted };

Kept run(const std::vector<float>& logits, Form form, const std::function<void(Candidates&)>& f) {
  Candidates candidates;
  CHECK(candidates.reset(logits).ok());
  if (form != Form::kDense) {
    std::vector<Candidate> list;
    for (const auto& [token, logit] : finite(logits)) {
      list.push_back({static_cast<float>(logit), token});
    }
    if (form == Form::kSorted) std::sort(list.begin(), list.end(), better);
    candidates.assign(list, form == Form::kSorted);
  }
  f(candidates);
  Kept kept;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates.logits()[i] > -kInfinity) {
      EXPECT_TRUE(kept.emplace(candidates.token(i), candidates.logits()[i]).second);
    }
  }
  if (candidates.is_sorted()) {
    for (size_t i = 1; i < candidates.size(); ++i) {
      EXPECT_GE(candidates.logits()[i - 1], candidates.logits()[i]);
    }
  }
  return kept;
}

using Apply = void (*)(Candidates&, const Step&);

void expect_same(const std::vector<float>& logits, const SamplingParams& params, Apply apply,
                 const std::function<Kept(const Kept&)>& definition,
                 const std::vector<Token>& past = {}, TokenText text = {}) {
  ASSERT_TRUE(validate(params, static_cast<int64_t>(logits.size())).ok())
      << validate(params, static_cast<int64_t>(logits.size())).error().message;
  History history(params, std::move(text));
  for (const Token token : past) history.push(token);
  const Step step{params, history, past.size()};
  const Kept want = definition(finite(logits));
  for (const Form form : {Form::kDense, Form::kList, Form::kSorted}) {
    const Kept got = run(logits, form, [&](Candidates& c) { apply(c, step); });
    ASSERT_EQ(got.size(), want.size()) << "form " << static_cast<int>(form);
    for (const auto& [token, logit] : want) {
      ASSERT_TRUE(got.contains(token)) << token;
      EXPECT_NEAR(got.at(token), logit, 1e-5 * std::max(1.0, std::abs(logit))) << token;
    }
  }
}

// Rows of several sizes and temperatures of the model.
void for_each_row(const std::function<void(const std::vector<float>&)>& f) {
  for (const size_t n : {1u, 2u, 10u, 200u, 3000u}) {
    for (const double spread : {0.01, 1.0, 6.0}) {
      for (uint64_t seed = 0; seed < 3; ++seed) f(random_logits(n, seed * 31 + n, spread));
    }
  }
}

TEST(Samplers, TopK) {
  for_each_row([](const std::vector<float>& logits) {
    for (const int k : {1, 2, 40, 5000}) {
      expect_same(logits, {.top_k = k}, apply_top_k, [&](const Kept& kept) {
        auto order = by(kept, true);
        order.resize(std::min(order.size(), static_cast<size_t>(k)));
        return only(kept, order);
      });
    }
  });
}

TEST(Samplers, TopP) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float p : {0.0f, 0.1f, 0.5f, 0.9f, 0.999f}) {
      for (const int min_keep : {0, 5}) {
        expect_same(logits, {.top_p = p, .min_keep = min_keep}, apply_top_p,
                    [&](const Kept& kept) { return until(kept, by(kept, true), p, min_keep); });
      }
    }
  });
}

TEST(Samplers, MinP) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float p : {0.01f, 0.2f, 1.0f}) {
      for (const int min_keep : {0, 5}) {
        expect_same(logits, {.min_p = p, .min_keep = min_keep}, apply_min_p, [&](const Kept& kept) {
          const auto probability = probabilities(kept);
          const auto order = by(probability, true);
          std::vector<Token> taken;
          for (const Token token : order) {
            const bool likely = probability.at(token) >= p * probability.at(order[0]) * (1 - 1e-12);
            if (likely || static_cast<int>(taken.size()) < min_keep) taken.push_back(token);
          }
          return only(kept, taken);
        });
      }
    }
  });
}

TEST(Samplers, TypicalP) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float p : {0.2f, 0.7f, 0.95f}) {
      for (const int min_keep : {0, 5}) {
        expect_same(logits, {.typical_p = p, .min_keep = min_keep}, apply_typical_p,
                    [&](const Kept& kept) {
                      const auto probability = probabilities(kept);
                      const double h = entropy(probability);
                      std::map<Token, double> oddness;
                      for (const auto& [token, value] : probability) {
                        // In float, as the sampler compares: equal to it is a tie.
                        oddness[token] = static_cast<float>(std::abs(-std::log(value) - h));
                      }
                      return until(kept, by(oddness, false), p, min_keep);
                    });
      }
    }
  });
}

TEST(Samplers, TopNSigma) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float n : {0.5f, 1.0f, 3.0f}) {
      expect_same(logits, {.top_n_sigma = n}, apply_top_n_sigma, [&](const Kept& kept) {
        double mean = 0.0, square = 0.0, max = -1e300;
        for (const auto& [token, logit] : kept) {
          mean += logit / static_cast<double>(kept.size());
          max = std::max(max, logit);
        }
        for (const auto& [token, logit] : kept) square += (logit - mean) * (logit - mean);
        const double sigma = std::sqrt(square / static_cast<double>(kept.size()));
        Kept result;
        for (const auto& [token, logit] : kept) {
          if (logit >= max - n * sigma) result[token] = logit;
        }
        return result;
      });
    }
  });
}

TEST(Samplers, Xtc) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float threshold : {0.0f, 0.02f, 0.1f, 0.4f}) {
      for (const int min_keep : {0, 4}) {
        const SamplingParams params{
            .xtc_probability = 1.0f, .xtc_threshold = threshold, .min_keep = min_keep};
        expect_same(logits, params, apply_xtc, [&](const Kept& kept) {
          const auto probability = probabilities(kept);
          const auto order = by(kept, true);
          size_t num_likely = 0;
          while (num_likely < order.size() && probability.at(order[num_likely]) >= threshold) {
            ++num_likely;
          }
          if (num_likely < 2) return kept;
          const auto rest = std::span(order).subspan(num_likely - 1);
          if (rest.size() < static_cast<size_t>(min_keep)) return kept;
          return only(kept, rest);
        });
      }
    }
  });
}

TEST(Samplers, XtcActsAsOftenAsAsked) {
  const std::vector<float> logits = {2.0f, 1.9f, -1.0f};
  const SamplingParams params{.xtc_probability = 0.3f, .xtc_threshold = 0.1f, .seed = 5};
  const History history(params, {});
  int acted = 0;
  constexpr int kSteps = 4000;
  for (uint64_t i = 0; i < kSteps; ++i) {
    const Step step{params, history, i};
    acted += run(logits, Form::kDense, [&](Candidates& c) { apply_xtc(c, step); }).size() == 2;
  }
  EXPECT_NEAR(acted, 0.3 * kSteps, 3.5 * std::sqrt(kSteps * 0.3 * 0.7));
}

TEST(Samplers, Temperature) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float t : {0.3f, 1.7f, 100.0f}) {
      expect_same(logits, {.temperature = t}, apply_temperature, [&](const Kept& kept) {
        Kept result = kept;
        for (auto& [token, logit] : result) logit /= t;
        return result;
      });
    }
    expect_same(logits, {.temperature = 0.0f}, apply_temperature,
                [](const Kept& kept) { return only(kept, std::vector<Token>{by(kept, true)[0]}); });
  });
}

TEST(Samplers, TemperatureOfExtremeLogitsDoesNotOverflow) {
  const std::vector<float> logits = {1e38f, 3e38f, -3e38f};
  for (const float t : {1e-3f, 1e-5f}) {
    expect_same(logits, {.temperature = t}, apply_temperature, [](const Kept&) {
      return Kept{{1, 3e38f}};
    });
  }
}

TEST(Samplers, DynamicTemperature) {
  for_each_row([](const std::vector<float>& logits) {
    for (const float range : {0.5f, 2.0f}) {
      for (const float exponent : {0.5f, 1.0f, 2.0f}) {
        const SamplingParams params{
            .temperature = 1.0f, .dynatemp_range = range, .dynatemp_exponent = exponent};
        expect_same(logits, params, apply_temperature, [&](const Kept& kept) {
          const double most = std::log(static_cast<double>(kept.size()));
          const double share = kept.size() < 2 ? 0.0 : entropy(probabilities(kept)) / most;
          const double low = std::max(0.0, 1.0 - range), high = 1.0 + range;
          const double t = low + (high - low) * std::pow(share, exponent);
          if (t < 1e-6) return only(kept, std::vector<Token>{by(kept, true)[0]});
          Kept result = kept;
          for (auto& [token, logit] : result) logit /= t;
          return result;
        });
      }
    }
  });
}

TEST(Samplers, Penalties) {
  const std::vector<float> logits = random_logits(50, 3, 3.0);
  std::vector<Token> past;
  for (uint64_t i = 0; i < 90; ++i) {
    past.push_back(static_cast<Token>(uniform_draw(8, i, DrawPurpose::kToken) * 30));
  }
  for (const int last_n : {-1, 1, 7, 64, 1000}) {
    const SamplingParams params{.repeat_penalty = 1.3f,
                                .presence_penalty = 0.4f,
                                .frequency_penalty = -0.2f,
                                .repeat_last_n = last_n};
    expect_same(
        logits, params, apply_penalties,
        [&](const Kept& kept) {
          Kept result = kept;
          for (auto& [token, logit] : result) {
            const size_t n =
                last_n < 0 ? past.size() : std::min(past.size(), static_cast<size_t>(last_n));
            const auto count =
                std::count(past.end() - static_cast<ptrdiff_t>(n), past.end(), token);
            if (count == 0) continue;
            logit = logit > 0 ? logit / 1.3 : logit * 1.3;
            logit -= 0.4 - 0.2 * static_cast<double>(count);
          }
          return result;
        },
        past);
  }
}

TEST(Samplers, PenaltiesNeverDropOrOverflow) {
  const std::vector<float> logits = {3e38f, -3e38f, -kInfinity, 0.0f};
  for (const float penalty : {0.001f, 100.0f}) {
    const SamplingParams params{.repeat_penalty = penalty};
    History history(params, {});
    for (Token t = 0; t < 4; ++t) history.push(t);
    const Kept got = run(logits, Form::kDense, [&](Candidates& c) {
      apply_penalties(c, Step{params, history, 0});
    });
    EXPECT_EQ(got.size(), 3u);
    for (const auto& [token, logit] : got) EXPECT_TRUE(std::isfinite(logit));
  }
}

// Token t's text: letters, with the breakers "!" (token 9) and "ab" (token 1 and then token 2).
std::string_view letter(Token token) {
  static constexpr std::string_view kText[] = {"x", "a", "b", "c", "d", "e", "f", "g", "h", "oh!"};
  return kText[token];
}

Kept dry_definition(const Kept& kept, const SamplingParams& params,
                    const std::vector<Token>& past) {
  const size_t n = params.dry_penalty_last_n < 0
                       ? past.size()
                       : std::min(past.size(), static_cast<size_t>(params.dry_penalty_last_n));
  const std::vector<Token> window(past.end() - static_cast<ptrdiff_t>(n), past.end());
  // Tokens after the last one within which a breaker's text ends.
  size_t reach = window.size();
  for (size_t i = past.size(); i-- > past.size() - n;) {
    const bool ab = past[i] == 2 && i > 0 && past[i - 1] == 1;
    if (past[i] == 9 || ab) {
      reach = past.size() - 1 - i;
      break;
    }
  }
  Kept result = kept;
  for (auto& [token, logit] : result) {
    if (token == 9) continue;
    size_t longest = 0;
    bool seen = false;
    for (size_t at = 0; at < window.size(); ++at) {
      if (window[at] != token) continue;
      size_t length = 0;
      while (length < at && length < reach &&
             window[at - 1 - length] == window[window.size() - 1 - length]) {
        ++length;
      }
      longest = std::max(longest, length);
      seen = seen || at > 0;  // the window's first token continues nothing
    }
    const auto allowed = static_cast<size_t>(params.dry_allowed_length);
    if (!seen || longest < allowed || reach < allowed) continue;
    logit -=
        params.dry_multiplier * std::pow(params.dry_base, static_cast<double>(longest - allowed));
  }
  return result;
}

TEST(Samplers, Dry) {
  const std::vector<float> logits = random_logits(10, 4, 2.0);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::vector<Token> past;
    const int num_distinct = 2 + static_cast<int>(seed % 8);  // few: long repeats
    for (uint64_t i = 0; i < 40; ++i) {
      const double u = uniform_draw(seed, i, DrawPurpose::kToken);
      const auto token = static_cast<Token>(u * num_distinct);
      past.push_back(seed % 4 == 0 && i % 17 == 5 ? 9 : token);
    }
    for (const int last_n : {-1, 10, 25}) {
      for (const int allowed : {0, 1, 2, 4}) {
        const SamplingParams params{.dry_multiplier = 0.8f,
                                    .dry_base = 1.2f,
                                    .dry_allowed_length = allowed,
                                    .dry_penalty_last_n = last_n,
                                    .dry_sequence_breakers = {"!", "ab"}};
        expect_same(
            logits, params, apply_dry,
            [&](const Kept& kept) { return dry_definition(kept, params, past); }, past, letter);
      }
    }
  }
}

TEST(Samplers, DryKeepsPenalizedTokensPossible) {
  const std::vector<float> logits = {1.0f, 0.0f, -kInfinity};
  const SamplingParams params{.dry_multiplier = 100.0f, .dry_base = 100.0f};
  History history(params, {});
  for (int i = 0; i < 5000; ++i) history.push(0);
  const Kept got = run(logits, Form::kDense, [&](Candidates& c) {
    apply_dry(c, Step{params, history, 0});
  });
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got.at(0), std::numeric_limits<float>::lowest());
  EXPECT_EQ(got.at(1), 0.0);
}

TEST(Samplers, Mirostat) {
  for_each_row([](const std::vector<float>& logits) {
    for (const double mu : {0.5, 3.0, 9.0}) {
      const Kept kept = finite(logits);
      const auto probability = probabilities(kept);
      const auto order = by(kept, true);
      std::vector<Token> taken = {order[0]};
      for (size_t i = 1; i < order.size(); ++i) {
        if (-std::log2(probability.at(order[i])) <= mu) taken.push_back(order[i]);
      }
      const Kept want = only(kept, taken);
      for (const Form form : {Form::kDense, Form::kList, Form::kSorted}) {
        EXPECT_EQ(run(logits, form, [&](Candidates& c) { apply_mirostat(c, mu); }), want);
      }
    }
  });
}

TEST(Samplers, TableIsWhole) {
  for (const SamplerRow& row : samplers_table()) {
    EXPECT_EQ(find_sampler(row.name), &row);
    EXPECT_FALSE(row.active(SamplingParams{})) << row.name << " is on by default";
  }
  EXPECT_EQ(find_sampler("typ_p"), find_sampler("typical_p"));
  EXPECT_EQ(find_sampler(""), nullptr);
}

}  // namespace
}  // namespace realm
