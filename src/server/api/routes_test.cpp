#include "server/api/routes.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <set>

#include "server/api/endpoints.h"
#include "server/api/schemas.h"

namespace realm::server {
namespace {

TEST(Routes, AreFoundByTheirExactPath) {
  bool other = false;
  for (const Route& route : routes()) {
    EXPECT_EQ(find_route(route.method, route.path, other), &route) << route.path;
    if (route.path.ends_with("}")) continue;
    for (const std::string& path :
         {std::string(route.path) + "/", "/" + std::string(route.path),
          std::string(route.path) + "%20", "//" + std::string(route.path.substr(1)),
          std::string(route.path) + "/../x"}) {
      // "/v1/models/" is no model's name, "/v1/models/.." would be one: it is looked up as such.
      const Route* found = find_route(route.method, path, other);
      EXPECT_TRUE(found == nullptr || found->path.ends_with("{model}")) << path;
    }
  }
}

TEST(Routes, TellOfOtherMethods) {
  bool other = false;
  EXPECT_EQ(find_route("DELETE", "/health", other), nullptr);
  EXPECT_TRUE(other);
  EXPECT_EQ(allowed_methods("/health"), "GET, HEAD");
  EXPECT_NE(find_route("HEAD", "/health", other), nullptr);
  EXPECT_EQ(find_route("GET", "/nothing", other), nullptr);
  EXPECT_FALSE(other);
}

// Nothing that runs a model or tells of one is open, and what is open is this list.
TEST(Routes, OpenOnesAreFew) {
  std::set<std::string_view> open;
  for (const Route& route : routes()) {
    if (route.access == Access::kOpen) open.insert(route.path);
  }
  EXPECT_EQ(open, (std::set<std::string_view>{"/health", "/ready", "/version", "/openapi.json",
                                              "/api/version"}));
}

TEST(Routes, NameSchemasThatExist) {
  std::set<std::string_view> names = {"", "text"};
  for (const Schema& schema : schemas()) {
    EXPECT_TRUE(boost::json::parse(schema.json).is_object());
    names.insert(schema.name);
  }
  for (const Route& route : routes()) {
    EXPECT_TRUE(names.contains(route.request)) << route.path << ": " << route.request;
    EXPECT_TRUE(names.contains(route.response)) << route.path << ": " << route.response;
  }
}

}  // namespace
}  // namespace realm::server
