#include "scheduler/step_pace.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace realm {
namespace {

// Weight of the newest measurement: a few steps change an estimate, one slow step does not.
constexpr double kNewest = 0.2;
// Progress of the prompt even where the streams' steps leave no room for it.
constexpr int64_t kLeastTokens = 4;
// Streams grow longer and their steps slower: every so many steps one without prefill shows how
// much.
constexpr int64_t kMeasureAgain = 64;
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
  if (streams == 0 || std::isinf(stretch_)) return limit;
  const Alone& alone = alone_[static_cast<size_t>(bucket(streams))];
  if (alone.seconds == 0 || alone.mixed_since >= kMeasureAgain) return 0;
  const double per_token = per_token_mixed_ > 0 ? per_token_mixed_ : per_token_alone_;
  if (per_token == 0) return std::min(kLeastTokens, limit);
  const double seconds =
      std::max((stretch_ - 1) * kMargin * alone.seconds, floor_seconds_ - alone.seconds);
  const double room = seconds / per_token;
  return std::clamp(static_cast<int64_t>(std::min(room, 1e9)), std::min(kLeastTokens, limit),
                    limit);
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
    learn(per_token_mixed_, extra / static_cast<double>(prefill_tokens));
  }
}

}  // namespace realm
