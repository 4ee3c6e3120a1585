#include "tenants/key_directory.h"

#include <gtest/gtest.h>

#include <atomic>

#include "tenants/ledger_writer.h"
#include "tenants/tenant_store_testing.h"

namespace realm {
namespace {

using namespace std::chrono_literals;

class Directory : public TenantStoreTest {
 protected:
  void SetUp() override {
    TenantStoreTest::SetUp();
    store_ = open_store();
  }
  // Its watcher never wakes by itself.
  std::unique_ptr<KeyDirectory> open_directory() {
    auto directory = KeyDirectory::open(
        path_,
        {.poll_interval = 1h, .on_change = [this](const DirectorySnapshot&) { ++num_changes_; }});
    EXPECT_TRUE(directory.ok());
    return std::move(directory).value();
  }
  CreatedKey create(NewKeyRequest request = {}) {
    return store_->create_key(request, kTestNow).value();
  }
  std::unique_ptr<TenantStore> store_;
  std::atomic<int> num_changes_ = 0;
};

TEST_F(Directory, FindsAKeysOwner) {
  ASSERT_TRUE(store_->create_tenant("acme", {}, kTestNow).ok());
  NewKeyRequest request;
  request.tenant = "acme";
  request.models = {"tiny"};
  const CreatedKey key = create(request);
  const auto directory = open_directory();
  const KeyCheck check = directory->check(key.text, kTestNow);
  ASSERT_EQ(check.verdict, KeyVerdict::kValid);
  EXPECT_EQ(check.tenant->name, "acme");
  EXPECT_EQ(check.key->id, key.record.id);
  EXPECT_TRUE(may_use_model(*check.key, "tiny"));
  EXPECT_FALSE(may_use_model(*check.key, "large"));
}

TEST_F(Directory, NothingButTheWholeKeyIsTheKey) {
  const CreatedKey key = create();
  const CreatedKey other = create();
  const auto directory = open_directory();
  std::vector<std::string> wrong = {"",
                                    key.record.prefix,
                                    key.text + "x",
                                    " " + key.text,
                                    key.text + "\n",
                                    "Bearer " + key.text,
                                    key.text.substr(0, key.text.size() - 1),
                                    key.record.prefix + other.text.substr(13)};
  for (size_t i = 0; i < key.text.size(); ++i) {
    std::string changed = key.text;
    changed[i] = changed[i] == 'x' ? 'y' : 'x';
    wrong.push_back(changed);
  }
  for (const std::string& text : wrong) {
    const KeyCheck check = directory->check(text, kTestNow);
    EXPECT_EQ(check.verdict, KeyVerdict::kUnknown) << text;
    EXPECT_EQ(check.key, nullptr);
    EXPECT_EQ(check.tenant, nullptr);
  }
}

TEST_F(Directory, ExpiryRevocationAndSuspension) {
  NewKeyRequest request;
  request.expires_ms = kTestNow + 1000;
  const CreatedKey expiring = create(request), revoked = create();
  ASSERT_TRUE(store_->create_tenant("acme", {}, kTestNow).ok());
  request = {};
  request.tenant = "acme";
  const CreatedKey suspended = create(request);
  const auto directory = open_directory();
  const auto verdict = [&](const CreatedKey& key, int64_t now) {
    return directory->check(key.text, now).verdict;
  };
  EXPECT_EQ(verdict(expiring, kTestNow + 999), KeyVerdict::kValid);
  EXPECT_EQ(verdict(expiring, kTestNow + 1000), KeyVerdict::kExpired);
  EXPECT_EQ(verdict(revoked, kTestNow), KeyVerdict::kValid);
  EXPECT_EQ(verdict(suspended, kTestNow), KeyVerdict::kValid);
  ASSERT_TRUE(store_->revoke_key(revoked.record.prefix, kTestNow).ok());
  ASSERT_TRUE(store_->set_tenant("acme", {}, true).ok());
  EXPECT_EQ(verdict(revoked, kTestNow), KeyVerdict::kValid);  // not looked yet
  ASSERT_TRUE(directory->refresh().ok());
  EXPECT_EQ(verdict(revoked, kTestNow), KeyVerdict::kRevoked);
  EXPECT_EQ(verdict(suspended, kTestNow), KeyVerdict::kSuspended);
}

TEST_F(Directory, WithoutKeysItSaysSoAndNeverAgain) {
  const auto directory = open_directory();
  EXPECT_FALSE(directory->snapshot()->has_keys);
  ASSERT_TRUE(store_->create_tenant("acme", {}, kTestNow).ok());
  NewKeyRequest request;
  request.tenant = "acme";
  create(request);
  ASSERT_TRUE(directory->refresh().ok());
  EXPECT_TRUE(directory->snapshot()->has_keys);
  ASSERT_TRUE(store_->remove_tenant("acme", kTestNow).ok());
  ASSERT_TRUE(directory->refresh().ok());
  EXPECT_TRUE(directory->snapshot()->keys.empty());
  EXPECT_TRUE(directory->snapshot()->has_keys);
}

TEST_F(Directory, ChangesAreSeenAndTheLedgersRowsAreNone) {
  const auto directory = open_directory();
  EXPECT_EQ(num_changes_, 1);
  auto ledger = LedgerWriter::open(path_, {});
  UsageRow row;
  row.request_id = "r";
  row.tenant = kDefaultTenant;
  (*ledger)->append(row);
  ASSERT_TRUE((*ledger)->stop().ok());
  ASSERT_TRUE(directory->refresh().ok());
  EXPECT_EQ(num_changes_, 1);
  Quotas quotas;
  quotas.weight = 3;
  ASSERT_TRUE(store_->set_tenant("default", quotas, false).ok());
  ASSERT_TRUE(directory->refresh().ok());
  EXPECT_EQ(num_changes_, 2);
  EXPECT_EQ(directory->snapshot()->find_tenant(kDefaultTenant)->quotas.weight, 3);
  EXPECT_EQ(directory->snapshot()->find_tenant("nobody"), nullptr);
}

TEST_F(Directory, TheWatcherFindsWhatOthersChange) {
  std::atomic<int> revision = 0;
  const auto directory =
      KeyDirectory::open(path_, {.poll_interval = 1ms, .on_change = [&](const DirectorySnapshot&) {
                                   ++revision;
                                   revision.notify_all();
                                 }});
  ASSERT_TRUE(directory.ok());
  EXPECT_EQ(revision, 1);
  const CreatedKey key = create();
  revision.wait(1);
  EXPECT_EQ((*directory)->check(key.text, kTestNow).verdict, KeyVerdict::kValid);
}

TEST_F(Directory, ChecksGoOnWhileTheStoreChanges) {
  const CreatedKey key = create();
  const auto directory = open_directory();
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) {
      EXPECT_EQ(directory->check(key.text, kTestNow).verdict, KeyVerdict::kValid);
    }
  });
  for (int i = 0; i < 20; ++i) {
    create();
    EXPECT_TRUE(directory->refresh().ok());
  }
  stop = true;
  reader.join();
  EXPECT_EQ(directory->snapshot()->keys.size(), 21u);
}

}  // namespace
}  // namespace realm
