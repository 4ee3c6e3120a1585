#include "telemetry/span_exporter.h"

#include <gtest/gtest.h>

#include <atomic>

namespace realm {
namespace {

using namespace std::chrono_literals;

std::vector<Span> some_spans(size_t count) {
  std::vector<Span> spans(count);
  for (Span& span : spans) {
    span.trace = new_trace_id();
    span.id = new_span_id();
    span.name = "request";
  }
  return spans;
}

TEST(SpanExporter, StopSendsWhatWaitsInBatches) {
  std::vector<std::string> bodies;
  SpanExporter exporter(
      [&](const std::string& body) -> Status {
        bodies.push_back(body);
        return {};
      },
      {.waiting_max = 100, .batch_max = 4, .interval = 1h});
  exporter.submit(some_spans(3));
  exporter.submit(some_spans(3));
  exporter.submit(some_spans(3));
  exporter.stop();
  EXPECT_EQ(exporter.num_exported(), 9);
  EXPECT_EQ(exporter.num_dropped(), 0);
  EXPECT_GE(bodies.size(), 3u);
}

TEST(SpanExporter, ASlowCollectorCostsSpansAndNothingElse) {
  std::atomic<bool> called = false, go_on = false;
  SpanExporter exporter(
      [&](const std::string&) -> Status {
        called = true;
        called.notify_all();
        go_on.wait(false);
        return {};
      },
      {.waiting_max = 8, .batch_max = 1, .interval = 1h});
  exporter.submit(some_spans(1));
  called.wait(false);  // the collector has the first one and keeps it
  for (int i = 0; i < 10; ++i) exporter.submit(some_spans(3));
  EXPECT_EQ(exporter.num_dropped(), 24);  // whole requests: two of ten found room
  go_on = true;
  go_on.notify_all();
  exporter.stop();
  EXPECT_EQ(exporter.num_exported(), 7);
  EXPECT_EQ(exporter.num_dropped(), 24);
}

TEST(SpanExporter, ACollectorThatIsAwayIsCounted) {
  SpanExporter exporter(
      [](const std::string&) -> Status {
        return Error{ErrorCode::kUnavailable, "nobody there"};
      },
      {.waiting_max = 100, .batch_max = 10, .interval = 1h});
  exporter.submit(some_spans(5));
  exporter.stop();
  exporter.submit(some_spans(2));
  EXPECT_EQ(exporter.num_exported(), 0);
  EXPECT_EQ(exporter.num_dropped(), 7);
}

}  // namespace
}  // namespace realm
