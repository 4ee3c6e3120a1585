#include "app/embedded_model.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "base/file.h"

namespace realm {
namespace {

TEST(EmbeddedModel, IsTheAssetByteForByte) {
  const auto file = MappedFile::open(REALM_SOURCE_DIR "/assets/realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto embedded = embedded_model();
  ASSERT_EQ(embedded.size(), file->bytes().size());
  EXPECT_EQ(std::memcmp(embedded.data(), file->bytes().data(), embedded.size()), 0);
}

TEST(EmbeddedModel, IsAlignedForVectorLoads) {
  EXPECT_EQ(reinterpret_cast<uintptr_t>(embedded_model().data()) % 64, 0u);
  EXPECT_EQ(std::memcmp(embedded_model().data(), "GGUF", 4), 0);
}

}  // namespace
}  // namespace realm
