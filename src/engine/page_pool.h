// The pages of the KV cache, counted: a page belongs to one sequence or is shared by several that
// begin alike. Owned by whoever owns the engine (the scheduler's thread); not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/kv_cache.h"  // kPageTokens

namespace realm {

using PageId = int32_t;

// Pages that hold so many tokens.
inline int64_t pages_for(int64_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

// A page's content on its way to the host's memory or back.
struct PageSwap {
  PageId page;
  int32_t slot;  // of the host's memory
  bool out;      // from the page to the slot
};

class PagePool {
 public:
  explicit PagePool(int32_t num_pages);

  int32_t num_pages() const { return static_cast<int32_t>(references_.size()); }
  int32_t pages_free() const { return static_cast<int32_t>(free_.size()); }

  // All `count` pages, or nothing. Each comes with one reference.
  std::optional<std::vector<PageId>> allocate(int32_t count);
  void retain(PageId page);
  void release(PageId page);
  int32_t references(PageId page) const { return references_[static_cast<size_t>(page)]; }
  bool is_shared(PageId page) const { return references(page) > 1; }

 private:
  std::vector<int32_t> references_;
  std::vector<PageId> free_;
};

}  // namespace realm
