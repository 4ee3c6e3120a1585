// One API call on its way through a handler, and what handlers share.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <string>

#include "server/api/api_error.h"
#include "server/api/authenticator.h"
#include "server/api/generation.h"
#include "server/api/served_model.h"
#include "server/http/exchange.h"
#include "server/http/limits.h"

namespace realm::server {

struct ApiContext {
  ModelSet& models;
  Authenticator& authenticator;
  const HttpLimits& limits;
  std::string version;
  int64_t started_s = 0;
  std::function<std::string()> metrics = {};  // the text of /metrics
};

struct Call {
  ApiContext& api;
  HttpRequest request;
  Principal principal;
  std::string request_id;
  ErrorShape shape;
  std::shared_ptr<Exchange> exchange;

  void respond(std::string json) { exchange->respond({.body = std::move(json)}); }
  void respond(const ApiError& error) { exchange->respond(error_response(error, shape)); }
};

using Handler = void (*)(Call& call);

// The body as a JSON object; false: the call has been refused.
bool read_body(Call& call, boost::json::object& out);
// By any of the model's names.
bool may_use(const Principal& principal, const ServedModel& model);
// The model of that name which this caller may use. Null: `error` says so (404 either way, so that
// nobody learns of models he may not use).
std::shared_ptr<ServedModel> find_model(const ApiContext& api, const Principal& principal,
                                        const std::string& name, std::optional<ApiError>& error);

// Starts the generation and ties it to the exchange: a client that goes cancels it, a slow one
// slows it. False: refused, and answered with the refusal.
bool run_generation(Call& call, GenerationSpec spec, std::unique_ptr<GenerationObserver> observer);

// The same for an observer that begins its stream with open(), once the request has been taken.
template <typename Stream>
void run_stream(Call& call, GenerationSpec spec, std::unique_ptr<Stream> observer) {
  Stream* const stream = observer.get();  // lives until the scheduler's last event has been heard
  if (run_generation(call, std::move(spec), std::move(observer))) stream->open();
}

int64_t unix_seconds();

}  // namespace realm::server
