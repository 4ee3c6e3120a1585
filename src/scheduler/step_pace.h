// How many prompt tokens a step may hold beside running streams, learned from the steps so far: a
// mixed step shall last at most so many times as long as one of the streams' tokens alone, or as
// long as nobody minds: where streams' steps are of a millisecond, chunks of a few tokens would
// make prompts several times slower. The scheduler's thread feeds it measured times; the planner
// only asks, so that planning stays a function of state.
#pragma once

#include <array>
#include <cstdint>

namespace realm {

class StepPace {
 public:
  // stretch > 1. An infinite one never limits. A mixed step may last `floor_seconds` in any case.
  explicit StepPace(double stretch, double floor_seconds = 0)
      : stretch_(stretch), floor_seconds_(floor_seconds) {}

  // Tokens of prompts beside `streams` tokens of running streams; `limit` at most. 0: run this step
  // without, to learn what the streams alone cost.
  int64_t prefill_tokens(int64_t streams, int64_t limit) const;
  // The same for the first tokens of a prompt, which may stretch a step further: most prompts are
  // short, a few longer steps compute them at a multiple of the speed, and in the p99 of the time
  // between tokens while a long one is computed they do not count.
  int64_t eager_tokens(int64_t streams, int64_t limit) const;
  // What a prompt's token costs where nothing else runs; 0: not known yet.
  double prompt_token_seconds() const { return per_token_alone_; }
  void observe(int64_t streams, int64_t prefill_tokens, double seconds);

 private:
  static constexpr int kBuckets = 64;
  static int bucket(int64_t streams);
  static int size_class(int64_t tokens);
  double per_token(int size) const;
  int64_t tokens_within(int64_t streams, int64_t limit, double stretch, double seconds_max) const;

  struct Alone {
    double seconds = 0;       // a step of so many streams without prefill; 0: not met yet
    int64_t mixed_since = 0;  // steps with prefill since it was last measured
  };
  double stretch_, floor_seconds_;
  std::array<Alone, kBuckets> alone_ = {};  // by number of streams
  // Seconds of a prompt token beside streams, by the power of two of how many there are: many at
  // once are cheaper. 0: not met yet.
  static constexpr int kSizes = 18;
  std::array<double, kSizes> per_token_mixed_ = {};
  double per_token_alone_ = 0;
};

}  // namespace realm
