#include "server/tenancy/request_reports.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>
#include <vector>

#include "base/json_writer.h"

namespace realm::server {
namespace {

RequestReport metrics_report(const UsageRecord& record, double total_seconds) {
  return {.model = record.model,
          .tenant = record.principal.tenant_name,
          .outcome = finish_reason_name(record.finish),
          .prompt_tokens = record.prompt_tokens,
          .cached_tokens = record.cached_tokens,
          .generated_tokens = record.generated_tokens,
          .queue_seconds = record.queue_seconds,
          .prefill_seconds = record.prefill_seconds,
          .decode_seconds = record.decode_seconds,
          .total_seconds = total_seconds,
          .has_first_token = record.generated_tokens > 0,
          .first_token_seconds = record.queue_seconds + record.prefill_seconds,
          .latencies = record.latencies};
}

int64_t nanoseconds(double seconds) {
  return static_cast<int64_t>(seconds * 1e9);
}

// The request, and within it what it did: waiting, the prompt, the answer.
std::vector<Span> spans_of(const UsageRecord& record, int64_t end_ns) {
  const TraceContext& trace = *record.principal.trace;
  Span request{.trace = trace.trace,
               .id = new_span_id(),
               .parent = trace.parent,
               .name = "generate " + record.model,
               .is_server = true,
               .end_ns = end_ns};
  request.start_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(record.arrived.time_since_epoch())
          .count();
  request.attributes = {
      {"gen_ai.operation.name", std::string("generate")},
      {"gen_ai.request.model", record.model},
      {"gen_ai.response.id", record.request_id},
      {"gen_ai.response.finish_reason", std::string(finish_reason_name(record.finish))},
      {"gen_ai.usage.input_tokens", record.prompt_tokens},
      {"gen_ai.usage.output_tokens", record.generated_tokens},
      {"realm.cached_tokens", record.cached_tokens},
      {"realm.tenant", record.principal.tenant_name}};
  if (record.finish == FinishReason::kError) request.error = "the request failed";
  std::vector<Span> spans;
  int64_t at = request.start_ns;
  const std::pair<const char*, double> phases[] = {{"queue", record.queue_seconds},
                                                   {"prefill", record.prefill_seconds},
                                                   {"decode", record.decode_seconds}};
  for (const auto& [name, seconds] : phases) {
    Span phase{.trace = trace.trace, .id = new_span_id(), .parent = request.id, .name = name};
    phase.start_ns = at;
    phase.end_ns = at += nanoseconds(seconds);
    spans.push_back(std::move(phase));
  }
  spans.push_back(std::move(request));
  return spans;
}

std::string log_line(const UsageRecord& record, double total_seconds) {
  JsonWriter json;
  json.begin_object()
      .text("event", "request")
      .text("request_id", record.request_id)
      .text("tenant", record.principal.tenant_name)
      .text("key", record.principal.key_prefix)
      .text("model", record.model)
      .text("outcome", finish_reason_name(record.finish))
      .integer("prompt_tokens", record.prompt_tokens)
      .integer("cached_tokens", record.cached_tokens)
      .integer("generated_tokens", record.generated_tokens)
      .number("queue_seconds", record.queue_seconds)
      .number("prefill_seconds", record.prefill_seconds)
      .number("decode_seconds", record.decode_seconds)
      .number("total_seconds", total_seconds);
  if (record.principal.trace) json.text("trace_id", hex(record.principal.trace->trace));
  return json.end_object().str();
}

}  // namespace

void RequestReports::ended(const UsageRecord& record) {
  const auto now = std::chrono::system_clock::now();
  const double total_seconds = std::chrono::duration<double>(now - record.arrived).count();
  metrics_.request_ended(metrics_report(record, total_seconds));
  if (spdlog::should_log(spdlog::level::info)) {
    spdlog::info("{}", log_line(record, total_seconds));
  }
  if (exporter_ == nullptr || !record.principal.trace || !record.principal.trace->sampled) return;
  const auto end = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch());
  exporter_->submit(spans_of(record, end.count()));
}

void RequestReports::refused(const Principal& principal, int status, std::string_view quota) {
  metrics_.request_refused(principal.tenant_name, status);
  if (!quota.empty()) metrics_.quota_rejected(principal.tenant_name, quota);
  if (!spdlog::should_log(spdlog::level::info)) return;
  JsonWriter json;
  json.begin_object()
      .text("event", "refused")
      .text("tenant", principal.tenant_name)
      .text("key", principal.key_prefix)
      .integer("status", status)
      .text("quota", quota);
  spdlog::info("{}", json.end_object().str());
}

}  // namespace realm::server
