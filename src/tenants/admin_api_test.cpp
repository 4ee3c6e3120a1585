#include "tenants/admin_api.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "tenants/tenant_store_testing.h"

namespace realm {
namespace {

namespace json = boost::json;

class AdminApi : public TenantStoreTest {
 protected:
  void SetUp() override {
    TenantStoreTest::SetUp();
    store_ = open_store();
  }
  json::object good(const std::string& method, const std::string& target,
                    const std::string& body = "") {
    const auto answer = administer(*store_, {method, target, body}, kTestNow);
    EXPECT_TRUE(answer.ok()) << method << " " << target << ": " << answer.error().message;
    return answer.ok() ? json::parse(*answer).as_object() : json::object{};
  }
  Error bad(const std::string& method, const std::string& target, const std::string& body = "") {
    const auto answer = administer(*store_, {method, target, body}, kTestNow);
    EXPECT_FALSE(answer.ok()) << method << " " << target;
    return answer.ok() ? Error{} : answer.error();
  }
  std::unique_ptr<TenantStore> store_;
};

TEST_F(AdminApi, TenantsLifeFromBeginningToEnd) {
  const auto made =
      good("POST", "/admin/tenants", R"({"name": "acme", "weight": 2.5, "tokens_per_day": 1000})");
  EXPECT_EQ(made.at("name"), "acme");
  EXPECT_EQ(made.at("weight"), 2.5);
  EXPECT_EQ(made.at("tokens_per_day"), 1000);
  EXPECT_EQ(made.at("kv_pages"), -1);
  EXPECT_EQ(made.at("suspended"), false);
  EXPECT_EQ(made.at("created_ms"), kTestNow);
  EXPECT_EQ(made.size(), 3 + quota_fields().size());
  EXPECT_EQ(good("GET", "/admin/tenants").at("tenants").as_array().size(), 2u);
  const auto changed =
      good("PATCH", "/admin/tenants/acme", R"({"kv_pages": 7, "suspended": true})");
  EXPECT_EQ(changed.at("kv_pages"), 7);
  EXPECT_EQ(changed.at("weight"), 2.5);
  EXPECT_EQ(good("GET", "/admin/tenants/acme"), changed);
  EXPECT_EQ(good("DELETE", "/admin/tenants/acme").at("removed"), "acme");
  EXPECT_EQ(bad("GET", "/admin/tenants/acme").code, ErrorCode::kNotFound);
}

TEST_F(AdminApi, KeysLifeFromBeginningToEnd) {
  const auto made = good("POST", "/admin/keys",
                         R"({"name": "ci", "scopes": "metrics", "models": ["a"],)"
                         R"( "expires_ms": 1864000000000})");
  const std::string text(made.at("key").as_string()), prefix(made.at("prefix").as_string());
  EXPECT_EQ(key_prefix(text), prefix);
  EXPECT_EQ(made.at("tenant"), "default");
  EXPECT_EQ(made.at("models").as_array().size(), 1u);
  const auto listed = good("GET", "/admin/keys?tenant=default&prefix=" + prefix);
  ASSERT_EQ(listed.at("keys").as_array().size(), 1u);
  EXPECT_FALSE(listed.at("keys").as_array()[0].as_object().contains("key"));
  EXPECT_EQ(json::serialize(listed).find(text.substr(14)), std::string::npos);
  EXPECT_EQ(good("DELETE", "/admin/keys/" + prefix).at("revoked_ms"), kTestNow);
}

TEST_F(AdminApi, UsageNamesItsGroups) {
  const auto report = good("GET", "/admin/usage?by=tenant,day&since_ms=1&until_ms=5");
  EXPECT_EQ(json::serialize(report.at("by")), R"(["tenant","day"])");
  EXPECT_TRUE(report.at("usage").as_array().empty());
  const auto sum = good("GET", "/admin/usage").at("usage").as_array();
  ASSERT_EQ(sum.size(), 1u);
  EXPECT_EQ(sum[0].at("requests"), 0);
}

TEST_F(AdminApi, WhatIsWrongIsNamed) {
  const struct {
    const char *method, *target, *body, *says;
  } cases[] = {
      {"POST", "/admin/tenants", "", "JSON object"},
      {"POST", "/admin/tenants", "[]", "JSON object"},
      {"POST", "/admin/tenants", "{}", "name is missing"},
      {"POST", "/admin/tenants", R"({"name": 5})", "name must be a string"},
      {"POST", "/admin/tenants", R"({"name": "a", "colour": 1})", "'colour'"},
      {"POST", "/admin/tenants", R"({"name": "a", "weight": "big"})", "weight must be a number"},
      {"POST", "/admin/tenants", R"({"name": "a", "weight": 1e99})", "weight must be"},
      {"POST", "/admin/tenants", R"({"name": "a", "kv_pages": 1.5})", "kv_pages must be"},
      {"POST", "/admin/tenants", R"({"name": "a", "suspended": 1})", "suspended must be"},
      {"POST", "/admin/tenants?x=1", "{}", "'x'"},
      {"PATCH", "/admin/tenants/default", R"({"name": "other"})", "cannot be changed"},
      {"PUT", "/admin/tenants", "{}", "PUT"},
      {"DELETE", "/admin/tenants", "", "DELETE"},
      {"POST", "/admin/keys", R"({"scopes": "root"})", "root"},
      {"POST", "/admin/keys", R"({"models": "a"})", "models must be"},
      {"POST", "/admin/keys", R"({"models": [1]})", "models must be"},
      {"POST", "/admin/keys", R"({"expires_ms": 1.5})", "expires_ms must be"},
      {"POST", "/admin/keys", R"({"expires_ms": 5})", "past"},
      {"POST", "/admin/keys", R"({"owner": "me"})", "'owner'"},
      {"GET", "/admin/usage?by=week", "", "week"},
      {"GET", "/admin/usage?since_ms=monday", "", "since_ms must be"},
      {"GET", "/admin/usage?until=5", "", "'until'"},
      {"POST", "/admin/usage", "{}", "POST"},
  };
  for (const auto& entry : cases) {
    const Error error = bad(entry.method, entry.target, entry.body);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << entry.target << entry.body;
    EXPECT_NE(error.message.find(entry.says), std::string::npos) << error.message;
  }
  for (const char* target : {"/", "", "/admin", "/admin/", "/admin/models", "/v1/models"}) {
    EXPECT_EQ(bad("GET", target).code, ErrorCode::kNotFound) << target;
  }
  EXPECT_EQ(store_->list_tenants()->size(), 1u);
  EXPECT_TRUE(store_->list_keys({})->empty());
}

TEST_F(AdminApi, NamesArriveAsTheyWereMeant) {
  EXPECT_EQ(percent_encoded("a b/c?d=%e\xc3\xa9"), "a%20b%2Fc%3Fd%3D%25e%C3%A9");
  const std::string odd = "no/such&tenant=%41";
  EXPECT_NE(bad("GET", "/admin/tenants/" + percent_encoded(odd)).message.find(odd),
            std::string::npos);
  EXPECT_NE(bad("GET", "/admin/tenants/100%").message.find("100%"), std::string::npos);
  EXPECT_NE(bad("GET", "/admin/tenants/%4").message.find("%4"), std::string::npos);
}

}  // namespace
}  // namespace realm
