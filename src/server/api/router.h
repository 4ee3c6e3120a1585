// The server's HttpApplication: finds the route, asks the authenticator, holds browsers to the
// origins the operator allows, and calls the handler. Owns nothing of a request's life after that.
#pragma once

#include <string>
#include <vector>

#include "server/api/call.h"
#include "server/api/routes.h"
#include "server/http/application.h"

namespace realm::server {

struct RouterOptions {
  std::vector<std::string> cors_origins = {};  // "https://app.example.com", or "*"; none by default
  // Where no key guards the server: only names that mean this machine are accepted as Host, so that
  // no web page reaches it by a name that its owner points here (DNS rebinding).
  bool local_hosts_only = false;
};

class Router final : public HttpApplication {
 public:
  Router(ApiContext& api, RouterOptions options) : api_(api), options_(std::move(options)) {}

  std::optional<HttpResponse> screen(const HttpRequest& head) override;
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override;
  std::shared_ptr<WebSocketHandler> open_websocket(const HttpRequest& head) override;
  HttpResponse refuse(const HttpProblem& problem) override;

 private:
  bool is_allowed_origin(const HttpRequest& head, const std::string& origin) const;
  std::optional<HttpResponse> check_browser(const HttpRequest& head, ErrorShape shape) const;
  HttpResponse preflight(const HttpRequest& head) const;
  HttpResponse with_cors(HttpResponse response, const HttpRequest& head) const;

  ApiContext& api_;
  const RouterOptions options_;
};

}  // namespace realm::server
