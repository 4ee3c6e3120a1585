#include "server/tenancy/admin_application.h"

#include <spdlog/spdlog.h>

#include "server/api/api_error.h"

namespace realm::server {
namespace {

using enum Access;

constexpr AdminRoute kRoutes[] = {
    {"GET", "/admin/tenants", kAdmin},
    {"POST", "/admin/tenants", kAdmin},
    {"GET", "/admin/tenants/{name}", kAdmin},
    {"PATCH", "/admin/tenants/{name}", kAdmin},
    {"DELETE", "/admin/tenants/{name}", kAdmin},
    {"GET", "/admin/keys", kAdmin},
    {"POST", "/admin/keys", kAdmin},
    {"DELETE", "/admin/keys/{name}", kAdmin},
    {"GET", "/admin/usage", kAdmin},
    {"GET", "/admin/models", kAdmin},
    {"POST", "/admin/models", kAdmin},
    {"DELETE", "/admin/models/{name}", kAdmin},
    {"GET", "/admin/prefixes", kAdmin},
    {"POST", "/admin/prefixes", kAdmin},
    {"DELETE", "/admin/prefixes/{name}", kAdmin},
    {"GET", "/metrics", kMetrics},
};
constexpr std::string_view kName = "{name}";

bool matches(const AdminRoute& route, std::string_view path) {
  if (!route.path.ends_with(kName)) return route.path == path;
  const std::string_view prefix = route.path.substr(0, route.path.size() - kName.size());
  return path.starts_with(prefix) && path.size() > prefix.size() &&
         path.find('/', prefix.size()) == std::string_view::npos;
}

HttpResponse error_of(const ApiError& error) {
  return error_response(error, ErrorShape::kOpenAi);
}

const AdminRoute* find_admin_route(std::string_view method, std::string_view path,
                                   bool& other_method) {
  other_method = false;
  for (const AdminRoute& route : kRoutes) {
    if (!matches(route, path)) continue;
    if (route.method == method) return &route;
    other_method = true;
  }
  return nullptr;
}

}  // namespace

std::span<const AdminRoute> admin_routes() {
  return kRoutes;
}

std::optional<HttpResponse> AdminApplication::screen(const HttpRequest& head) {
  if (head.find("origin") != nullptr) {
    return error_of({.status = 403,
                     .message = "web pages may not administer this server",
                     .code = "origin_not_allowed"});
  }
  bool other_method = false;
  const AdminRoute* route = find_admin_route(head.method, head.path, other_method);
  // Who has no key learns not even which paths there are.
  Principal principal;
  const Access access = route == nullptr ? kAdmin : route->access;
  if (const auto refusal = authenticator_.check(head, access, principal)) return error_of(*refusal);
  if (route == nullptr) {
    return error_of({.status = other_method ? 405 : 404,
                     .message = head.method.substr(0, 20) + " " + head.path.substr(0, 200) +
                                " is not answered here"});
  }
  if (head.wants_upgrade) {
    return error_of({.status = 400, .message = "no WebSocket is offered at this path"});
  }
  return std::nullopt;
}

HttpResponse AdminApplication::answer(const HttpRequest& request) {
  bool other_method = false;
  const AdminRoute* route = find_admin_route(request.method, request.path, other_method);
  CHECK(route != nullptr);  // screen() has seen to it
  Principal principal;
  // Again: a key may have been revoked while the body came.
  if (const auto refusal = authenticator_.check(request, route->access, principal)) {
    return error_of(*refusal);
  }
  if (route->access == kMetrics) {
    return {.content_type = kMetricsContentType, .body = actions_.metrics()};
  }
  const bool is_models =
      request.path.starts_with("/admin/models") || request.path.starts_with("/admin/prefixes");
  const auto& action = is_models ? actions_.models : actions_.administer;
  if (!action) {
    return error_of({.status = 404, .message = "this server has no store; start it with --store"});
  }
  const auto json = action({request.method, request.target, request.body});
  if (!json.ok()) return error_of(api_error(json.error()));
  if (request.method != "GET") {
    spdlog::info("{} {} by key {}", request.method, request.path, principal.key_prefix);
  }
  return {.body = *json};
}

void AdminApplication::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  exchange->respond(answer(request));
}

std::shared_ptr<WebSocketHandler> AdminApplication::open_websocket(const HttpRequest&) {
  return nullptr;
}

HttpResponse AdminApplication::refuse(const HttpProblem& problem) {
  return error_of({.status = problem.status, .message = problem.message});
}

}  // namespace realm::server
