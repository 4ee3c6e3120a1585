// GET /health (is the process alive and no engine broken), /ready (would it take a request now),
// /version, /metrics.
#include "base/json_writer.h"
#include "server/api/endpoints.h"

namespace realm::server {

void health(Call& call) {
  for (const auto& model : call.api.models.all()) {
    if (!model->scheduler->stats().fault) continue;
    // Why is for the log, not for whoever can reach this.
    return call.respond(
        ApiError{.status = 503, .message = "a model's engine is broken", .code = "unhealthy"});
  }
  call.respond("{\"status\": \"ok\"}");
}

void ready(Call& call) {
  const auto models = call.api.models.all();
  bool accepts = !models.empty();
  for (const auto& model : models) {
    const SchedulerStats stats = model->scheduler->stats();
    accepts = accepts && stats.accepting && !stats.fault;
  }
  if (!accepts) {
    return call.respond(ApiError{.status = 503,
                                 .message = "no request would be taken now",
                                 .code = "not_ready",
                                 .retry_after_s = 1});
  }
  call.respond("{\"status\": \"ready\"}");
}

void metrics(Call& call) {
  if (!call.api.metrics) {
    return call.respond(ApiError{.status = 404, .message = "this server keeps no metrics"});
  }
  call.exchange->respond(
      {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = call.api.metrics()});
}

void version(Call& call) {
  JsonWriter json;
  json.begin_object().text("version", call.api.version).text("server", "realm").end_object();
  call.respond(json.str());
}

}  // namespace realm::server
