// Every route of both route tables against every kind of key, and the ways around a check that were
// found in other servers: odd headers, odd paths.
#include <gtest/gtest.h>

#include <cctype>

#include "base/clock.h"
#include "server/api/router.h"
#include "server/tenancy/admin_application.h"
#include "server/tenancy/tenant_authenticator.h"
#include "tenants/tenant_store_testing.h"

namespace realm::server {
namespace {

std::string concrete(std::string_view path) {
  std::string text(path);
  if (const size_t brace = text.find('{'); brace != std::string::npos) text.resize(brace);
  return text.size() == path.size() ? text : text + "thing";
}

class AuthMatrix : public TenantStoreTest {
 protected:
  void SetUp() override {
    TenantStoreTest::SetUp();
    TenancyOptions options;
    options.store_path = path_;
    auto tenancy = Tenancy::open(std::move(options));
    ASSERT_TRUE(tenancy.ok()) << tenancy.error().message;
    tenancy_ = std::move(tenancy).value();
    reports_ = std::make_unique<RequestReports>(10);
    authenticator_ = std::make_unique<TenantAuthenticator>(tenancy_.get(), *reports_);
    api_ = std::make_unique<ApiContext>(ApiContext{
        .models = models_, .authenticator = *authenticator_, .limits = limits_, .version = "0"});
    router_ = std::make_unique<Router>(*api_, RouterOptions{});
    admin_ = std::make_unique<AdminApplication>(*authenticator_, AdminActions{});
  }

  std::string key(Scopes scopes, const std::string& tenant = "default") {
    NewKeyRequest request;
    request.tenant = tenant;
    request.scopes = scopes;
    const auto made = tenancy_->store().create_key(request, unix_ms_now());
    EXPECT_TRUE(made.ok());
    EXPECT_TRUE(tenancy_->directory().refresh().ok());
    prefixes_.push_back(made->record.prefix);
    return made->text;
  }

  static HttpRequest request(std::string_view method, const std::string& path,
                             std::vector<HttpHeader> headers = {}) {
    HttpRequest made;
    made.method = method;
    made.target = made.path = path;
    made.headers = std::move(headers);
    return made;
  }
  static HttpHeader bearer(const std::string& key) { return {"authorization", "Bearer " + key}; }

  // The status with which the request is refused before its body is read; 0: it is let in.
  static int refusal(HttpApplication& application, const HttpRequest& head) {
    const auto response = application.screen(head);
    return response ? response->status : 0;
  }

  // Calls visit(application, method, path, access) for every route there is.
  template <typename Visit>
  void for_each_route(Visit visit) {
    for (const Route& route : routes()) {
      // A WebSocket's route asks for an upgrade only after the key: 426 is "let in" here.
      visit(static_cast<HttpApplication&>(*router_), route.method, concrete(route.path),
            route.access, route.handler == nullptr ? 426 : 0);
    }
    for (const AdminRoute& route : admin_routes()) {
      visit(static_cast<HttpApplication&>(*admin_), route.method, concrete(route.path),
            route.access, 0);
    }
  }

  ModelSet models_;
  HttpLimits limits_;
  std::unique_ptr<Tenancy> tenancy_;
  std::unique_ptr<RequestReports> reports_;
  std::unique_ptr<TenantAuthenticator> authenticator_;
  std::unique_ptr<ApiContext> api_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<AdminApplication> admin_;
  std::vector<std::string> prefixes_;
};

TEST_F(AuthMatrix, EveryRouteByEveryScope) {
  const std::pair<Scopes, Access> kinds[] = {{Scope::kInference, Access::kInference},
                                             {Scope::kAdmin, Access::kAdmin},
                                             {Scope::kMetrics, Access::kMetrics}};
  for (const auto& [scopes, access] : kinds) {
    const std::string text = key(scopes);
    for_each_route([&, wanted = access](HttpApplication& application, std::string_view method,
                                        const std::string& path, Access asked, int let_in) {
      const bool may = asked == Access::kOpen || asked == wanted;
      const int expected = may ? let_in : 403;
      EXPECT_EQ(refusal(application, request(method, path, {bearer(text)})), expected)
          << method << " " << path << " with " << scopes.text();
      EXPECT_EQ(refusal(application, request(method, path, {{"x-api-key", text}})), expected)
          << method << " " << path << " with " << scopes.text();
    });
  }
}

TEST_F(AuthMatrix, NoKeyNoEntry) {
  const std::string good = key(Scopes(Scope::kInference) | Scope::kAdmin | Scope::kMetrics);
  std::string changed = good;
  changed.back() = changed.back() == 'x' ? 'y' : 'x';
  const std::vector<std::vector<HttpHeader>> attempts = {
      {},
      {bearer("")},
      {{"authorization", ""}},
      {{"authorization", "Bearer"}},
      {{"authorization", good}},
      {{"authorization", "Basic " + good}},
      {{"authorization", "Bearer  " + good}},
      {{"authorization", "Bearer " + good + " "}},
      {{"authorization", "Bearer " + good + ",x"}},
      {{"authorization", "Bearer\t" + good}},
      {bearer(changed)},
      {bearer(good.substr(0, 13))},
      {bearer(good.substr(0, good.size() - 1))},
      {bearer(good), bearer(good)},
      {bearer("x"), bearer(good)},
      {{"x-api-key", ""}},
      {{"x-api-key", changed}},
      {{"x-api-key", good}, {"x-api-key", good}},
      {bearer(good), {"x-api-key", changed}},
      {{"x-real-ip", "127.0.0.1"}, {"x-forwarded-for", "127.0.0.1"}, {"host", "localhost"}},
      {{"x-authorization", "Bearer " + good}},
      {{"cookie", "authorization=" + good}},
      {{"proxy-authorization", "Bearer " + good}},
      {{"x-original-url", "/health"}, {"x-rewrite-url", "/health"}},
      {{"x-http-method-override", "GET"}},
  };
  for_each_route([&](HttpApplication& application, std::string_view method, const std::string& path,
                     Access access, int) {
    if (access == Access::kOpen) return;
    for (size_t i = 0; i < attempts.size(); ++i) {
      EXPECT_EQ(refusal(application, request(method, path, attempts[i])), 401)
          << method << " " << path << " attempt " << i;
    }
    EXPECT_EQ(refusal(application, request(method, path + "?api_key=" + good)), 401) << path;
  });
}

TEST_F(AuthMatrix, OddPathsReachNothing) {
  key(Scope::kInference);
  for_each_route([&](HttpApplication& application, std::string_view method, const std::string& path,
                     Access access, int) {
    if (access == Access::kOpen) return;
    std::string upper = path, encoded = path;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    encoded.replace(1, 1,
                    "%" + std::string(1, "0123456789abcdef"[encoded[1] >> 4]) +
                        std::string(1, "0123456789abcdef"[encoded[1] & 15]));
    for (const std::string& odd :
         {"/" + path, path + "/", path + "/.", "/." + path, "/health/.." + path, upper, encoded,
          path + ";x", path + "%00", path + "%2f", "/health;" + path, path.substr(1)}) {
      EXPECT_NE(refusal(application, request(method, odd)), 0) << method << " " << odd;
    }
    // Methods that a server could take for others.
    for (const char* other : {"get", "POST ", "CONNECT", "TRACE", "PROPFIND", ""}) {
      EXPECT_NE(refusal(application, request(other, path)), 0) << other << " " << path;
    }
  });
}

TEST_F(AuthMatrix, RevokedExpiredAndSuspendedKeys) {
  ASSERT_TRUE(tenancy_->store().create_tenant("acme", {}, unix_ms_now()).ok());
  const Scopes all = Scopes(Scope::kInference) | Scope::kAdmin | Scope::kMetrics;
  const std::string revoked = key(all), suspended = key(all, "acme");
  ASSERT_TRUE(tenancy_->store().revoke_key(prefixes_[0], unix_ms_now()).ok());
  ASSERT_TRUE(tenancy_->store().set_tenant("acme", {}, true).ok());
  ASSERT_TRUE(tenancy_->directory().refresh().ok());
  for_each_route([&](HttpApplication& application, std::string_view method, const std::string& path,
                     Access access, int) {
    if (access == Access::kOpen) return;
    EXPECT_EQ(refusal(application, request(method, path, {bearer(revoked)})), 401) << path;
    EXPECT_EQ(refusal(application, request(method, path, {bearer(suspended)})), 403) << path;
  });
}

TEST_F(AuthMatrix, WithoutKeysNobodyIsAnAdministrator) {
  for_each_route([&](HttpApplication& application, std::string_view method, const std::string& path,
                     Access access, int let_in) {
    EXPECT_EQ(refusal(application, request(method, path)), access == Access::kAdmin ? 403 : let_in)
        << path;
  });
}

TEST_F(AuthMatrix, AdministrationIsNotForBrowsers) {
  const std::string text = key(Scope::kAdmin);
  for (const AdminRoute& route : admin_routes()) {
    EXPECT_EQ(refusal(*admin_, request(route.method, concrete(route.path),
                                       {bearer(text), {"origin", "http://localhost"}})),
              403);
  }
}

TEST_F(AuthMatrix, AdministrationTellsStrangersNothing) {
  const std::string text = key(Scope::kAdmin);
  for (const char* path : {"/", "/admin", "/admin/secrets", "/v1/models"}) {
    EXPECT_EQ(refusal(*admin_, request("GET", path)), 401) << path;
    EXPECT_EQ(refusal(*admin_, request("GET", path, {bearer(text)})), 404) << path;
  }
  EXPECT_EQ(refusal(*admin_, request("PUT", "/admin/tenants", {bearer(text)})), 405);
}

TEST_F(AuthMatrix, ThePrincipalIsTheKeysTenant) {
  Quotas quotas;
  quotas.priority = 0;
  ASSERT_TRUE(tenancy_->store().create_tenant("acme", quotas, unix_ms_now()).ok());
  NewKeyRequest wanted;
  wanted.tenant = "acme";
  wanted.models = {"tiny"};
  const auto made = tenancy_->store().create_key(wanted, unix_ms_now());
  ASSERT_TRUE(tenancy_->directory().refresh().ok());
  Principal principal;
  HttpRequest head = request("GET", "/v1/models", {bearer(made->text)});
  head.headers.push_back(
      {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"});
  ASSERT_FALSE(authenticator_->check(head, Access::kInference, principal).has_value());
  EXPECT_EQ(principal.tenant_name, "acme");
  EXPECT_EQ(principal.key_id, static_cast<int64_t>(made->record.id));
  EXPECT_TRUE(principal.may_use("tiny"));
  EXPECT_FALSE(principal.may_use("large"));
  EXPECT_EQ(principal.priority_max, Priority::kNormal);
  ASSERT_TRUE(principal.trace.has_value());
  EXPECT_EQ(hex(principal.trace->trace), "0af7651916cd43dd8448eb211c80319c");
}

}  // namespace
}  // namespace realm::server
