// A store in a folder of its own, for tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "tenants/tenant_store.h"

namespace realm {

inline constexpr int64_t kTestNow = 1'764'000'000'000;  // 2025-11-24 16:00:00 UTC

class TenantStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = std::filesystem::temp_directory_path() / "realm-store-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    path_ = folder_ / "realm.db";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<TenantStore> open_store() {
    auto store = TenantStore::open(path_, true);
    EXPECT_TRUE(store.ok()) << store.error().message;
    return std::move(store).value();
  }

  std::filesystem::path folder_;
  std::string path_;
};

}  // namespace realm
