#include "server/api/websocket_api.h"

#include <boost/json/object.hpp>
#include <unordered_map>
#include <utility>

#include "base/json_writer.h"
#include "server/api/chat_request.h"
#include "server/api/ids.h"
#include "server/api/token_json.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr size_t kMaxRequests = 256;
constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxBacklogBytes = 64 << 10;  // of one request

class Session;

// One request of the connection.
class SocketRequest final : public GenerationObserver {
 public:
  SocketRequest(std::weak_ptr<Session> session, std::string id, GenerationSpec& spec)
      : session_(std::move(session)),
        id_(std::move(id)),
        tokenizer_(spec.model->tokenizer),
        logprobs_(spec.sampling.logprobs),
        ends_(static_cast<size_t>(spec.choices)) {}

  void on_delta(const Delta& delta) override;
  void on_choice_end(const ChoiceEnd& end) override { ends_[end.choice] = end; }
  void on_done(const Usage& usage) override;
  void on_error(const ApiError& error) override;

 private:
  const std::weak_ptr<Session> session_;
  const std::string id_;
  const Tokenizer* const tokenizer_;
  const bool logprobs_;
  std::vector<ChoiceEnd> ends_;
};

class Session final : public WebSocketHandler, public std::enable_shared_from_this<Session> {
 public:
  Session(ApiContext& api, Principal principal) : api_(api), principal_(std::move(principal)) {}

  void on_open(std::weak_ptr<WebSocketPeer> peer) override { peer_ = std::move(peer); }
  void on_text(std::string text) override;

  void on_drained() override {
    for (auto& [id, running] : running_) {
      running.backlog = 0;
      if (running.generation) running.generation->set_paused(false);
    }
  }

  void on_closed() override {
    for (auto& [id, running] : running_) {
      if (running.generation) running.generation->cancel();
    }
    running_.clear();
  }

  // A message of request `id`; a reader too slow for it slows that request alone.
  void send(const std::string& id, std::string text) {
    const auto peer = peer_.lock();
    if (peer == nullptr) return;
    const auto it = running_.find(id);
    if (it != running_.end()) {
      it->second.backlog += text.size();
      if (it->second.backlog > kMaxBacklogBytes && it->second.generation) {
        it->second.generation->set_paused(true);
      }
    }
    peer->send(std::move(text));
  }

  void send_error(const std::string* id, const ApiError& error) {
    JsonWriter json;
    json.begin_object().text("type", "error").key("id");
    id == nullptr ? json.null() : json.text(*id);
    json.integer("status", error.status).key("error").begin_object();
    json.text("message", error.message).text("type", error_type(error.status)).key("param");
    error.param.empty() ? json.null() : json.text(error.param);
    json.key("code");
    error.code.empty() ? json.null() : json.text(error.code);
    json.end_object();
    if (error.retry_after_s) json.integer("retry_after", *error.retry_after_s);
    if (const auto peer = peer_.lock()) peer->send(json.end_object().str());
  }

  void forget(const std::string& id) { running_.erase(id); }

 private:
  struct Running {
    std::shared_ptr<Generation> generation;
    size_t backlog = 0;
  };

  void create(FieldReader& fields, const std::string& id);
  void cancel(const std::string& id);

  ApiContext& api_;
  const Principal principal_;
  std::weak_ptr<WebSocketPeer> peer_;
  std::unordered_map<std::string, Running> running_;
};

void SocketRequest::on_delta(const Delta& delta) {
  const auto session = session_.lock();
  if (session == nullptr) return;
  JsonWriter json;
  json.begin_object().text("type", "delta").text("id", id_);
  json.integer("choice", static_cast<int64_t>(delta.choice)).text("text", delta.text);
  if (logprobs_) {
    json.key("logprobs").begin_array();
    for (const TokenReport& token : delta.tokens) write_chat_logprob(json, *tokenizer_, token);
    json.end_array();
  }
  session->send(id_, json.end_object().str());
}

void SocketRequest::on_done(const Usage& usage) {
  const auto session = session_.lock();
  if (session == nullptr) return;
  JsonWriter json;
  json.begin_object().text("type", "done").text("id", id_).key("choices").begin_array();
  for (size_t i = 0; i < ends_.size(); ++i) {
    json.begin_object().integer("index", static_cast<int64_t>(i));
    json.text("finish_reason", openai_finish_reason(ends_[i].reason)).end_object();
  }
  json.end_array().key("usage");
  write_openai_usage(json, usage);
  session->send(id_, json.end_object().str());
  session->forget(id_);
}

void SocketRequest::on_error(const ApiError& error) {
  const auto session = session_.lock();
  if (session == nullptr) return;
  session->send_error(&id_, error);
  session->forget(id_);
}

void Session::on_text(std::string text) {
  json::object message;
  if (const auto error = parse_body(text, api_.limits.websocket_message_bytes_max, message)) {
    return send_error(nullptr, *error);
  }
  std::optional<ApiError> error;
  FieldReader fields(message, "", error);
  const std::string type = fields.required_text("type");
  if (!error && type == "ping") {
    fields.finish();
    if (error) return send_error(nullptr, *error);
    if (const auto peer = peer_.lock()) peer->send(R"({"type": "pong"})");
    return;
  }
  const std::string id = fields.required_text("id");
  if (!error && (id.empty() || id.size() > kMaxIdBytes)) {
    fields.fail("id", "must be of 1 to " + std::to_string(kMaxIdBytes) + " bytes");
  }
  if (!error && type != "create" && type != "cancel") {
    fields.fail("type", "must be one of create, cancel, ping");
  }
  if (error) return send_error(id.empty() ? nullptr : &id, *error);
  if (type == "create") {
    create(fields, id);
  } else {
    fields.finish();
    error ? send_error(&id, *error) : cancel(id);
  }
}

void Session::create(FieldReader& fields, const std::string& id) {
  std::optional<ApiError>& error = fields.error();
  const json::object* body = fields.object("request");
  if (body == nullptr) fields.fail("request", "is required: the body of a chat completion");
  fields.finish();
  if (!error && running_.contains(id)) {
    fields.fail("id", "'" + id + "' is that of a request still running");
  }
  if (!error && running_.size() >= kMaxRequests) {
    error = ApiError{.status = 429,
                     .message = "at most " + std::to_string(kMaxRequests) +
                                " requests run at once on one connection",
                     .code = "rate_limit_exceeded",
                     .retry_after_s = 1};
  }
  const auto peer = peer_.lock();
  if (peer == nullptr) return;
  std::shared_ptr<Generation> generation;
  if (!error) {
    ChatRequest request = read_chat_request(api_, principal_, *body, error);
    if (!error) {
      request.spec.principal = principal_;
      request.spec.request_id = random_id("req_");
      auto observer = std::make_unique<SocketRequest>(weak_from_this(), id, request.spec);
      error = Generation::start(std::move(request.spec), api_.authenticator, peer->loop(),
                                std::move(observer), generation);
    }
  }
  if (error) return send_error(&id, *error);
  running_.emplace(id, Running{.generation = std::move(generation), .backlog = 0});
}

void Session::cancel(const std::string& id) {
  const auto it = running_.find(id);
  if (it == running_.end()) {
    // It may have ended while the message came: no error, as its "done" says.
    return;
  }
  if (it->second.generation) it->second.generation->cancel();
  running_.erase(it);
  JsonWriter json;
  json.begin_object().text("type", "cancelled").text("id", id).end_object();
  if (const auto peer = peer_.lock()) peer->send(json.str());
}

}  // namespace

std::shared_ptr<WebSocketHandler> make_websocket_api(ApiContext& api, Principal principal) {
  return std::make_shared<Session>(api, std::move(principal));
}

}  // namespace realm::server
