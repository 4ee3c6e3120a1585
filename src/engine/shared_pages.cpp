#include "engine/shared_pages.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace realm {
namespace {

// How many of the first `limit` pages are the same, of which the first `depth` are known to be.
// Whole pieces first: tables of hundreds of pages are compared at every step.
size_t common_pages(const PageId* a, const PageId* b, size_t depth, size_t limit) {
  constexpr size_t kPiece = 32;
  while (depth + kPiece <= limit && std::memcmp(a + depth, b + depth, kPiece * sizeof *a) == 0) {
    depth += kPiece;
  }
  while (depth < limit && a[depth] == b[depth]) ++depth;
  return depth;
}

}  // namespace

bool SharedPages::find(std::span<const std::span<const PageId>> tables, int64_t saved_min) {
  const auto count = static_cast<int32_t>(tables.size());
  if (count < 2) return false;
  tables_ = tables;
  order_.resize(tables.size());
  std::iota(order_.begin(), order_.end(), 0);
  groups_.resize(tables.size());
  for (int32_t i = 0; i < count; ++i) {
    groups_[static_cast<size_t>(i)] = {.first = i, .end = i + 1, .pages = 0};
  }
  return arrange(0, count, 0) >= std::max(saved_min, int64_t{1});
}

// Of sequences [begin, end) of the batch, whose first `depth` pages are the same: puts those side
// by side that go on alike, and makes them one group or several smaller ones, whichever saves more.
// Returns how many pages need not be read.
int64_t SharedPages::arrange(int32_t begin, int32_t end, size_t depth) {
  const auto table = [this](int32_t i) {
    return tables_[static_cast<size_t>(order_[static_cast<size_t>(i)])];
  };
  const std::span<const PageId> first = table(begin);
  size_t common = first.size();
  for (int32_t i = begin + 1; i < end && common > depth; ++i) {
    const std::span<const PageId> other = table(i);
    common = common_pages(first.data(), other.data(), depth, std::min(common, other.size()));
  }
  constexpr PageId kEnded = -1;
  const auto next_page = [&](int32_t i) {
    return common < table(i).size() ? table(i)[common] : kEnded;
  };
  keys_.clear();
  for (int32_t i = begin; i < end; ++i) {
    keys_.emplace_back(next_page(i), order_[static_cast<size_t>(i)]);
  }
  std::sort(keys_.begin(), keys_.end());
  for (int32_t i = begin; i < end; ++i) {
    order_[static_cast<size_t>(i)] = keys_[static_cast<size_t>(i - begin)].second;
  }
  int64_t saved_apart = 0;
  for (int32_t from = begin, to; from < end; from = to) {
    const PageId page = next_page(from);
    for (to = from + 1; to < end && next_page(to) == page; ++to) {
    }
    if (to - from > 1 && page != kEnded) saved_apart += arrange(from, to, common + 1);
  }
  const auto pages = static_cast<int32_t>(common);
  const int64_t saved = pages >= kPagesMin ? int64_t{pages} * (end - begin - 1) : 0;
  if (saved == 0 || saved < saved_apart) return saved_apart;
  std::fill(groups_.begin() + begin, groups_.begin() + end,
            PageGroup{.first = begin, .end = end, .pages = pages});
  return saved;
}

}  // namespace realm
