// POST /v1/embeddings. No model of this server gives hidden states yet, and an answer made of
// anything else would be a lie: the request is read, and refused by the model's name.
#include "server/api/endpoints.h"
#include "server/api/field_reader.h"

namespace realm::server {

void embeddings(Call& call) {
  boost::json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  const auto model = find_model(call.api, call.principal, fields.text("model").value_or(""), error);
  if (!fields.has("input")) fields.fail("input", "is required");
  if (error) return call.respond(*error);
  ApiError refusal = bad_field(
      "model", "the model '" + model->id + "' generates text and gives no embeddings here");
  refusal.code = "unsupported_model";
  call.respond(refusal);
}

}  // namespace realm::server
