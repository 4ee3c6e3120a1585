#include "engine/sampling/history.h"

#include <algorithm>
#include <limits>

#include "engine/sampling/samplers.h"

namespace realm {
namespace {

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

size_t window(int32_t last_n) {
  return last_n < 0 ? kUnlimited : static_cast<size_t>(last_n);
}

}  // namespace

History::History(const SamplingParams& params, TokenText token_text)
    : token_text_(std::move(token_text)) {
  if (penalties_active(params)) penalty_window_ = window(params.repeat_last_n);
  if (dry_active(params)) {
    dry_window_ = window(params.dry_penalty_last_n);
    breakers_ = params.dry_sequence_breakers;
    for (const std::string& breaker : breakers_) {
      longest_breaker_ = std::max(longest_breaker_, breaker.size());
    }
  }
}

void History::push(Token token) {
  const size_t longest_window = std::max(penalty_window_, dry_window_);
  if (longest_window == 0) return;
  if (penalty_window_ > 0) {
    ++counts_[token];
    if (tokens_.size() >= penalty_window_) {
      const auto leaving = counts_.find(tokens_[tokens_.size() - penalty_window_]);
      if (--leaving->second == 0) counts_.erase(leaving);
    }
  }
  if (dry_window_ > 0) since_breaker_ = completes_breaker(token) ? 0 : since_breaker_ + 1;
  tokens_.push_back(token);
  // Trimming at twice the window keeps the cost per token constant.
  if (longest_window <= kUnlimited / 2 && tokens_.size() > 2 * longest_window) {
    tokens_.erase(tokens_.begin(), tokens_.end() - static_cast<ptrdiff_t>(longest_window));
  }
}

std::span<const Token> History::dry_window() const {
  return std::span(tokens_).last(std::min(tokens_.size(), dry_window_));
}

size_t History::since_breaker() const {
  return std::min(since_breaker_, dry_window().size());
}

bool History::holds_breaker(Token token) const {
  if (!token_text_) return false;
  const std::string_view text = token_text_(token);
  return std::any_of(breakers_.begin(), breakers_.end(), [&](const std::string& breaker) {
    return text.find(breaker) != std::string_view::npos;
  });
}

// Whether a breaker ends within the bytes this token adds; the tail holds too little to hold one.
bool History::completes_breaker(Token token) {
  if (!token_text_ || breakers_.empty()) return false;
  text_tail_ += token_text_(token);
  const bool found = std::any_of(breakers_.begin(), breakers_.end(), [&](const std::string& b) {
    return text_tail_.find(b) != std::string::npos;
  });
  if (found) {
    text_tail_.clear();
  } else if (text_tail_.size() >= longest_breaker_) {
    text_tail_.erase(0, text_tail_.size() - (longest_breaker_ - 1));
  }
  return found;
}

}  // namespace realm
