// One request's way back to its client. A handler keeps it as long as it works on the request and
// answers through it, at once or later, whole or as a stream; the connection sends what is there as
// fast as the client takes it. All calls are on the loop's thread; loop().post() leads there.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"

namespace realm::server {

class IoLoop;

class Exchange {
 public:
  // `loop` is null only in tests, which read what was written themselves.
  explicit Exchange(IoLoop* loop) : loop_(loop) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // The whole answer. Once, and not after begin().
  void respond(HttpResponse response);
  // The head of a stream whose body follows by write() and ends with finish(). `idle_text` is sent
  // in silence (": ping\n\n"), so that neither side's proxies give up; empty: nothing is.
  void begin(HttpResponse head, std::string idle_text = {});
  void write(std::string_view bytes);
  void finish();
  // Headers for the answer, whoever makes it ("x-request-id").
  void add_header(std::string name, std::string value);

  bool has_begun() const { return begun_; }
  bool is_finished() const { return finished_; }
  // False once the client is gone: what is written then goes nowhere.
  bool is_open() const { return !closed_; }
  // Bytes not yet taken by the client's side.
  size_t backlog() const { return out_.size() + in_flight_; }
  IoLoop& loop() const { return *loop_; }

  // Called when the client is gone before the answer was finished; at once where it is already.
  void on_closed(std::function<void()> callback);
  // Called with true when more than `limit` bytes wait for a slow client, with false when they have
  // all been taken.
  void on_pressure(size_t limit, std::function<void(bool)> callback);

  // For the connection, and for tests.
  const std::optional<HttpResponse>& head() const { return head_; }
  const std::string& idle_text() const { return idle_text_; }
  std::string take_output();
  bool has_output() const { return !out_.empty(); }
  void output_sent();
  void close();
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }
  std::chrono::steady_clock::time_point last_write() const { return last_write_; }

 private:
  void wake();

  IoLoop* loop_;
  std::optional<HttpResponse> head_;
  std::vector<HttpHeader> extra_headers_;
  std::string idle_text_;
  std::string out_;
  size_t in_flight_ = 0;
  bool begun_ = false, finished_ = false, closed_ = false;
  std::chrono::steady_clock::time_point last_write_{};
  std::function<void()> wake_, closed_callback_;
  size_t pressure_limit_ = 0;
  bool under_pressure_ = false;
  std::function<void(bool)> pressure_callback_;
};

}  // namespace realm::server
