#include "base/numa.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace realm {
namespace {

namespace fs = std::filesystem;

class Nodes : public testing::Test {
 protected:
  void TearDown() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    const fs::path whole = root_.string() + path;
    fs::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  std::vector<int> nodes(const std::string& with_memory, const std::string& allowed) {
    put("/sys/devices/system/node/has_memory", with_memory + "\n");
    put("/proc/self/status", "Name:\trealm\nMems_allowed_list:\t" + allowed + "\nThreads:\t1\n");
    return memory_nodes(root_);
  }
  const fs::path root_ =
      fs::path(testing::TempDir()) / ("realm_numa_" + std::to_string(::getpid()));
};

TEST_F(Nodes, AreThoseWithMemoryThatTheProcessMayUse) {
  EXPECT_EQ(nodes("0-1", "0-1"), (std::vector<int>{0, 1}));
  EXPECT_EQ(nodes("0,2-3,8", "0-7"), (std::vector<int>{0, 2, 3}));
  EXPECT_EQ(nodes("0-3", "1,3"), (std::vector<int>{1, 3}));
  EXPECT_EQ(nodes("0", "0-63"), (std::vector<int>{0}));
}

TEST_F(Nodes, WhatSaysNothingNamesNone) {
  EXPECT_TRUE(memory_nodes(root_).empty());
  EXPECT_TRUE(nodes("", "0").empty());
  EXPECT_TRUE(nodes("x", "0").empty());
  EXPECT_TRUE(nodes("0-99999999999", "0").empty());
  EXPECT_TRUE(nodes("-3", "0").empty());
}

TEST(MemorySpread, OneNodeNeedsNone) {
  EXPECT_EQ(spread_memory({}).value(), MemorySpread::kOneNode);
  EXPECT_EQ(spread_memory(std::vector<int>{0}).value(), MemorySpread::kOneNode);
}

// The policy is a thread's own, so that the other tests keep theirs. Machines with one node take
// part: the kernel leaves nodes that are not there out of the mask.
TEST(MemorySpread, IsThePolicyOfTheThreadAndOfThoseItStarts) {
  const bool chosen = has_memory_policy();
  Result<MemorySpread> first = MemorySpread::kOneNode, second = MemorySpread::kOneNode;
  bool inherited = false;
  std::thread([&] {
    first = spread_memory(std::vector<int>{0, 1});
    second = spread_memory(std::vector<int>{0, 1});
    std::thread([&] { inherited = has_memory_policy(); }).join();
  }).join();
  if (!first.ok()) GTEST_SKIP() << first.error().message;  // as in many containers
  EXPECT_EQ(*first, chosen ? MemorySpread::kChosen : MemorySpread::kSpread);
  EXPECT_EQ(*second, MemorySpread::kChosen);
  EXPECT_TRUE(inherited);
  EXPECT_EQ(has_memory_policy(), chosen);
}

}  // namespace
}  // namespace realm
