// One HTTP/1.1 request out of a stream of bytes, in whatever pieces they come: Beast's parser
// behind our limits. The connection feeds it, one reader a request; what follows the request stays
// the connection's. Refuses what two readers of the same bytes could take differently.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "server/http/limits.h"
#include "server/http/message.h"

namespace realm::server {

class RequestReader {
 public:
  explicit RequestReader(const HttpLimits& limits);
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // Takes bytes off the front of `data` and says how many. Stops after the headers, so that a
  // request can be refused before its body is read; call again for the body.
  std::optional<HttpProblem> feed(std::string_view data, size_t& consumed);

  bool has_head() const { return has_head_; }
  bool is_done() const;
  // Whether the client waits for a word before it sends the body.
  bool expects_continue() const { return expects_continue_; }

  // With everything but the body from has_head() on.
  const HttpRequest& head() const { return request_; }
  // Requires is_done().
  HttpRequest take();

 private:
  struct Parser;
  std::optional<HttpProblem> finish_head();
  std::optional<HttpProblem> read_target(std::string_view target);

  const HttpLimits& limits_;
  std::unique_ptr<Parser> parser_;
  HttpRequest request_;
  bool has_head_ = false;
  bool expects_continue_ = false;
};

}  // namespace realm::server
