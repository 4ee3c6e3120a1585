#include "scheduler/step_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace realm {
namespace {

TEST(StepPace, LearnsWhatStreamsCostBeforeItAddsPrompts) {
  StepPace pace(2.0);
  EXPECT_EQ(pace.prefill_tokens(0, 512), 512);
  EXPECT_EQ(pace.prefill_tokens(8, 512), 0);
  pace.observe(8, 0, 0.010);
  EXPECT_GT(pace.prefill_tokens(8, 512), 0);
}

TEST(StepPace, KeepsMixedStepsWithinTheStretch) {
  // A machine where a step costs 2 ms, a stream 0.5 ms, a prompt token 0.2 ms.
  StepPace pace(2.0);
  const auto cost = [](int64_t streams, int64_t prompt) {
    return 0.002 + 0.0005 * static_cast<double>(streams) + 0.0002 * static_cast<double>(prompt);
  };
  pace.observe(0, 512, cost(0, 512));
  for (const int64_t streams : {1, 3, 16, 17, 60, 250}) {
    int without = 0;
    for (int i = 0; i < 200; ++i) {
      const int64_t prompt = pace.prefill_tokens(streams, 512);
      pace.observe(streams, prompt, cost(streams, prompt));
      without += prompt == 0 ? 1 : 0;
      if (i < 50 || prompt == 0) continue;
      EXPECT_LE(cost(streams, prompt), 2.0 * cost(streams, 0)) << streams;
      EXPECT_GE(cost(streams, prompt), 1.5 * cost(streams, 0)) << streams;
    }
    EXPECT_LE(without, 4);
  }
  EXPECT_EQ(pace.prefill_tokens(250, 10), 10);
}

TEST(StepPace, FirstTokensMayStretchAStepFurther) {
  StepPace pace(2.0);
  const auto cost = [](int64_t prompt) { return 0.010 + 0.001 * static_cast<double>(prompt); };
  pace.observe(1, 0, cost(0));
  for (int i = 0; i < 50; ++i) {
    const int64_t prompt = pace.prefill_tokens(1, 512);
    pace.observe(1, prompt, cost(prompt));
  }
  EXPECT_LE(cost(pace.prefill_tokens(1, 512)), 0.020);
  EXPECT_GT(cost(pace.eager_tokens(1, 512)), 0.050);
  EXPECT_LE(cost(pace.eager_tokens(1, 512)), 0.080);
  EXPECT_EQ(pace.eager_tokens(1, 20), 20);
  // Where streams are slow, no pause that is felt is added.
  for (int i = 0; i < 100; ++i) pace.observe(8, 0, 0.150);
  EXPECT_LE(pace.eager_tokens(8, 512), 200);
  EXPECT_GE(pace.eager_tokens(8, 512), 150);
}

TEST(StepPace, ShortStepsMayGrowToTheFloor) {
  StepPace pace(2.0, 0.010);
  const auto cost = [](int64_t prompt) { return 0.001 + 0.0001 * static_cast<double>(prompt); };
  pace.observe(1, 0, cost(0));
  pace.observe(0, 512, cost(512));
  int64_t prompt = 0;
  for (int i = 0; i < 50; ++i) {
    prompt = std::max<int64_t>(pace.prefill_tokens(1, 512), 1);
    pace.observe(1, prompt, cost(prompt));
  }
  EXPECT_NEAR(cost(prompt), 0.010, 0.001);
  // A step that took a second for reasons of its own is soon forgotten.
  pace.observe(1, prompt, 1.0);
  EXPECT_GT(pace.prefill_tokens(1, 512), prompt / 2);
}

TEST(StepPace, AnInfiniteStretchNeverLimits) {
  const StepPace pace(std::numeric_limits<double>::infinity());
  EXPECT_EQ(pace.prefill_tokens(100, 333), 333);
}

}  // namespace
}  // namespace realm
