// One sequence's place in the KV cache: the tokens whose keys and values are stored, and the pages
// that hold them. Forks share pages; a shared page is copied before it is written (copy-on-write).
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "engine/page_pool.h"

namespace realm {

class Sequence {
 public:
  explicit Sequence(PagePool& pool) : pool_(&pool) {}
  ~Sequence();
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;

  // Tokens in the cache, in order.
  const std::vector<Token>& tokens() const { return tokens_; }
  int64_t length() const { return static_cast<int64_t>(tokens_.size()); }
  std::span<const PageId> pages() const { return pages_; }

  // Makes room for `count` more tokens: all the pages they need, or kExhausted and no change. Pages
  // shared with another sequence that would be written are replaced; `copies` receives (from, to)
  // pairs for Engine::copy_pages, to be done before the next step.
  Status reserve(int64_t count, std::vector<std::pair<PageId, PageId>>& copies);
  // The step that wrote these tokens is done.
  void append(std::span<const Token> tokens);
  // Forgets all tokens from `length` on and gives back pages that are no longer needed.
  void truncate(int64_t length);
  // Forgets the tokens from `length` on but keeps the room reserved for them: the step that wrote
  // them failed and is run again.
  void rewind(int64_t length);
  // Begins an empty sequence with pages that hold `tokens` already: whole pages, shared with
  // whoever has them.
  void share(std::span<const Token> tokens, std::span<const PageId> pages);
  // A second sequence with the same content, sharing every page.
  Sequence fork() const;

 private:
  PagePool* pool_;
  std::vector<Token> tokens_;
  std::vector<PageId> pages_;
};

}  // namespace realm
