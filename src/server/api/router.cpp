#include "server/api/router.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <exception>

#include "server/api/ids.h"
#include "server/api/websocket_api.h"

namespace realm::server {
namespace {

// "localhost:8080" -> "localhost", "[::1]:80" -> "::1".
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  return std::string(host.substr(0, host.find(':')));
}

bool is_local_host(std::string_view host) {
  const std::string name = host_name(host);
  if (name.empty() || name == "localhost" || name.ends_with(".localhost")) return true;
  // An address cannot be pointed elsewhere.
  boost::system::error_code ec;
  boost::asio::ip::make_address(name, ec);
  return !ec;
}

bool is_same_origin(std::string_view origin, const std::string* host) {
  const size_t slashes = origin.find("://");
  return host != nullptr && slashes != std::string_view::npos &&
         origin.substr(slashes + 3) == *host;
}

}  // namespace

bool Router::is_allowed_origin(const HttpRequest& head, const std::string& origin) const {
  if (is_same_origin(origin, head.find("host"))) return true;
  return std::any_of(options_.cors_origins.begin(), options_.cors_origins.end(),
                     [&](const std::string& known) { return known == "*" || known == origin; });
}

std::optional<HttpResponse> Router::check_browser(const HttpRequest& head, ErrorShape shape) const {
  const std::string* host = head.find("host");
  if (options_.local_hosts_only && host != nullptr && !is_local_host(*host)) {
    return error_response({.status = 403,
                           .message = "without keys this server answers to localhost and addresses "
                                      "only, not to this host name",
                           .code = "host_not_allowed"},
                          shape);
  }
  const std::string* origin = head.find("origin");
  if (origin == nullptr || is_allowed_origin(head, *origin)) return std::nullopt;
  return error_response(
      {.status = 403,
       .message = "web pages of this origin may not use this server; the operator "
                  "allows origins with --cors-origin",
       .code = "origin_not_allowed"},
      shape);
}

HttpResponse Router::with_cors(HttpResponse response, const HttpRequest& head) const {
  const std::string* origin = head.find("origin");
  if (origin == nullptr || options_.cors_origins.empty() || !is_allowed_origin(head, *origin)) {
    return response;
  }
  response.headers.push_back({"access-control-allow-origin", *origin});
  response.headers.push_back({"vary", "origin"});
  return response;
}

HttpResponse Router::preflight(const HttpRequest& head) const {
  HttpResponse response{.status = 204, .content_type = ""};
  response.headers = {{"access-control-allow-methods", allowed_methods(head.path)},
                      {"access-control-allow-headers",
                       "authorization, content-type, x-api-key, anthropic-version, "
                       "x-stainless-arch, x-stainless-lang, x-stainless-os, "
                       "x-stainless-package-version, x-stainless-retry-count, "
                       "x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout"},
                      {"access-control-max-age", "600"}};
  return with_cors(std::move(response), head);
}

std::optional<HttpResponse> Router::screen(const HttpRequest& head) {
  bool other_method = false;
  const Route* route = find_route(head.method, head.path, other_method);
  const ErrorShape shape = route != nullptr ? route->shape : ErrorShape::kOpenAi;
  if (auto refusal = check_browser(head, shape)) return refusal;
  if (route == nullptr && other_method && head.method == "OPTIONS" &&
      head.find("origin") != nullptr) {
    return preflight(head);
  }
  if (route == nullptr && other_method) {
    HttpResponse response = error_response(
        {.status = 405, .message = head.method.substr(0, 20) + " is not answered here"}, shape);
    response.headers.push_back({"allow", allowed_methods(head.path)});
    return response;
  }
  if (route == nullptr) {
    return error_response(
        {.status = 404, .message = "there is nothing at " + head.path.substr(0, 200)}, shape);
  }
  Principal principal;
  if (const auto refusal = api_.authenticator.check(head, route->access, principal)) {
    return with_cors(error_response(*refusal, shape), head);
  }
  if (route->handler == nullptr && !head.wants_upgrade) {
    HttpResponse response =
        error_response({.status = 426, .message = "this path speaks WebSocket only"}, shape);
    response.headers.push_back({"upgrade", "websocket"});
    return response;
  }
  if (route->handler != nullptr && head.wants_upgrade) {
    return error_response({.status = 400, .message = "no WebSocket is offered at this path"},
                          shape);
  }
  return std::nullopt;
}

void Router::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  bool other_method = false;
  const Route* route = find_route(request.method, request.path, other_method);
  CHECK(route != nullptr && route->handler != nullptr);  // screen() has seen to it
  Call call{.api = api_,
            .request = std::move(request),
            .principal = {},
            .request_id = random_id("req_"),
            .shape = route->shape,
            .exchange = std::move(exchange)};
  call.exchange->add_header("x-request-id", call.request_id);
  if (call.shape == ErrorShape::kAnthropic)
    call.exchange->add_header("request-id", call.request_id);
  for (HttpHeader& header : with_cors({}, call.request).headers) {
    call.exchange->add_header(std::move(header.name), std::move(header.value));
  }
  // Again: a key may have been revoked while the body came.
  if (const auto refusal = api_.authenticator.check(call.request, route->access, call.principal)) {
    return call.respond(*refusal);
  }
  try {
    route->handler(call);
  } catch (const std::exception& error) {
    spdlog::error("{} {} failed: {}", route->method, route->path, error.what());
    if (!call.exchange->has_begun()) {
      call.respond(ApiError{
          .status = 500, .message = "the server failed to do this", .code = "internal_error"});
    }
  }
}

std::shared_ptr<WebSocketHandler> Router::open_websocket(const HttpRequest& head) {
  Principal principal;
  if (api_.authenticator.check(head, Access::kInference, principal)) return nullptr;
  return make_websocket_api(api_, std::move(principal));
}

HttpResponse Router::refuse(const HttpProblem& problem) {
  return error_response({.status = problem.status, .message = problem.message},
                        ErrorShape::kOpenAi);
}

}  // namespace realm::server
