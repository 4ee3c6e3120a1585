#include "engine/page_pool.h"

#include "base/check.h"

namespace realm {

PagePool::PagePool(int32_t num_pages) : references_(static_cast<size_t>(num_pages), 0) {
  free_.reserve(references_.size());
  for (int32_t page = num_pages - 1; page >= 0; --page) free_.push_back(page);
}

std::optional<std::vector<PageId>> PagePool::allocate(int32_t count) {
  CHECK(count >= 0);
  if (count > pages_free()) return std::nullopt;
  std::vector<PageId> pages(free_.end() - count, free_.end());
  free_.resize(free_.size() - static_cast<size_t>(count));
  for (PageId page : pages) references_[static_cast<size_t>(page)] = 1;
  return pages;
}

void PagePool::retain(PageId page) {
  CHECK(references_[static_cast<size_t>(page)] > 0);
  ++references_[static_cast<size_t>(page)];
}

void PagePool::release(PageId page) {
  CHECK(references_[static_cast<size_t>(page)] > 0);
  if (--references_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

}  // namespace realm
