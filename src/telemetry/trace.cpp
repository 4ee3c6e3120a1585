#include "telemetry/trace.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace realm {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

// Lower case only, as the recommendation wants it.
bool read_hex(std::string_view text, std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t high = kDigits.find(text[2 * i]), low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

bool is_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

void fill(std::span<uint8_t> out) {
  // As many bytes as an id has come in one piece, without failure.
  CHECK(::getrandom(out.data(), out.size(), 0) == static_cast<ssize_t>(out.size()));
}

// Protobuf's wire format, as far as spans need it: fields are a number with a wire type, then a
// varint, eight bytes, four bytes, or a length and bytes.
class Message {
 public:
  void varint_field(uint32_t field, uint64_t value) {
    tag(field, 0);
    varint(value);
  }
  void fixed64_field(uint32_t field, uint64_t value) {
    tag(field, 1);
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(value >> (8 * i));
  }
  void bytes_field(uint32_t field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
  }
  void bytes_field(uint32_t field, std::span<const uint8_t> value) {
    bytes_field(field, {reinterpret_cast<const char*>(value.data()), value.size()});
  }
  void message_field(uint32_t field, const Message& value) { bytes_field(field, value.bytes_); }
  std::string take() { return std::move(bytes_); }

 private:
  void tag(uint32_t field, uint32_t wire_type) { varint(field << 3 | wire_type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// KeyValue: key 1, value 2 (AnyValue: string 1, bool 2, int 3, double 4).
Message encode(const SpanAttribute& attribute) {
  Message value;
  if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    value.bytes_field(1, *text);
  } else if (const auto* flag = std::get_if<bool>(&attribute.value)) {
    value.varint_field(2, *flag ? 1 : 0);
  } else if (const auto* integer = std::get_if<int64_t>(&attribute.value)) {
    value.varint_field(3, static_cast<uint64_t>(*integer));
  } else {
    value.fixed64_field(4, std::bit_cast<uint64_t>(std::get<double>(attribute.value)));
  }
  Message pair;
  pair.bytes_field(1, attribute.key);
  pair.message_field(2, value);
  return pair;
}

Message encode(const Span& span) {
  constexpr uint64_t kInternal = 1, kServer = 2, kStatusError = 2;
  Message out;
  out.bytes_field(1, span.trace);
  out.bytes_field(2, span.id);
  if (!is_zero(span.parent)) out.bytes_field(4, span.parent);
  out.bytes_field(5, span.name);
  out.varint_field(6, span.is_server ? kServer : kInternal);
  out.fixed64_field(7, static_cast<uint64_t>(span.start_ns));
  out.fixed64_field(8, static_cast<uint64_t>(span.end_ns));
  for (const SpanAttribute& attribute : span.attributes) out.message_field(9, encode(attribute));
  if (!span.error.empty()) {
    Message status;
    status.bytes_field(2, span.error);
    status.varint_field(3, kStatusError);
    out.message_field(15, status);
  }
  return out;
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view header) {
  constexpr size_t kLength = 2 + 1 + 32 + 1 + 16 + 1 + 2;
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') {
    return std::nullopt;
  }
  std::array<uint8_t, 1> version{}, flags{};
  TraceContext context;
  if (!read_hex(header, version) || version[0] == 0xff) return std::nullopt;
  // A later version may add parts after another dash; this one has none.
  if (header.size() > kLength && (version[0] == 0 || header[kLength] != '-')) return std::nullopt;
  if (!read_hex(header.substr(3), context.trace) || is_zero(context.trace)) return std::nullopt;
  if (!read_hex(header.substr(36), context.parent) || is_zero(context.parent)) return std::nullopt;
  if (!read_hex(header.substr(53), flags)) return std::nullopt;
  context.sampled = (flags[0] & 1) != 0;
  return context;
}

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += {kDigits[byte >> 4], kDigits[byte & 15]};
  return text;
}

TraceId new_trace_id() {
  TraceId id{};
  fill(id);
  id[0] |= 1;  // all zero is no id
  return id;
}

SpanId new_span_id() {
  SpanId id{};
  fill(id);
  id[0] |= 1;
  return id;
}

std::string encode_spans(std::span<const Span> spans, std::string_view service_version) {
  Message resource;
  resource.message_field(1, encode({"service.name", std::string("realm")}));
  resource.message_field(1, encode({"service.version", std::string(service_version)}));
  Message scope;
  scope.bytes_field(1, std::string_view("realm.server"));
  Message scope_spans;
  scope_spans.message_field(1, scope);
  for (const Span& span : spans) scope_spans.message_field(2, encode(span));
  Message resource_spans;
  resource_spans.message_field(1, resource);
  resource_spans.message_field(2, scope_spans);
  Message request;
  request.message_field(1, resource_spans);
  return request.take();
}

}  // namespace realm
