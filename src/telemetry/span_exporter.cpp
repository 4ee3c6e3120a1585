#include "telemetry/span_exporter.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace realm {

SpanExporter::SpanExporter(Send send, const SpanExporterOptions& options)
    : send_(std::move(send)), options_(options), thread_([this] { run(); }) {}

SpanExporter::~SpanExporter() {
  stop();
}

void SpanExporter::submit(std::vector<Span> spans) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || waiting_.size() + spans.size() > options_.waiting_max) {
      num_dropped_ += static_cast<int64_t>(spans.size());
      return;
    }
    std::move(spans.begin(), spans.end(), std::back_inserter(waiting_));
    if (waiting_.size() < options_.batch_max) return;  // its time will come
  }
  wake_.notify_one();
}

void SpanExporter::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

int64_t SpanExporter::num_exported() const {
  const std::lock_guard lock(mutex_);
  return num_exported_;
}

int64_t SpanExporter::num_dropped() const {
  const std::lock_guard lock(mutex_);
  return num_dropped_;
}

void SpanExporter::run() {
  bool failed = false;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait_for(lock, options_.interval,
                   [&] { return stopping_ || waiting_.size() >= options_.batch_max; });
    if (waiting_.empty() && stopping_) return;
    if (waiting_.empty()) continue;
    const auto count = static_cast<std::ptrdiff_t>(std::min(waiting_.size(), options_.batch_max));
    const std::vector<Span> batch(std::make_move_iterator(waiting_.begin()),
                                  std::make_move_iterator(waiting_.begin() + count));
    waiting_.erase(waiting_.begin(), waiting_.begin() + count);
    lock.unlock();
    const Status sent = send_(encode_spans(batch, options_.service_version));
    if (!sent.ok() && !failed) spdlog::warn("spans are dropped: {}", sent.error().message);
    if (sent.ok() && failed) spdlog::info("spans are exported again");
    failed = !sent.ok();
    lock.lock();
    (failed ? num_dropped_ : num_exported_) += count;
    if (failed && stopping_) {  // no time for more tries
      num_dropped_ += static_cast<int64_t>(waiting_.size());
      waiting_.clear();
    }
  }
}

}  // namespace realm
