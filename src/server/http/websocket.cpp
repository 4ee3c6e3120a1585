// WebSockets: Beast's protocol engine over a connection's ByteStream. Text messages only, one at a
// time each way; pings are answered, and sent into silence; a peer that answers none is dropped.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <cstring>
#include <deque>
#include <utility>

#include "server/http/connection.h"

namespace realm::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// A ByteStream as Beast wants a stream to be.
class StreamAdapter {
 public:
  using executor_type = asio::io_context::executor_type;

  StreamAdapter(ByteStream& stream, std::string leftover, asio::io_context& context)
      : stream_(&stream), leftover_(std::move(leftover)), context_(&context) {}
  executor_type get_executor() const noexcept { return context_->get_executor(); }
  void close() { stream_->close(); }

  template <class Buffers, class CompletionToken>
  auto async_read_some(const Buffers& buffers, CompletionToken&& token) {
    return asio::async_initiate<CompletionToken, void(error_code, size_t)>(
        [this](auto handler, const Buffers& into) {
          const asio::mutable_buffer buffer = *asio::buffer_sequence_begin(into);
          if (!leftover_.empty()) {
            const size_t n = std::min(leftover_.size(), buffer.size());
            std::memcpy(buffer.data(), leftover_.data(), n);
            leftover_.erase(0, n);
            asio::post(*context_, [handler = std::move(handler), n]() mutable {
              std::move(handler)(error_code(), n);
            });
            return;
          }
          auto kept = std::make_shared<decltype(handler)>(std::move(handler));
          stream_->read_some(buffer,
                             [kept](const error_code& ec, size_t n) { std::move (*kept)(ec, n); });
        },
        token, buffers);
  }

  template <class Buffers, class CompletionToken>
  auto async_write_some(const Buffers& buffers, CompletionToken&& token) {
    return asio::async_initiate<CompletionToken, void(error_code, size_t)>(
        [this](auto handler, const Buffers& from) {
          // Frame header and payload come apart; together they are one packet.
          std::string bytes(asio::buffer_size(from), '\0');
          asio::buffer_copy(asio::buffer(bytes), from);
          auto kept = std::make_shared<decltype(handler)>(std::move(handler));
          asio::co_spawn(
              *context_,
              [stream = stream_, kept, bytes = std::move(bytes)]() -> asio::awaitable<void> {
                const bool good = co_await stream->write(asio::buffer(bytes));
                std::move (*kept)(good ? error_code() : make_error_code(asio::error::broken_pipe),
                                  good ? bytes.size() : 0);
              },
              asio::detached);
        },
        token, buffers);
  }

 private:
  ByteStream* stream_;
  std::string leftover_;
  asio::io_context* context_;
};

// What Beast calls when the WebSocket is over: the connection closes its stream itself.
template <class Handler>
void async_teardown(beast::role_type, StreamAdapter& stream, Handler&& handler) {
  stream.close();
  asio::post(stream.get_executor(), [handler = std::forward<Handler>(handler)]() mutable {
    std::move(handler)(error_code());
  });
}

void beast_close_socket(StreamAdapter& stream) {
  stream.close();
}

using WebSocket = websocket::stream<StreamAdapter, false>;  // without compression

// Shared by the reading coroutine and the writing one; each lives until its operation ends.
class Peer final : public WebSocketPeer, public std::enable_shared_from_this<Peer> {
 public:
  Peer(StreamAdapter adapter, IoLoop& loop)
      : socket(std::move(adapter)),
        loop_(loop),
        wake_(loop.context(), asio::steady_timer::time_point::max()) {}

  void send(std::string text) override {
    if (ending_) return;
    backlog_ += text.size();
    queue_.push_back(std::move(text));
    wake_.cancel();
  }

  void close(uint16_t code, std::string reason) override {
    if (ending_) return;
    ending_ = true;
    reason_ = websocket::close_reason(static_cast<websocket::close_code>(code),
                                      beast::string_view(reason.data(), reason.size()));
    wake_.cancel();
  }

  size_t backlog() const override { return backlog_; }
  IoLoop& loop() const override { return loop_; }

  void end() {
    gone_ = ending_ = true;
    wake_.cancel();
  }

  // Sends what is queued until the end.
  asio::awaitable<void> run_writer(std::shared_ptr<WebSocketHandler> handler) {
    for (;;) {
      if (gone_) break;
      if (!queue_.empty()) {
        const std::string text = std::move(queue_.front());
        queue_.pop_front();
        const auto [ec, n] = co_await socket.async_write(asio::buffer(text), kAwait);
        backlog_ -= text.size();
        if (ec) break;
        if (queue_.empty() && !gone_ && !ending_) handler->on_drained();
        continue;
      }
      if (ending_) {
        co_await socket.async_close(reason_, kAwait);
        break;
      }
      co_await wake_.async_wait(kAwait);
    }
    writer_done = true;
    done_.cancel();
  }

  asio::awaitable<void> wait_for_writer() {
    while (!writer_done) co_await done_.async_wait(kAwait);
  }

  WebSocket socket;
  bool writer_done = false;

 private:
  IoLoop& loop_;
  asio::steady_timer wake_;
  asio::steady_timer done_{loop_.context(), asio::steady_timer::time_point::max()};
  std::deque<std::string> queue_;
  size_t backlog_ = 0;
  bool ending_ = false, gone_ = false;
  websocket::close_reason reason_;
};

websocket::stream_base::timeout timeouts(const HttpLimits& limits) {
  websocket::stream_base::timeout timeout{};
  timeout.handshake_timeout = limits.handshake_ms_max;
  // Beast pings at half of this and ends the connection at all of it.
  timeout.idle_timeout = limits.idle_ms_max;
  timeout.keep_alive_pings = true;
  return timeout;
}

}  // namespace

asio::awaitable<void> serve_websocket(ByteStream& stream, std::string leftover,
                                      const HttpRequest& request,
                                      std::shared_ptr<WebSocketHandler> handler,
                                      const HttpLimits& limits, IoLoop& loop,
                                      std::function<void()>& close_from_outside) {
  auto peer =
      std::make_shared<Peer>(StreamAdapter(stream, std::move(leftover), loop.context()), loop);
  peer->socket.set_option(timeouts(limits));
  peer->socket.read_message_max(limits.websocket_message_bytes_max);
  beast::http::request<beast::http::empty_body> upgrade;
  upgrade.method_string(request.method);
  upgrade.target(request.target);
  upgrade.version(11);
  for (const HttpHeader& header : request.headers) upgrade.insert(header.name, header.value);
  const auto [accept_error] = co_await peer->socket.async_accept(upgrade, kAwait);
  if (accept_error) co_return;
  peer->socket.text(true);
  close_from_outside = [weak = std::weak_ptr<Peer>(peer)] {
    if (const auto open = weak.lock()) open->close(1001, "the server is shutting down");
  };
  handler->on_open(peer);
  asio::co_spawn(
      loop.context(),
      [peer, handler]() -> asio::awaitable<void> { co_await peer->run_writer(handler); },
      asio::detached);
  beast::flat_buffer buffer;
  for (;;) {
    const auto [ec, n] = co_await peer->socket.async_read(buffer, kAwait);
    if (ec) break;
    if (!peer->socket.got_text()) {
      peer->close(1003, "only text messages are understood");
      continue;
    }
    std::string text(static_cast<const char*>(buffer.data().data()), buffer.size());
    buffer.consume(buffer.size());
    handler->on_text(std::move(text));
  }
  handler->on_closed();
  peer->end();
  stream.close();
  co_await peer->wait_for_writer();
}

}  // namespace realm::server
