// The route table: every path that answers, what it asks of the caller's key, in whose shape its
// errors are, and what it is for. The router, /openapi.json and the tests that walk every route
// read it; adding an endpoint is one file and one row.
#pragma once

#include <span>
#include <string_view>

#include "server/api/call.h"

namespace realm::server {

struct Route {
  std::string_view method;
  std::string_view path;  // "{model}" at the end takes the rest, slashes included
  Access access;
  ErrorShape shape;
  Handler handler;  // null: a WebSocket
  std::string_view summary;
  std::string_view request;   // names of schemas in openapi.cpp; empty: no body
  std::string_view response;  // "text": no JSON
};

std::span<const Route> routes();
// Null where no route has this path. `other_method`: one has, under another method.
const Route* find_route(std::string_view method, std::string_view path, bool& other_method);
// "GET, POST" of that path.
std::string allowed_methods(std::string_view path);

}  // namespace realm::server
