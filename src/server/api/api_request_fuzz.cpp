// Any bytes as the body of a chat completion, without a model behind it: parsing and reading every
// field must end in an answer or in a 4xx that names what is wrong.
#include <cstdlib>
#include <string_view>

#include "server/api/chat_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace realm::server;
  constexpr size_t kMaxBytes = 1 << 16;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  boost::json::object body;
  if (const auto error = parse_body(text, kMaxBytes, body)) {
    if (error->status != 400 && error->status != 413) std::abort();
    return 0;
  }
  ModelSet models;
  OpenAuthenticator authenticator;
  const HttpLimits limits;
  const ApiContext api{.models = models,
                       .authenticator = authenticator,
                       .limits = limits,
                       .version = "fuzz",
                       .started_s = 0};
  std::optional<ApiError> error;
  read_chat_request(api, {}, body, error);
  // There is no model, so nothing is acceptable.
  if (!error || error->status < 400 || error->status > 499 || error->message.empty()) std::abort();
  error_json(*error, ErrorShape::kOpenAi);
  return 0;
}
