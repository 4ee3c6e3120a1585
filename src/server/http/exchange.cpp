#include "server/http/exchange.h"

#include <utility>

#include "base/check.h"

namespace realm::server {

void Exchange::wake() {
  if (wake_) wake_();
}

void Exchange::add_header(std::string name, std::string value) {
  extra_headers_.push_back({std::move(name), std::move(value)});
}

void Exchange::respond(HttpResponse response) {
  CHECK(!begun_);
  begun_ = finished_ = true;
  out_ = std::move(response.body);
  response.body.clear();
  head_ = std::move(response);
  head_->headers.insert(head_->headers.end(), extra_headers_.begin(), extra_headers_.end());
  last_write_ = std::chrono::steady_clock::now();
  wake();
}

void Exchange::begin(HttpResponse head, std::string idle_text) {
  CHECK(!begun_);
  begun_ = true;
  head_ = std::move(head);
  head_->headers.insert(head_->headers.end(), extra_headers_.begin(), extra_headers_.end());
  idle_text_ = std::move(idle_text);
  last_write_ = std::chrono::steady_clock::now();
  wake();
}

void Exchange::write(std::string_view bytes) {
  CHECK(begun_ && !finished_);
  if (closed_) return;
  out_ += bytes;
  last_write_ = std::chrono::steady_clock::now();
  wake();
  if (!under_pressure_ && pressure_callback_ && backlog() > pressure_limit_) {
    under_pressure_ = true;
    pressure_callback_(true);
  }
}

void Exchange::finish() {
  CHECK(begun_);
  if (finished_) return;
  finished_ = true;
  wake();
}

void Exchange::on_closed(std::function<void()> callback) {
  if (closed_) {
    callback();
  } else {
    closed_callback_ = std::move(callback);
  }
}

void Exchange::on_pressure(size_t limit, std::function<void(bool)> callback) {
  pressure_limit_ = limit;
  pressure_callback_ = std::move(callback);
}

std::string Exchange::take_output() {
  in_flight_ = out_.size();
  return std::exchange(out_, {});
}

void Exchange::output_sent() {
  in_flight_ = 0;
  if (!out_.empty() || closed_ || !under_pressure_) return;
  under_pressure_ = false;
  if (pressure_callback_) pressure_callback_(false);
}

void Exchange::close() {
  if (closed_) return;
  closed_ = true;
  out_.clear();
  pressure_callback_ = nullptr;
  if (const auto callback = std::exchange(closed_callback_, nullptr); callback && !finished_) {
    callback();
  }
}

}  // namespace realm::server
