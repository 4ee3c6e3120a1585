#include "app/feed.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace realm {

Status feed(Engine& engine, Sequence& sequence, std::span<const Token> tokens, int64_t chunk,
            const OnLogits& on_logits, const std::atomic<bool>* cancel) {
  const auto step = static_cast<size_t>(chunk);
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      return Error{ErrorCode::kCancelled, "interrupted"};
    }
    const auto piece = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    std::vector<std::pair<PageId, PageId>> copies;
    TRY(sequence.reserve(static_cast<int64_t>(piece.size()), copies));
    TRY(engine.copy_pages(copies));
    const StepItem item{.sequence = &sequence,
                        .tokens = piece,
                        .logits = on_logits ? WantLogits::kAll : WantLogits::kNone};
    const StepLogits logits = TRY(engine.step({&item, 1}));
    if (on_logits) TRY(on_logits(static_cast<int64_t>(begin), logits));
  }
  return {};
}

int64_t step_tokens_for(int64_t vocab_size) {
  constexpr int64_t kMaxLogits = int64_t{16} << 20;
  return std::clamp<int64_t>(kMaxLogits / std::max<int64_t>(vocab_size, 1), 1, 512);
}

Status check_finite(const StepLogits& logits, int64_t first, const std::string& label) {
  for (int64_t r = 0; r < logits.rows; ++r) {
    const auto row = logits.row(r);
    const auto bad =
        std::find_if(row.begin(), row.end(), [](float value) { return !std::isfinite(value); });
    if (bad == row.end()) continue;
    return Error{ErrorCode::kBadModel,
                 label + ": the logits of token " + std::to_string(first + r) +
                     " are not finite: weights hold NaN or infinity, or overflow"};
  }
  return {};
}

Status check_token_ids(std::span<const Token> tokens, int64_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocab_size) continue;
    return Error{ErrorCode::kInvalidArgument,
                 "token " + std::to_string(i) + " has id " + std::to_string(tokens[i]) +
                     ", which is not in 0.." + std::to_string(vocab_size - 1)};
  }
  return {};
}

}  // namespace realm
