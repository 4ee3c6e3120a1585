#include "engine/sampling/candidates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "engine/sampling/philox.h"

namespace realm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Few distinct values, so that ties are everywhere; some dropped.
std::vector<float> random_logits(size_t n, uint64_t seed, int num_values) {
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; ++i) {
    const int value = static_cast<int>(uniform_draw(seed, i, DrawPurpose::kToken) * num_values);
    logits[i] = value == 0 ? -kInfinity : static_cast<float>(value) * 0.25f - 3.0f;
  }
  logits[n / 2] = 1.0f;
  return logits;
}

std::vector<Candidate> sorted_finite(const std::vector<float>& logits) {
  std::vector<Candidate> all;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) all.push_back({logits[i], static_cast<Token>(i)});
  }
  std::sort(all.begin(), all.end(), better);
  return all;
}

bool same(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](auto x, auto y) { return x.logit == y.logit && x.token == y.token; });
}

TEST(Candidates, SelectBestIsThePrefixOfTheSort) {
  for (const size_t n : {1u, 2u, 15u, 16u, 17u, 100u, 1000u, 5000u}) {
    for (const int num_values : {2, 8, 100000}) {
      const std::vector<float> logits =
          random_logits(n, n + static_cast<size_t>(num_values), num_values);
      for (const size_t k : {size_t{0}, size_t{1}, size_t{2}, size_t{40}, n - 1, n, n + 7}) {
        std::vector<Candidate> want = sorted_finite(logits), got;
        want.resize(std::min(k, want.size()));
        select_best(logits, {}, k, got);
        ASSERT_TRUE(same(got, want)) << n << " of " << num_values << " values, k = " << k;
      }
    }
  }
}

TEST(Candidates, SelectBestHandlesOrderedInput) {
  std::vector<float> rising(3000);
  for (size_t i = 0; i < rising.size(); ++i) rising[i] = static_cast<float>(i);
  std::vector<Candidate> got;
  select_best(rising, {}, 3, got);
  EXPECT_TRUE(same(got, {{2999.0f, 2999}, {2998.0f, 2998}, {2997.0f, 2997}}));
  std::reverse(rising.begin(), rising.end());
  select_best(rising, {}, 2, got);
  EXPECT_TRUE(same(got, {{2999.0f, 0}, {2998.0f, 1}}));
}

TEST(Candidates, ListKeepsTokensAndTies) {
  const std::vector<float> logits = random_logits(500, 9, 6);
  Candidates candidates;
  ASSERT_TRUE(candidates.reset(logits).ok());
  candidates.keep_from(-2.0, 1);
  EXPECT_FALSE(candidates.is_dense());
  EXPECT_FALSE(candidates.is_sorted());
  EXPECT_EQ(candidates.best().token, sorted_finite(logits)[0].token);
  candidates.keep_best(10);
  ASSERT_EQ(candidates.size(), 10u);
  EXPECT_TRUE(candidates.is_sorted());
  const std::vector<Candidate> want = sorted_finite(logits);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(candidates.token(i), want[i].token);
    EXPECT_EQ(candidates.logits()[i], want[i].logit);
  }
  candidates.keep_best(4);
  EXPECT_EQ(candidates.size(), 4u);
  EXPECT_EQ(candidates.token(3), want[3].token);
}

TEST(Candidates, MaskDropsTokens) {
  for (const size_t n : {1u, 31u, 32u, 33u, 100u, 256u}) {
    const std::vector<float> logits(n, 1.0f);
    std::vector<uint32_t> allowed((n + 31) / 32);
    for (size_t w = 0; w < allowed.size(); ++w) {
      allowed[w] = w % 3 == 0 ? 0xA5000001u : w % 3 == 1 ? 0u : ~0u;
    }
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits).ok());
    candidates.mask(allowed);
    for (size_t i = 0; i < n; ++i) {
      const bool in = (allowed[i / 32] >> (i % 32) & 1) != 0;
      EXPECT_EQ(candidates.logits()[i], in ? 1.0f : -kInfinity) << i << " of " << n;
    }
    EXPECT_EQ(logits[0], 1.0f);
  }
  // Tokens past the mask's end are not allowed.
  const std::vector<float> logits(70, 0.0f);
  Candidates candidates;
  ASSERT_TRUE(candidates.reset(logits).ok());
  const std::vector<uint32_t> allowed = {2u, 1u};
  candidates.mask(allowed);
  EXPECT_EQ(candidates.num_finite(), 2u);
  candidates.keep_from(-1.0, 1);
  ASSERT_EQ(candidates.size(), 2u);
  candidates.mask(std::vector<uint32_t>{0u, 1u});  // in list form
  EXPECT_EQ(candidates.best().token, 32);
  EXPECT_EQ(candidates.num_finite(), 1u);
}

TEST(Candidates, RefusesUnusableLogits) {
  Candidates candidates;
  for (const size_t n : {1u, 7u, 8u, 100u}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      for (size_t i = 0; i < n; i += 3) {
        std::vector<float> logits(n, -1.0f);
        logits[i] = bad;
        const Status status = candidates.reset(logits);
        ASSERT_FALSE(status.ok());
        EXPECT_EQ(status.error().code, ErrorCode::kBadModel);
        EXPECT_NE(status.error().message.find("token " + std::to_string(i)), std::string::npos);
      }
    }
    EXPECT_FALSE(candidates.reset(std::vector<float>(n, -kInfinity)).ok());
  }
  EXPECT_FALSE(candidates.reset({}).ok());
}

}  // namespace
}  // namespace realm
