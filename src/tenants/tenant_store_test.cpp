#include "tenants/tenant_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>

#include "tenants/schema.h"
#include "tenants/tenant_store_testing.h"

namespace realm {
namespace {

using Store = TenantStoreTest;

TEST_F(Store, IsMadeForItsOwnerAlone) {
  open_store();
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(Store, IsNotMadeUnlessAskedFor) {
  const auto store = TenantStore::open(path_, false);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(Store, StartsWithTheDefaultTenant) {
  const auto tenants = open_store()->list_tenants();
  ASSERT_TRUE(tenants.ok());
  ASSERT_EQ(tenants->size(), 1u);
  EXPECT_EQ(tenants->front().id, kDefaultTenant);
  EXPECT_EQ(tenants->front().name, "default");
  EXPECT_EQ(tenants->front().quotas, Quotas{});
}

TEST_F(Store, TenantsAreKeptWithTheirQuotas) {
  Quotas quotas;
  double value = 2;
  for (const QuotaField& field : quota_fields()) {
    ASSERT_TRUE(set_quota(quotas, field, std::min(value++, field.max)).ok());
  }
  const auto created = open_store()->create_tenant("acme", quotas, kTestNow);
  ASSERT_TRUE(created.ok()) << created.error().message;
  const auto found = open_store()->find_tenant("acme");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->id, created->id);
  EXPECT_EQ(found->created_ms, kTestNow);
  EXPECT_EQ(found->quotas, quotas);
  EXPECT_FALSE(found->suspended);

  quotas.weight = 0.5;
  ASSERT_TRUE(open_store()->set_tenant("acme", quotas, true).ok());
  const auto changed = open_store()->find_tenant("acme");
  EXPECT_EQ(changed->quotas, quotas);
  EXPECT_TRUE(changed->suspended);
}

TEST_F(Store, NamesAreCheckedAndUnique) {
  const auto store = open_store();
  for (const char* name : {"", "Acme", "a b", "-a", "a/b", "..", "caf\xc3\xa9", "a\n"}) {
    const auto refused = store->create_tenant(name, {}, kTestNow);
    ASSERT_FALSE(refused.ok()) << name;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_FALSE(store->create_tenant(std::string(65, 'a'), {}, kTestNow).ok());
  EXPECT_TRUE(store->create_tenant(std::string(64, 'a'), {}, kTestNow).ok());
  EXPECT_TRUE(store->create_tenant("acme-2.eu_x", {}, kTestNow).ok());
  const auto again = store->create_tenant("acme-2.eu_x", {}, kTestNow);
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.error().message.find("already"), std::string::npos);
  EXPECT_EQ(store->set_tenant("nobody", {}, false).error().code, ErrorCode::kNotFound);
}

TEST_F(Store, ARemovedTenantTakesItsKeysAlongAndFreesItsName) {
  const auto store = open_store();
  const auto first = store->create_tenant("acme", {}, kTestNow);
  const auto key = store->create_key({.tenant = "acme"}, kTestNow);
  ASSERT_TRUE(key.ok()) << key.error().message;
  ASSERT_TRUE(store->remove_tenant("acme", kTestNow).ok());
  EXPECT_FALSE(store->find_tenant("acme").ok());
  EXPECT_TRUE(store->list_keys({})->empty());
  EXPECT_EQ(store->remove_tenant("acme", kTestNow).error().code, ErrorCode::kNotFound);
  const auto second = store->create_tenant("acme", {}, kTestNow);
  ASSERT_TRUE(second.ok());
  EXPECT_NE(second->id, first->id);
  EXPECT_TRUE(store->list_keys({.tenant = "acme"})->empty());
  EXPECT_EQ(store->remove_tenant("default", kTestNow).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(Store, KeysAreShownOnceAndKeptHashed) {
  const auto store = open_store();
  ASSERT_TRUE(store->create_tenant("acme", {}, kTestNow).ok());
  const auto created = store->create_key({.tenant = "acme",
                                          .name = "laptop",
                                          .scopes = Scopes(Scope::kInference) | Scope::kMetrics,
                                          .models = {"b", "a", "b"},
                                          .expires_ms = kTestNow + 5},
                                         kTestNow);
  ASSERT_TRUE(created.ok()) << created.error().message;
  const auto keys = store->list_keys({});
  ASSERT_EQ(keys->size(), 1u);
  const KeyRecord& key = keys->front();
  EXPECT_EQ(key.prefix, key_prefix(created->text));
  EXPECT_EQ(key.tenant_name, "acme");
  EXPECT_EQ(key.name, "laptop");
  EXPECT_EQ(key.scopes.text(), "inference,metrics");
  EXPECT_EQ(key.models, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(key.created_ms, kTestNow);
  EXPECT_EQ(key.expires_ms, kTestNow + 5);
  EXPECT_FALSE(key.revoked_ms.has_value());
  EXPECT_EQ(key.digest, digest_of(created->text));

  // The secret is nowhere in the store's files.
  const std::string secret = created->text.substr(14);
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(content.find(secret), std::string::npos) << entry.path();
  }
}

TEST_F(Store, KeyRequestsAreChecked) {
  const auto store = open_store();
  const auto refused = [&](NewKeyRequest request) {
    const auto created = store->create_key(request, kTestNow);
    return !created.ok() && created.error().code == ErrorCode::kInvalidArgument;
  };
  NewKeyRequest request;
  request.expires_ms = kTestNow;
  EXPECT_TRUE(refused(request));
  request = {};
  request.scopes = Scopes();
  EXPECT_TRUE(refused(request));
  request = {};
  request.models = {""};
  EXPECT_TRUE(refused(request));
  request = {};
  request.name = std::string(201, 'x');
  EXPECT_TRUE(refused(request));
  request = {};
  request.tenant = "nobody";
  EXPECT_EQ(store->create_key(request, kTestNow).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store->list_keys({})->empty());
}

TEST_F(Store, KeysAreFoundByTheBeginningOfTheirPrefix) {
  const auto store = open_store();
  std::vector<std::string> prefixes;
  for (int i = 0; i < 20; ++i) prefixes.push_back(store->create_key({}, kTestNow)->record.prefix);
  for (const std::string& prefix : prefixes) {
    const auto found = store->list_keys({.prefix = prefix});
    ASSERT_EQ(found->size(), 1u);
    EXPECT_EQ(found->front().prefix, prefix);
  }
  EXPECT_EQ(store->list_keys({.prefix = "rk_"})->size(), 20u);
  for (const char* none : {"%", "rk\\_%", "_k", "' OR 1=1 --", "rk_\xff"}) {
    EXPECT_TRUE(store->list_keys({.prefix = none})->empty()) << none;
  }
}

TEST_F(Store, RevokingNeedsOneKey) {
  const auto store = open_store();
  const auto a = store->create_key({}, kTestNow), b = store->create_key({}, kTestNow);
  EXPECT_EQ(store->revoke_key("rk_", kTestNow).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(store->revoke_key("", kTestNow).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(store->revoke_key("rk_%", kTestNow).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->revoke_key(a->record.prefix, kTestNow + 1)->revoked_ms, kTestNow + 1);
  EXPECT_EQ(store->revoke_key(a->record.prefix, kTestNow + 9)->revoked_ms, kTestNow + 1);
  // A whole key is taken for its prefix and not repeated.
  EXPECT_EQ(store->revoke_key(b->text, kTestNow)->prefix, b->record.prefix);
}

TEST_F(Store, ScopesAreParsedByName) {
  EXPECT_EQ(Scopes::parse("metrics,inference")->text(), "inference,metrics");
  EXPECT_EQ(Scopes::parse("admin")->text(), "admin");
  for (const char* text : {"", "root", "admin,", ",admin", "admin inference"}) {
    EXPECT_FALSE(Scopes::parse(text).ok()) << text;
  }
}

TEST_F(Store, OtherFilesAreLeftAlone) {
  std::ofstream(path_) << "Dear reader, this is a letter and not a store of anything at all.\n"
                       << std::string(4096, 'x');
  const auto letter = TenantStore::open(path_, true);
  ASSERT_FALSE(letter.ok());
  EXPECT_NE(letter.error().message.find("not a SQLite file"), std::string::npos);

  const std::string other = folder_ / "other.db";
  {
    auto database = SqliteDatabase::open(other, true);
    ASSERT_TRUE((*database)->execute("CREATE TABLE pictures (id INTEGER)").ok());
  }
  const auto before = std::filesystem::last_write_time(other);
  const auto refused = TenantStore::open(other, true);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("no store of Realm's"), std::string::npos);
  EXPECT_EQ(std::filesystem::last_write_time(other), before);
}

TEST_F(Store, ANewerStoreIsRefused) {
  open_store();
  {
    auto database = SqliteDatabase::open(path_, false);
    ASSERT_TRUE((*database)->execute("PRAGMA user_version = 1000").ok());
  }
  const auto refused = TenantStore::open(path_, true);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("newer"), std::string::npos);
}

TEST_F(Store, ManyMayOpenAndWriteAtOnce) {
  constexpr int kThreads = 4, kTenants = 10;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      const auto store = TenantStore::open(path_, true);
      ASSERT_TRUE(store.ok()) << store.error().message;
      for (int i = 0; i < kTenants; ++i) {
        const std::string name = "t" + std::to_string(thread) + "-" + std::to_string(i);
        const auto created = (*store)->create_tenant(name, {}, kTestNow);
        EXPECT_TRUE(created.ok()) << created.error().message;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(open_store()->list_tenants()->size(), 1u + kThreads * kTenants);
}

}  // namespace
}  // namespace realm
