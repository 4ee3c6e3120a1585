// What the HTTP layer needs from the one above: answers. Implemented by the router; tests bring
// their own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http/exchange.h"
#include "server/http/message.h"

namespace realm::server {

// The server's side of one WebSocket. All calls on the loop's thread.
class WebSocketPeer {
 public:
  virtual ~WebSocketPeer() = default;
  virtual void send(std::string text) = 0;
  virtual void close(uint16_t code, std::string reason) = 0;
  virtual size_t backlog() const = 0;
  virtual IoLoop& loop() const = 0;
};

// The application's side of one WebSocket.
class WebSocketHandler {
 public:
  virtual ~WebSocketHandler() = default;
  virtual void on_open(std::weak_ptr<WebSocketPeer> peer) = 0;
  virtual void on_text(std::string text) = 0;
  virtual void on_drained() = 0;  // everything sent has been taken
  virtual void on_closed() = 0;   // once; nothing is called after it
};

class HttpApplication {
 public:
  virtual ~HttpApplication() = default;

  // Looks at a request before its body is read: an answer refuses it.
  virtual std::optional<HttpResponse> screen(const HttpRequest& head) = 0;
  // Answers through `exchange`, now or later. `request` was not refused by screen().
  virtual void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) = 0;
  // A handler for the WebSocket that a request asks for, which screen() did not refuse; null: it is
  // refused after all.
  virtual std::shared_ptr<WebSocketHandler> open_websocket(const HttpRequest& head) = 0;
  // What cannot be read as a request, in the application's shape of errors.
  virtual HttpResponse refuse(const HttpProblem& problem) = 0;
};

}  // namespace realm::server
