// GET /openapi.json: the route table as an OpenAPI 3.1 document.
#include <map>
#include <set>

#include "base/json_writer.h"
#include "server/api/endpoints.h"
#include "server/api/routes.h"
#include "server/api/schemas.h"

namespace realm::server {
namespace {

void write_content(JsonWriter& json, std::string_view schema) {
  json.key("content").begin_object();
  if (schema == "text") {
    json.key("text/plain").begin_object().key("schema").begin_object();
    json.text("type", "string").end_object().end_object();
  } else {
    json.key("application/json").begin_object().key("schema").begin_object();
    json.text("$ref", "#/components/schemas/" + std::string(schema)).end_object().end_object();
  }
  json.end_object();
}

void write_route(JsonWriter& json, const Route& route) {
  std::string lower(route.method);
  for (char& c : lower) c = static_cast<char>(c - 'A' + 'a');
  json.key(lower).begin_object().text("summary", route.summary);
  if (route.access != Access::kOpen) {
    json.key("security").begin_array().begin_object().key("key").begin_array().end_array();
    json.end_object().end_array();
  }
  json.text("x-access", access_name(route.access));
  if (route.path.ends_with("{model}")) {
    json.key("parameters").begin_array().begin_object();
    json.text("name", "model").text("in", "path").boolean("required", true);
    json.key("schema").begin_object().text("type", "string").end_object();
    json.end_object().end_array();
  }
  if (!route.request.empty()) {
    json.key("requestBody").begin_object().boolean("required", true);
    write_content(json, route.request);
    json.end_object();
  }
  json.key("responses").begin_object();
  if (route.handler == nullptr) {
    json.key("101").begin_object().text("description", "WebSocket").end_object();
  } else {
    json.key("200").begin_object().text("description", "done");
    write_content(json, route.response);
    json.end_object();
  }
  json.key("default").begin_object().text("description", "refused or failed");
  write_content(json, route.shape == ErrorShape::kAnthropic ? "AnthropicError"
                      : route.shape == ErrorShape::kOllama  ? "OllamaError"
                                                            : "Error");
  json.end_object().end_object().end_object();
}

}  // namespace

void openapi(Call& call) {
  JsonWriter json;
  json.begin_object().text("openapi", "3.1.0").key("info").begin_object();
  json.text("title", "Realm").text("version", call.api.version).end_object();
  json.key("paths").begin_object();
  std::map<std::string_view, std::vector<const Route*>> paths;
  for (const Route& route : routes()) paths[route.path].push_back(&route);
  for (const auto& [path, on_path] : paths) {
    json.key(path).begin_object();
    for (const Route* route : on_path) write_route(json, *route);
    json.end_object();
  }
  json.end_object().key("components").begin_object().key("schemas").begin_object();
  for (const Schema& schema : schemas()) json.raw(schema.name, schema.json);
  json.end_object().key("securitySchemes").begin_object().key("key").begin_object();
  json.text("type", "http").text("scheme", "bearer");
  json.end_object().end_object().end_object().end_object();
  call.respond(json.str());
}

}  // namespace realm::server
