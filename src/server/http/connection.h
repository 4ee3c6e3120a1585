// One client's connection: reads a request, hands it to the application, sends the answer, and so
// on until either side has enough. One request is worked on at a time; what a pipelining client
// sends meanwhile waits in the buffer. While an answer is being made the connection keeps reading,
// which is how it learns that the client has gone.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "server/http/application.h"
#include "server/http/byte_stream.h"
#include "server/http/io_loop.h"
#include "server/http/limits.h"
#include "server/http/request_reader.h"

namespace realm::server {

class Connection final : public Ticked, public std::enable_shared_from_this<Connection> {
 public:
  struct Shared {
    HttpApplication& application;
    const HttpLimits& limits;
    IoLoop& loop;
    std::function<void(Connection*)> ended;
  };

  Connection(Shared shared, std::unique_ptr<ByteStream> stream, std::string remote);

  // On the loop's thread: serves until the connection ends.
  void start();
  // Ends an idle connection now, a busy one after its answer.
  void drain();
  // Ends it now.
  void abort();

  void tick(Clock::time_point now) override;

 private:
  boost::asio::awaitable<void> run();
  // False when the connection is to end.
  boost::asio::awaitable<bool> serve_one();
  enum class Read { kEnd, kRefused, kRequest };
  boost::asio::awaitable<Read> read_request(RequestReader& reader);
  boost::asio::awaitable<bool> send_answer(Exchange& exchange, const HttpRequest& request);
  boost::asio::awaitable<bool> send(std::string_view bytes);
  boost::asio::awaitable<bool> send_whole(HttpResponse response, bool keep_alive, bool is_head);
  boost::asio::awaitable<void> run_websocket(HttpRequest request);
  // Answers a request that will not be read to its end, and lets the client see the answer.
  boost::asio::awaitable<void> refuse(HttpResponse response, bool is_head);
  // More input, or false: the client is gone or the time is up.
  boost::asio::awaitable<bool> more();
  boost::asio::awaitable<void> wait();

  void start_read();
  void wake();
  void set_deadline(std::chrono::milliseconds after) { deadline_ = Clock::now() + after; }
  void no_deadline() { deadline_ = Clock::time_point::max(); }

  Shared shared_;
  std::unique_ptr<ByteStream> stream_;
  std::string remote_;
  boost::asio::steady_timer signal_;  // expires never; cancelled to wake run()
  Clock::time_point deadline_ = Clock::time_point::max();
  std::string in_;
  std::string chunk_;  // where the pending read puts its bytes
  bool reading_ = false, peer_gone_ = false, timed_out_ = false;
  bool draining_ = false, mid_request_ = false;
  std::weak_ptr<Exchange> exchange_;
  std::function<void()> close_websocket_;
};

// The bytes of an answer's head. `content_length` < 0: not known, so chunked or until the end.
std::string render_head(const HttpResponse& response, int64_t content_length, bool chunked,
                        bool keep_alive);

// Serves one WebSocket over `stream`, from the handshake on. `leftover` was read already.
// `on_close_wanted` receives how to close it from outside.
boost::asio::awaitable<void> serve_websocket(ByteStream& stream, std::string leftover,
                                             const HttpRequest& request,
                                             std::shared_ptr<WebSocketHandler> handler,
                                             const HttpLimits& limits, IoLoop& loop,
                                             std::function<void()>& close_from_outside);

}  // namespace realm::server
