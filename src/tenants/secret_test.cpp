#include "tenants/secret.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <set>

namespace realm {
namespace {

std::string hex(const Digest& digest) {
  std::string text;
  for (const uint8_t byte : digest) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

TEST(Secret, DigestIsSha256) {
  EXPECT_EQ(hex(digest_of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Secret, KeysAreDistinctAndOfTheStatedForm) {
  std::set<std::string> prefixes;
  for (int i = 0; i < 200; ++i) {
    const auto key = make_key();
    ASSERT_TRUE(key.ok());
    EXPECT_EQ(key->text.size(), 3u + 10 + 1 + 43);
    EXPECT_EQ(key_prefix(key->text), key->prefix);
    EXPECT_EQ(digest_of(key->text), key->digest);
    prefixes.insert(key->prefix);
  }
  EXPECT_EQ(prefixes.size(), 200u);
}

TEST(Secret, EveryCharacterIsDrawn) {
  const auto text = random_text(20000);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(std::set<char>(text->begin(), text->end()).size(), 62u);
}

TEST(Secret, PrefixOfWhatIsNoKeyIsEmpty) {
  const auto key = make_key();
  ASSERT_TRUE(key.ok());
  const std::string& text = key->text;
  EXPECT_EQ(key_prefix(""), "");
  EXPECT_EQ(key_prefix("rk_"), "");
  EXPECT_EQ(key_prefix(text.substr(1)), "");
  EXPECT_EQ(key_prefix(text + "x"), "");
  EXPECT_EQ(key_prefix(" " + text.substr(1)), "");
  std::string spoilt = text;
  spoilt[5] = '%';
  EXPECT_EQ(key_prefix(spoilt), "");
  spoilt = text;
  spoilt[13] = '-';
  EXPECT_EQ(key_prefix(spoilt), "");
  spoilt = text;
  spoilt.back() = '\0';
  EXPECT_EQ(key_prefix(spoilt), "");
}

TEST(Secret, DigestsAreComparedWhole) {
  const Digest a = digest_of("a");
  for (size_t i = 0; i < a.size(); ++i) {
    Digest b = a;
    EXPECT_TRUE(equal_digests(a, b));
    b[i] ^= 1;
    EXPECT_FALSE(equal_digests(a, b));
  }
}

}  // namespace
}  // namespace realm
