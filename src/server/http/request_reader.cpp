#include "server/http/request_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/buffers_iterator.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include "base/check.h"

namespace realm::server {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

// Beast's string_body reserves what Content-Length claims; this one grows with what has come.
struct GrowingBody {
  using value_type = std::string;
  static uint64_t size(const value_type& body) { return body.size(); }

  class reader {
   public:
    template <bool kIsRequest, class Fields>
    reader(http::header<kIsRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>&, error_code& ec) { ec = {}; }
    template <class Buffers>
    size_t put(const Buffers& buffers, error_code& ec) {
      ec = {};
      size_t total = 0;
      for (const auto& buffer : boost::beast::buffers_range_ref(buffers)) {
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        total += buffer.size();
      }
      return total;
    }
    void finish(error_code& ec) { ec = {}; }

   private:
    value_type& body_;
  };
};

HttpProblem problem_of(const error_code& ec, const HttpLimits& limits) {
  if (ec == http::error::header_limit) {
    return {431, "the request's headers are longer than " +
                     std::to_string(limits.header_bytes_max) + " bytes"};
  }
  if (ec == http::error::body_limit) {
    return {413, "the request's body is longer than " + std::to_string(limits.body_bytes_max) +
                     " bytes"};
  }
  if (ec == http::error::bad_version) return {505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  return {400, "this is no valid HTTP request: " + ec.message()};
}

bool is_token_list_with(std::string_view list, std::string_view token) {
  return http::token_list(boost::beast::string_view(list.data(), list.size()))
      .exists(boost::beast::string_view(token.data(), token.size()));
}

// Whether a CR in what is left of the head stands before anything but LF. Beast sees it at once or
// only at the end of the head, as the bytes happen to come; proxies differ on what it means.
bool has_bare_cr(std::string_view data) {
  if (data.starts_with("\r\n")) return false;  // the head's end; what follows is the body
  const std::string_view head = data.substr(0, data.find("\r\n\r\n"));
  for (size_t at = head.find('\r'); at != std::string_view::npos; at = head.find('\r', at + 1)) {
    if (at + 1 < head.size() && head[at + 1] != '\n') return true;
  }
  return false;
}

}  // namespace

struct RequestReader::Parser {
  http::request_parser<GrowingBody> parser;
};

RequestReader::RequestReader(const HttpLimits& limits)
    : limits_(limits), parser_(std::make_unique<Parser>()) {
  parser_->parser.header_limit(static_cast<uint32_t>(limits.header_bytes_max));
  parser_->parser.body_limit(limits.body_bytes_max);
}

RequestReader::~RequestReader() = default;

std::optional<HttpProblem> RequestReader::feed(std::string_view data, size_t& consumed) {
  consumed = 0;
  auto& parser = parser_->parser;
  while (consumed < data.size() && !is_done()) {
    if (!has_head_ && has_bare_cr(data.substr(consumed))) {
      return HttpProblem{400, "the request's head has a carriage return that ends no line"};
    }
    error_code ec;
    const size_t used =
        parser.put(boost::asio::const_buffer(data.data() + consumed, data.size() - consumed), ec);
    consumed += used;
    if (ec == http::error::need_more) return std::nullopt;
    if (ec) return problem_of(ec, limits_);
    if (parser.is_header_done() && !has_head_) return finish_head();
    if (used == 0) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<HttpProblem> RequestReader::read_target(std::string_view target) {
  if (target.size() > limits_.target_bytes_max) {
    return HttpProblem{414, "the request's target is longer than " +
                                std::to_string(limits_.target_bytes_max) + " bytes"};
  }
  // The absolute form, as proxies send it: only its path counts here.
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    break;
  }
  const bool is_plain = std::all_of(target.begin(), target.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7f;
  });
  if (!is_plain || (!target.starts_with('/') && target != "*")) {
    return HttpProblem{400, "the request's target is not a path"};
  }
  request_.target = target;
  const size_t question = target.find('?');
  request_.path = target.substr(0, question);
  if (question != std::string_view::npos) request_.query = target.substr(question + 1);
  return std::nullopt;
}

std::optional<HttpProblem> RequestReader::finish_head() {
  has_head_ = true;
  const auto& message = parser_->parser.get();
  request_.method = std::string(message.method_string());
  request_.is_http_1_0 = message.version() == 10;
  if (message.version() != 10 && message.version() != 11) {
    return HttpProblem{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  }
  request_.keep_alive = message.keep_alive();
  const auto target = message.target();
  if (auto problem = read_target({target.data(), target.size()})) return problem;
  for (const auto& field : message) {
    if (request_.headers.size() == limits_.headers_max) {
      return HttpProblem{
          431, "the request has more than " + std::to_string(limits_.headers_max) + " headers"};
    }
    std::string name(field.name_string());
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    request_.headers.push_back({std::move(name), std::string(field.value())});
  }
  for (const char* name : {"host", "authorization", "x-api-key", "content-type", "content-length",
                           "transfer-encoding", "traceparent"}) {
    if (request_.count(name) > 1) {
      return HttpProblem{400, std::string("the header ") + name + " is there more than once"};
    }
  }
  if (!request_.is_http_1_0 && request_.find("host") == nullptr) {
    return HttpProblem{400, "the header host is missing"};
  }
  if (const std::string* coding = request_.find("content-encoding");
      coding != nullptr && *coding != "identity") {
    return HttpProblem{415, "content-encoding: only identity is accepted"};
  }
  if (const std::string* expect = request_.find("expect")) {
    if (!boost::beast::iequals(*expect, "100-continue")) {
      return HttpProblem{417, "expect: only 100-continue is known here"};
    }
    expects_continue_ = !request_.is_http_1_0;
  }
  const std::string* upgrade = request_.find("upgrade");
  const std::string* connection = request_.find("connection");
  request_.wants_upgrade = request_.method == "GET" && upgrade != nullptr &&
                           connection != nullptr && is_token_list_with(*upgrade, "websocket") &&
                           is_token_list_with(*connection, "upgrade");
  return std::nullopt;
}

bool RequestReader::is_done() const {
  return parser_->parser.is_done();
}

HttpRequest RequestReader::take() {
  CHECK(is_done());
  request_.body = std::move(parser_->parser.get().body());
  return std::move(request_);
}

}  // namespace realm::server
