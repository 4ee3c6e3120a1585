// Sends spans to a collector off the serving path, in batches on a thread of its own. A collector
// that is slow or away costs spans, which are dropped and counted, and never a request's time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "telemetry/trace.h"

namespace realm {

struct SpanExporterOptions {
  size_t waiting_max = 4096;
  size_t batch_max = 512;
  std::chrono::milliseconds interval{1000};
  std::string service_version = {};
};

class SpanExporter {
 public:
  // Delivers one encoded request, with time-outs of its own.
  using Send = std::function<Status(const std::string& body)>;

  SpanExporter(Send send, const SpanExporterOptions& options);
  ~SpanExporter();  // as stop()

  // Never blocks. All the spans of a request, or none.
  void submit(std::vector<Span> spans);
  // Sends what waits, in one last try, and ends the thread.
  void stop();

  int64_t num_exported() const;
  int64_t num_dropped() const;

 private:
  void run();

  const Send send_;
  const SpanExporterOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Span> waiting_;
  int64_t num_exported_ = 0, num_dropped_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace realm
