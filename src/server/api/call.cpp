#include "server/api/call.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/api/field_reader.h"

namespace realm::server {

bool read_body(Call& call, boost::json::object& out) {
  if (auto error = parse_body(call.request.body, call.api.limits.body_bytes_max, out)) {
    call.respond(*error);
    return false;
  }
  return true;
}

bool may_use(const Principal& principal, const ServedModel& model) {
  return principal.may_use(model.id) ||
         std::any_of(model.aliases.begin(), model.aliases.end(),
                     [&](const std::string& alias) { return principal.may_use(alias); });
}

std::shared_ptr<ServedModel> find_model(const ApiContext& api, const Principal& principal,
                                        const std::string& name, std::optional<ApiError>& error) {
  auto model = api.models.find(name);
  if (model != nullptr && may_use(principal, *model)) return model;
  if (!error) {
    error = name.empty() ? bad_field("model", "model is required: several models are served here")
                         : model_not_found(name.substr(0, 200));
  }
  return nullptr;
}

bool run_generation(Call& call, GenerationSpec spec, std::unique_ptr<GenerationObserver> observer) {
  spec.principal = call.principal;
  spec.request_id = call.request_id;
  std::shared_ptr<Generation> generation;
  if (const auto refusal =
          Generation::start(std::move(spec), call.api.authenticator, call.exchange->loop(),
                            std::move(observer), generation)) {
    call.respond(*refusal);
    return false;
  }
  const std::weak_ptr<Generation> weak = generation;
  call.exchange->on_closed([weak] {
    if (const auto running = weak.lock()) running->cancel();
  });
  call.exchange->on_pressure(call.api.limits.backlog_bytes_max, [weak](bool high) {
    if (const auto running = weak.lock()) running->set_paused(high);
  });
  return true;
}

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace realm::server
