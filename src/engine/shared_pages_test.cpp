#include "engine/shared_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace realm {
namespace {

using Tables = std::vector<std::vector<PageId>>;

constexpr int64_t kSavedMin = 256;

// What is found keeps its promises, whatever it is; pages that need not be read.
int64_t find(SharedPages& shared, const Tables& tables) {
  const std::vector<std::span<const PageId>> views(tables.begin(), tables.end());
  if (!shared.find(views, kSavedMin)) return 0;
  const auto count = static_cast<int32_t>(tables.size());
  std::vector<int32_t> all(shared.order().begin(), shared.order().end());
  std::sort(all.begin(), all.end());
  for (int32_t i = 0; i < count; ++i) EXPECT_EQ(all[static_cast<size_t>(i)], i);
  int64_t saved = 0;
  for (int32_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    const PageGroup group = shared.groups()[at];
    EXPECT_TRUE(group.first <= i && i < group.end && group.end <= count);
    const PageGroup& leader = shared.groups()[static_cast<size_t>(group.first)];
    EXPECT_TRUE(leader.first == group.first && leader.end == group.end &&
                leader.pages == group.pages);
    if (group.pages == 0) {
      EXPECT_EQ(group.end - group.first, 1);
      continue;
    }
    EXPECT_GE(group.pages, SharedPages::kPagesMin);
    const auto& own = tables[static_cast<size_t>(shared.order()[at])];
    const auto& first =
        tables[static_cast<size_t>(shared.order()[static_cast<size_t>(group.first)])];
    EXPECT_GE(own.size(), static_cast<size_t>(group.pages));
    EXPECT_TRUE(std::equal(own.begin(), own.begin() + group.pages, first.begin()));
    if (i > group.first) saved += group.pages;
  }
  EXPECT_GE(saved, kSavedMin);
  return saved;
}

class Pages {
 public:
  std::vector<PageId> fresh(size_t count) {
    std::vector<PageId> pages(count);
    for (PageId& page : pages) page = next_ = next_ * 7 % 1000003;
    return pages;
  }

 private:
  PageId next_ = 1;
};

std::vector<PageId> joined(std::vector<PageId> a, const std::vector<PageId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(SharedPages, SequencesOfOnePromptStandSideBySide) {
  Pages pages;
  const auto one = pages.fresh(100), other = pages.fresh(60);
  Tables tables;
  for (size_t i = 0; i < 12; ++i) {
    tables.push_back(i % 3 == 2 ? pages.fresh(20)
                                : joined(i % 3 == 0 ? one : other, pages.fresh(i)));
  }
  SharedPages shared;
  EXPECT_EQ(find(shared, tables), 3 * 100 + 3 * 60);
  // In a group they stay in the order that they came in, as far as their own pages leave it open.
  for (const PageGroup& group : shared.groups()) {
    EXPECT_TRUE(group.pages == 100 || group.pages == 60 || group.pages == 0);
    EXPECT_EQ(group.end - group.first, group.pages == 0 ? 1 : 4);
  }
}

TEST(SharedPages, LittleInCommonIsNotWorthIt) {
  Pages pages;
  SharedPages shared;
  EXPECT_EQ(find(shared, {}), 0);
  EXPECT_EQ(find(shared, {pages.fresh(1000)}), 0);
  EXPECT_EQ(find(shared, {pages.fresh(1000), pages.fresh(1000), {}}), 0);
  const auto few = pages.fresh(static_cast<size_t>(SharedPages::kPagesMin) - 1);
  EXPECT_EQ(find(shared, Tables(200, few)), 0);
  const auto some = pages.fresh(static_cast<size_t>(kSavedMin) - 1);
  EXPECT_EQ(find(shared, {some, some}), 0);
  const auto enough = joined(some, pages.fresh(1));
  EXPECT_EQ(find(shared, {enough, enough}), kSavedMin);
}

// A short prompt for all and a long text for each few: the texts are what is worth reading once.
TEST(SharedPages, TakesTheLongerPrefixOrTheLargerGroup) {
  Pages pages;
  SharedPages shared;
  const auto prompt = pages.fresh(10);
  Tables tables(16);
  for (size_t text = 0; text < 4; ++text) {
    const auto pages_of_text = joined(prompt, pages.fresh(200));
    for (size_t i = 0; i < 4; ++i) tables[4 * i + text] = joined(pages_of_text, pages.fresh(3));
  }
  EXPECT_EQ(find(shared, tables), 4 * 3 * 210);
  // Where the prompt is long and the texts are short, it is the other way round.
  const auto long_prompt = pages.fresh(300);
  for (size_t text = 0; text < 4; ++text) {
    const auto pages_of_text = joined(long_prompt, pages.fresh(20));
    for (size_t i = 0; i < 4; ++i) tables[4 * i + text] = pages_of_text;
  }
  EXPECT_EQ(find(shared, tables), 15 * 300);
}

TEST(SharedPages, AnyTreeOfPages) {
  std::mt19937 random(5);
  const auto below = [&](size_t n) { return random() % n; };
  SharedPages shared;
  for (int round = 0; round < 200; ++round) {
    Pages pages;
    Tables tables;
    const size_t count = 1 + below(60);
    while (tables.size() < count) {
      std::vector<PageId> table;
      if (!tables.empty() && below(4) > 0) {
        const auto& from = tables[below(tables.size())];
        table.assign(from.begin(), from.begin() + static_cast<int64_t>(below(from.size() + 1)));
      }
      tables.push_back(joined(table, pages.fresh(below(120))));
    }
    find(shared, tables);
  }
}

}  // namespace
}  // namespace realm
