// The pages of the KV cache, counted: a page belongs to one sequence or is shared by several that
// begin alike. Owned by whoever owns the engine (the scheduler's thread); not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace realm {

using PageId = int32_t;

class PagePool {
 public:
  explicit PagePool(int32_t num_pages);

  int32_t num_pages() const { return static_cast<int32_t>(references_.size()); }
  int32_t pages_free() const { return static_cast<int32_t>(free_.size()); }

  // All `count` pages, or nothing. Each comes with one reference.
  std::optional<std::vector<PageId>> allocate(int32_t count);
  void retain(PageId page);
  void release(PageId page);
  bool is_shared(PageId page) const { return references_[static_cast<size_t>(page)] > 1; }

 private:
  std::vector<int32_t> references_;
  std::vector<PageId> free_;
};

}  // namespace realm
