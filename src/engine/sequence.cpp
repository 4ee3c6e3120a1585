#include "engine/sequence.h"

#include <string>

#include "base/check.h"

namespace realm {
Sequence::~Sequence() {
  truncate(0);
}

Sequence::Sequence(Sequence&& other) noexcept
    : pool_(other.pool_),
      tokens_(std::exchange(other.tokens_, {})),
      pages_(std::exchange(other.pages_, {})) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  if (this == &other) return *this;
  truncate(0);
  pool_ = other.pool_;
  tokens_ = std::exchange(other.tokens_, {});
  pages_ = std::exchange(other.pages_, {});
  return *this;
}

Status Sequence::reserve(int64_t count, std::vector<std::pair<PageId, PageId>>& copies) {
  CHECK(count >= 0);
  const int64_t needed = pages_for(length() + count);
  const int64_t missing = std::max<int64_t>(0, needed - static_cast<int64_t>(pages_.size()));
  // The page that the next token goes into may be shared, if it is partly filled.
  const size_t written = static_cast<size_t>(length() / kPageTokens);
  const bool copy = count > 0 && written < pages_.size() && pool_->is_shared(pages_[written]);
  auto pages = pool_->allocate(static_cast<int32_t>(missing + (copy ? 1 : 0)));
  if (!pages) {
    return Error{ErrorCode::kExhausted,
                 "the KV cache has " + std::to_string(pool_->pages_free()) + " of " +
                     std::to_string(pool_->num_pages()) + " pages free and " +
                     std::to_string(missing + (copy ? 1 : 0)) + " are needed"};
  }
  if (copy) {
    const PageId fresh = pages->back();
    pages->pop_back();
    copies.emplace_back(pages_[written], fresh);
    pool_->release(pages_[written]);
    pages_[written] = fresh;
  }
  pages_.insert(pages_.end(), pages->begin(), pages->end());
  return {};
}

void Sequence::append(std::span<const Token> tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  CHECK(pages_for(length()) <= static_cast<int64_t>(pages_.size()));
}

void Sequence::truncate(int64_t length) {
  CHECK(length >= 0 && length <= this->length());
  tokens_.resize(static_cast<size_t>(length));
  const size_t keep = static_cast<size_t>(pages_for(length));
  while (pages_.size() > keep) {
    pool_->release(pages_.back());
    pages_.pop_back();
  }
}

void Sequence::rewind(int64_t length) {
  CHECK(length >= 0 && length <= this->length());
  tokens_.resize(static_cast<size_t>(length));
}

void Sequence::share(std::span<const Token> tokens, std::span<const PageId> pages) {
  CHECK(pages_.empty() && tokens.size() == pages.size() * kPageTokens);
  tokens_.assign(tokens.begin(), tokens.end());
  pages_.assign(pages.begin(), pages.end());
  for (PageId page : pages_) pool_->retain(page);
}

Sequence Sequence::fork() const {
  Sequence copy(*pool_);
  copy.tokens_ = tokens_;
  const size_t used = static_cast<size_t>(pages_for(length()));
  copy.pages_.assign(pages_.begin(), pages_.begin() + static_cast<int64_t>(used));
  for (PageId page : copy.pages_) pool_->retain(page);
  return copy;
}

}  // namespace realm
