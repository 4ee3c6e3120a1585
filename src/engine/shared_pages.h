// Which sequences of a decode step begin with the same pages of the cache (one system prompt for
// many requests, forks), so that a backend can read these once for all of them. The engine puts
// such sequences side by side in the batch and tells the ops about them (Attention::shared).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/page_pool.h"

namespace realm {

// A sequence's group: [first, end) of the batch, whose tables begin with `pages` pages in common.
struct PageGroup {
  int32_t first = 0, end = 0, pages = 0;
};

class SharedPages {
 public:
  // Of a step with one token a sequence. tables[i]: the pages that lie wholly before that token, of
  // the caller's i-th sequence. False where less than `saved_min` pages (at least one) need not be
  // read: order() and groups() mean nothing then.
  bool find(std::span<const std::span<const PageId>> tables, int64_t saved_min);

  // Of each sequence of the batch: which of the caller's it is, and its group.
  std::span<const int32_t> order() const { return order_; }
  std::span<const PageGroup> groups() const { return groups_; }

  static constexpr int32_t kPagesMin = 8;  // of a group

 private:
  int64_t arrange(int32_t begin, int32_t end, size_t depth);

  std::span<const std::span<const PageId>> tables_;
  std::vector<int32_t> order_;
  std::vector<PageGroup> groups_;
  std::vector<std::pair<PageId, int32_t>> keys_;
};

}  // namespace realm
