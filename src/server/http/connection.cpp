#include "server/http/connection.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace realm::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kWriteBytes = 64 << 10;
constexpr size_t kLingerBytesMax = 64 << 20;

std::string hex(size_t value) {
  char digits[20];
  return {digits, static_cast<size_t>(std::snprintf(digits, sizeof digits, "%zx", value))};
}

}  // namespace

std::string render_head(const HttpResponse& response, int64_t content_length, bool chunked,
                        bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head += status_text(response.status);
  head += "\r\ndate: " + http_date();
  if (!response.content_type.empty() && response.status != 204) {
    head += "\r\ncontent-type: " + response.content_type;
  }
  for (const HttpHeader& header : response.headers) {
    head += "\r\n" + header.name + ": " + header.value;
  }
  if (chunked) {
    head += "\r\ntransfer-encoding: chunked";
  } else if (content_length >= 0 && response.status != 204) {
    head += "\r\ncontent-length: " + std::to_string(content_length);
  }
  head += keep_alive ? "\r\nconnection: keep-alive\r\n\r\n" : "\r\nconnection: close\r\n\r\n";
  return head;
}

Connection::Connection(Shared shared, std::unique_ptr<ByteStream> stream, std::string remote)
    : shared_(std::move(shared)),
      stream_(std::move(stream)),
      remote_(std::move(remote)),
      signal_(shared_.loop.context(), asio::steady_timer::time_point::max()) {}

void Connection::start() {
  shared_.loop.add(this);
  asio::co_spawn(
      shared_.loop.context(),
      [self = shared_from_this()]() -> asio::awaitable<void> {
        co_await self->run();
        self->stream_->close();
        self->shared_.loop.remove(self.get());
        self->shared_.ended(self.get());
      },
      asio::detached);
}

void Connection::drain() {
  draining_ = true;
  if (close_websocket_) close_websocket_();
  if (!mid_request_) abort();
}

void Connection::abort() {
  timed_out_ = true;
  stream_->close();
  wake();
}

void Connection::tick(Clock::time_point now) {
  if (now >= deadline_) {
    no_deadline();
    abort();
    return;
  }
  const auto exchange = exchange_.lock();
  if (exchange != nullptr && exchange->has_begun() && !exchange->is_finished() &&
      exchange->is_open() && !exchange->idle_text().empty() &&
      now - exchange->last_write() >= shared_.limits.ping_ms) {
    exchange->write(exchange->idle_text());
  }
}

void Connection::wake() {
  signal_.cancel();
}

asio::awaitable<void> Connection::wait() {
  co_await signal_.async_wait(asio::as_tuple(asio::use_awaitable));
}

void Connection::start_read() {
  if (reading_ || peer_gone_ || timed_out_) return;
  reading_ = true;
  chunk_.resize(kReadBytes);
  stream_->read_some(asio::buffer(chunk_),
                     [self = shared_from_this()](const error_code& ec, size_t n) {
                       self->reading_ = false;
                       if (ec) {
                         self->peer_gone_ = true;
                       } else {
                         self->in_.append(self->chunk_, 0, n);
                       }
                       self->wake();
                     });
}

asio::awaitable<bool> Connection::more() {
  const size_t before = in_.size();
  start_read();
  while (reading_ && !timed_out_ && in_.size() == before) co_await wait();
  co_return in_.size() > before && !timed_out_;
}

asio::awaitable<bool> Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), kWriteBytes);
    set_deadline(shared_.limits.write_ms_max);
    const bool good = co_await stream_->write(asio::buffer(bytes.data(), n));
    no_deadline();
    if (!good) co_return false;
    bytes.remove_prefix(n);
  }
  co_return true;
}

asio::awaitable<bool> Connection::send_whole(HttpResponse response, bool keep_alive, bool is_head) {
  std::string bytes =
      render_head(response, static_cast<int64_t>(response.body.size()), false, keep_alive);
  if (!is_head && response.status != 204) bytes += response.body;
  const bool sent = co_await send(bytes);
  co_return sent;
}

asio::awaitable<void> Connection::refuse(HttpResponse response, bool is_head) {
  const bool sent = co_await send_whole(std::move(response), false, is_head);
  if (!sent) co_return;
  set_deadline(shared_.limits.linger_ms_max);
  co_await stream_->shutdown();
  // Closing with unread input would reset the connection and could take the answer with it.
  size_t read = 0;
  while (read < kLingerBytesMax) {
    in_.clear();
    const bool came = co_await more();
    if (!came) co_return;
    read += in_.size();
  }
}

asio::awaitable<void> Connection::run() {
  set_deadline(shared_.limits.handshake_ms_max);
  const bool shaken = co_await stream_->handshake();
  no_deadline();
  if (!shaken) co_return;
  for (;;) {
    const bool goes_on = co_await serve_one();
    mid_request_ = false;
    if (!goes_on || timed_out_) co_return;
    if (draining_) break;
  }
  set_deadline(shared_.limits.linger_ms_max);
  co_await stream_->shutdown();
}

asio::awaitable<Connection::Read> Connection::read_request(RequestReader& reader) {
  bool screened = false;
  set_deadline(shared_.limits.idle_ms_max);
  for (;;) {
    if (!in_.empty()) {
      if (!mid_request_) {
        mid_request_ = true;
        set_deadline(shared_.limits.head_ms_max);
      }
      size_t consumed = 0;
      const auto problem = reader.feed(in_, consumed);
      in_.erase(0, consumed);
      if (problem) {
        co_await refuse(shared_.application.refuse(*problem), false);
        co_return Read::kEnd;
      }
      if (reader.has_head() && !screened) {
        screened = true;
        if (auto refusal = shared_.application.screen(reader.head())) {
          // Where nothing more of the request can follow, the connection may go on.
          const bool is_head = reader.head().method == "HEAD";
          if (reader.is_done() && reader.head().keep_alive && !draining_) {
            const bool sent = co_await send_whole(std::move(*refusal), true, is_head);
            co_return sent ? Read::kRefused : Read::kEnd;
          }
          co_await refuse(std::move(*refusal), is_head);
          co_return Read::kEnd;
        }
        set_deadline(shared_.limits.body_ms_max);
        if (reader.expects_continue() && !reader.is_done() && in_.empty()) {
          const bool sent = co_await send("HTTP/1.1 100 Continue\r\n\r\n");
          if (!sent) co_return Read::kEnd;
          set_deadline(shared_.limits.body_ms_max);
        }
      }
      if (reader.is_done()) break;
      if (consumed > 0 && !in_.empty()) continue;
    }
    if (draining_ && !mid_request_) co_return Read::kEnd;
    const bool came = co_await more();
    if (!came) co_return Read::kEnd;
  }
  no_deadline();
  co_return Read::kRequest;
}

asio::awaitable<bool> Connection::serve_one() {
  RequestReader reader(shared_.limits);
  const Read read = co_await read_request(reader);
  if (read != Read::kRequest) co_return read == Read::kRefused;
  HttpRequest request = reader.take();
  request.remote = remote_;
  if (request.wants_upgrade) {
    co_await run_websocket(std::move(request));
    co_return false;
  }
  auto exchange = std::make_shared<Exchange>(&shared_.loop);
  exchange->set_wake([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->wake();
  });
  exchange_ = exchange;
  HttpRequest head;  // what sending the answer asks of the request, which goes to the handler
  head.method = request.method;
  head.is_http_1_0 = request.is_http_1_0;
  head.keep_alive = request.keep_alive;
  shared_.application.handle(std::move(request), exchange);
  const bool goes_on = co_await send_answer(*exchange, head);
  exchange->close();
  exchange_.reset();
  co_return goes_on;
}

asio::awaitable<bool> Connection::send_answer(Exchange& exchange, const HttpRequest& request) {
  const bool is_head = request.method == "HEAD";
  bool head_sent = false, chunked = false, keep_alive = request.keep_alive;
  for (;;) {
    // An answer that is there goes out even to a client that has only stopped sending.
    if (timed_out_ || (peer_gone_ && !exchange.is_finished())) co_return false;
    if (exchange.has_begun() && !head_sent) {
      head_sent = true;
      keep_alive = keep_alive && !draining_;
      if (exchange.is_finished()) {
        HttpResponse response = *exchange.head();
        response.body = exchange.take_output();
        const bool sent = co_await send_whole(std::move(response), keep_alive, is_head);
        co_return sent&& keep_alive;
      }
      chunked = !request.is_http_1_0;
      keep_alive = keep_alive && chunked;
      const bool sent = co_await send(render_head(*exchange.head(), -1, chunked, keep_alive));
      if (!sent) co_return false;
      continue;
    }
    if (head_sent && exchange.has_output()) {
      std::string out = exchange.take_output();
      if (chunked) out = hex(out.size()) + "\r\n" + out + "\r\n";
      if (!is_head) {
        const bool sent = co_await send(out);
        if (!sent) co_return false;
      }
      exchange.output_sent();
      continue;
    }
    if (head_sent && exchange.is_finished()) {
      if (chunked && !is_head) {
        const bool sent = co_await send("0\r\n\r\n");
        if (!sent) co_return false;
      }
      co_return keep_alive;
    }
    if (in_.size() < shared_.limits.read_ahead_bytes_max) start_read();
    co_await wait();
  }
}

asio::awaitable<void> Connection::run_websocket(HttpRequest request) {
  auto handler = shared_.application.open_websocket(request);
  if (handler == nullptr) co_return;
  // Its own time-outs take over.
  no_deadline();
  co_await serve_websocket(*stream_, std::exchange(in_, {}), request, std::move(handler),
                           shared_.limits, shared_.loop, close_websocket_);
  close_websocket_ = nullptr;
}

}  // namespace realm::server
