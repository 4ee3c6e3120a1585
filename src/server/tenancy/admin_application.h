// What answers on the admin listener: tenants, keys and usage (tenants/admin_api.h), models loaded
// and unloaded, /metrics. It has an address and an I/O thread of its own, so that what it does (a
// store's disk, a model's load) never holds up a request for tokens, and so that an operator can
// keep it off the network. Every path needs a key with its scope; browsers are refused.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "server/api/authenticator.h"
#include "server/http/application.h"
#include "tenants/admin_api.h"

namespace realm::server {

struct AdminRoute {
  std::string_view method;
  std::string_view path;  // "{name}" at the end is one thing's name
  Access access;
};
std::span<const AdminRoute> admin_routes();

struct AdminActions {
  // Empty functions: there is no store; models cannot be changed.
  std::function<Result<std::string>(const AdminRequest&)> administer;
  std::function<Result<std::string>(const AdminRequest&)> models;
  std::function<std::string()> metrics;
};

class AdminApplication final : public HttpApplication {
 public:
  AdminApplication(Authenticator& authenticator, AdminActions actions)
      : authenticator_(authenticator), actions_(std::move(actions)) {}

  std::optional<HttpResponse> screen(const HttpRequest& head) override;
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override;
  std::shared_ptr<WebSocketHandler> open_websocket(const HttpRequest& head) override;
  HttpResponse refuse(const HttpProblem& problem) override;

 private:
  HttpResponse answer(const HttpRequest& request);

  Authenticator& authenticator_;
  const AdminActions actions_;
};

// What Prometheus' text format is called.
inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace realm::server
