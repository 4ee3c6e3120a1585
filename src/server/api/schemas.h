// JSON schemas of requests and answers, for /openapi.json: as much as a client's author needs to
// see the fields. What is accepted is decided by the handlers.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace realm::server {

struct Schema {
  std::string_view name;
  std::string json;
};

std::span<const Schema> schemas();

}  // namespace realm::server
