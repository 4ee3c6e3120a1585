#include "app/nearest.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

TEST(Nearest, Distance) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("quantise", "quantize"), 1u);
  EXPECT_EQ(edit_distance("temprature", "temperature"), 1u);
  EXPECT_EQ(edit_distance("tpo-k", "top-k"), 1u);  // a swap
  EXPECT_EQ(edit_distance("Q4_k_m", "q4_K_M"), 0u);
}

TEST(Nearest, SuggestsWhatWasProbablyMeant) {
  const std::vector<std::string> commands = {"run", "quantize", "tokenize", "detokenize", "synth"};
  EXPECT_EQ(nearest("quantise", commands), (std::vector<std::string>{"quantize"}));
  EXPECT_EQ(nearest("rnu", commands), (std::vector<std::string>{"run"}));
  EXPECT_TRUE(nearest("frobnicate", commands).empty());
  EXPECT_TRUE(nearest("", commands).empty());
  EXPECT_TRUE(nearest("x", std::vector<std::string>{"y"}).empty()) << "nothing in common";
  EXPECT_TRUE(nearest(std::string(100000, 'q'), commands).empty());
}

TEST(Nearest, Sentence) {
  const std::vector<std::string> types = {"Q4_K_S", "Q4_K_M", "Q5_K_M", "Q8_0"};
  EXPECT_EQ(suggestion("Q4_K_N", types), "; did you mean 'Q4_K_S' or 'Q4_K_M'?");
  EXPECT_EQ(suggestion("Q8-0", types), "; did you mean 'Q8_0'?");
  EXPECT_EQ(suggestion("banana", types), "");
  EXPECT_EQ(suggestion("aa", std::vector<std::string>{"ab", "ac", "ad", "ae"}),
            "; did you mean 'ab', 'ac' or 'ad'?");
}

}  // namespace
}  // namespace realm
