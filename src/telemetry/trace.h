// Spans of requests and where they come from: the W3C traceparent header that a client's own
// tracing sends, and the OpenTelemetry protocol's form of spans on their way to a collector.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace realm {

using TraceId = std::array<uint8_t, 16>;
using SpanId = std::array<uint8_t, 8>;

// The client's side of a trace, out of "00-<32 hex>-<16 hex>-<2 hex>".
struct TraceContext {
  TraceId trace = {};
  SpanId parent = {};
  bool sampled = false;
};
// Empty for what is no traceparent; a request with a broken one starts a trace of its own.
std::optional<TraceContext> parse_traceparent(std::string_view header);
std::string hex(std::span<const uint8_t> bytes);

struct SpanAttribute {
  std::string key;
  std::variant<std::string, int64_t, double, bool> value;
};

struct Span {
  TraceId trace = {};
  SpanId id = {};
  SpanId parent = {};  // all zero: the trace begins here
  std::string name = {};
  bool is_server = false;            // the outermost one of a request; others are internal
  int64_t start_ns = 0, end_ns = 0;  // since 1970
  std::vector<SpanAttribute> attributes = {};
  std::string error = {};  // empty: all went well
};

// Fresh random ids.
TraceId new_trace_id();
SpanId new_span_id();

// An ExportTraceServiceRequest in protobuf's wire format (opentelemetry/proto/collector/trace/v1).
std::string encode_spans(std::span<const Span> spans, std::string_view service_version);

}  // namespace realm
