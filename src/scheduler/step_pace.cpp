#include "scheduler/step_pace.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace realm {
namespace {

// Weight of the newest measurement: a few steps change an estimate, one slow step does not.
constexpr double kNewest = 0.2;
constexpr double kForget = 0.02;
// Progress of the prompt even where the streams' steps leave no room for it.
constexpr int64_t kLeastTokens = 4;
// Streams grow longer and their steps slower: every so many steps one without prefill shows how
// much.
constexpr int64_t kMeasureAgain = 64;
// A prompt's first tokens may stretch a step so many times further, but add no more than this.
constexpr double kEager = 4;
constexpr double kEagerSeconds = 0.2;
// Steps vary; aiming at the limit itself would pass it half the time.
constexpr double kMargin = 0.85;

// A step that the machine's other work held up says little: it counts as twice what was thought.
void learn(double& estimate, double value) {
  if (estimate > 0) value = std::min(value, 2 * estimate);
  estimate = estimate == 0 ? value : estimate + kNewest * (value - estimate);
}

}  // namespace

// Every number up to 8, then eight to the doubling.
int StepPace::bucket(int64_t streams) {
  if (streams < 8) return static_cast<int>(streams);
  const int doublings = std::bit_width(static_cast<uint64_t>(streams)) - 4;
  const auto eighth = static_cast<int>(streams >> doublings);  // 8..15
  return std::min(doublings * 8 + eighth, kBuckets - 1);
}

int64_t StepPace::prefill_tokens(int64_t streams, int64_t limit) const {
  return tokens_within(streams, limit, stretch_, std::numeric_limits<double>::infinity());
}

int64_t StepPace::eager_tokens(int64_t streams, int64_t limit) const {
  return std::max(prefill_tokens(streams, limit),
                  tokens_within(streams, limit, kEager * stretch_, kEagerSeconds));
}

// A step with these tokens lasts at most `stretch` times as long as without, and `seconds_max`.
int64_t StepPace::tokens_within(int64_t streams, int64_t limit, double stretch,
                                double seconds_max) const {
  if (streams == 0 || std::isinf(stretch)) return limit;
  const Alone& alone = alone_[static_cast<size_t>(bucket(streams))];
  if (alone.seconds == 0 || alone.mixed_since >= kMeasureAgain) return 0;
  const double most = std::min((stretch - 1) * kMargin * alone.seconds, seconds_max);
  const double room = std::max(most, floor_seconds_ - alone.seconds);
  int64_t tokens = kLeastTokens;
  for (int size = size_class(kLeastTokens); size < kSizes; ++size) {
    const double each = per_token(size);
    if (each == 0) break;  // nothing is known yet
    const auto fitting = static_cast<int64_t>(std::min(room / each, 1e9));
    // Of this size, or it is another size's estimate that counts.
    if (size_class(fitting) >= size) {
      tokens = std::max(tokens, std::min(fitting, (int64_t{1} << size) - 1));
    }
  }
  return std::min(tokens, limit);
}

// 2^(n-1) to 2^n - 1 tokens are of size n.
int StepPace::size_class(int64_t tokens) {
  return std::min(static_cast<int>(std::bit_width(static_cast<uint64_t>(tokens))), kSizes - 1);
}

// A size that was not met costs what the next smaller one does, or the next larger.
double StepPace::per_token(int size) const {
  for (int known = size; known >= 0; --known) {
    if (per_token_mixed_[static_cast<size_t>(known)] > 0) {
      return per_token_mixed_[static_cast<size_t>(known)];
    }
  }
  for (int known = size + 1; known < kSizes; ++known) {
    if (per_token_mixed_[static_cast<size_t>(known)] > 0) {
      return per_token_mixed_[static_cast<size_t>(known)];
    }
  }
  return per_token_alone_;
}

void StepPace::observe(int64_t streams, int64_t prefill_tokens, double seconds) {
  Alone& alone = alone_[static_cast<size_t>(bucket(streams))];
  if (streams > 0 && prefill_tokens == 0) {
    learn(alone.seconds, seconds);
    alone.mixed_since = 0;
  } else if (streams == 0 && prefill_tokens > 0) {
    learn(per_token_alone_, seconds / static_cast<double>(prefill_tokens));
  } else if (prefill_tokens > 0) {
    ++alone.mixed_since;
    if (alone.seconds == 0) return;
    // A step faster than thought possible says that prompt tokens cost next to nothing.
    const double extra = std::max(seconds - alone.seconds, seconds * 0.01);
    const auto size = static_cast<size_t>(size_class(prefill_tokens));
    learn(per_token_mixed_[size], extra / static_cast<double>(prefill_tokens));
    // More at once do not cost more each: what says so is old, and is tried again in time.
    if (size + 1 < kSizes && per_token_mixed_[size + 1] > per_token_mixed_[size]) {
      per_token_mixed_[size + 1] += kForget * (per_token_mixed_[size] - per_token_mixed_[size + 1]);
    }
  }
}

}  // namespace realm
