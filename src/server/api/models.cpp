// GET /v1/models and /v1/models/{model}: what this key may use.
#include "base/json_writer.h"
#include "server/api/endpoints.h"

namespace realm::server {
namespace {

void write_model(JsonWriter& json, const ServedModel& model, const std::string& id) {
  json.begin_object()
      .text("id", id)
      .text("object", "model")
      .integer("created", model.created_s)
      .text("owned_by", "realm")
      .integer("max_model_len", model.context);
  json.end_object();
}

}  // namespace

void list_models(Call& call) {
  JsonWriter json;
  json.begin_object().text("object", "list").key("data").begin_array();
  for (const auto& model : call.api.models.all()) {
    if (!may_use(call.principal, *model)) continue;
    write_model(json, *model, model->id);
    for (const std::string& alias : model->aliases) write_model(json, *model, alias);
  }
  json.end_array().end_object();
  call.respond(json.str());
}

void show_model(Call& call) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name =
      decode_percent(std::string_view(call.request.path).substr(kPrefix.size()));
  std::optional<ApiError> error;
  const auto model = name.empty() ? nullptr : find_model(call.api, call.principal, name, error);
  if (model == nullptr) return call.respond(error.value_or(model_not_found(name)));
  JsonWriter json;
  write_model(json, *model, name);
  call.respond(json.str());
}

}  // namespace realm::server
