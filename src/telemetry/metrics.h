// What dashboards and autoscalers read at /metrics: vLLM's and llama.cpp's names, which exist in
// the field already, and Realm's own by tenant. Requests report as they end; what a scheduler
// counts itself is taken over when somebody scrapes. The number of tenants that get a label of
// their own is bounded, so that a thousand of them do not become ten thousand series: the rest is
// "other".
//
// Every method may be called from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "telemetry/gpu_monitor.h"

namespace realm {

// Upper bounds of the buckets of vllm:inter_token_latency_seconds; one more bucket lies above the
// last.
inline constexpr std::array<double, 16> kTokenLatencyBounds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5};

// The times between a request's tokens, gathered without a lock by whoever sees them.
struct TokenLatencies {
  std::array<uint32_t, kTokenLatencyBounds.size() + 1> counts = {};
  double sum_seconds = 0;
  void add(double seconds);
  void add(const TokenLatencies& other);
};

struct RequestReport {
  std::string model = {};
  std::string tenant = {};
  std::string outcome = {};  // the finish reason's name
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
  double total_seconds = 0;  // from arrival to end
  bool has_first_token = false;
  double first_token_seconds = 0;  // from arrival
  TokenLatencies latencies = {};
};

struct TenantState {
  std::string tenant = {};
  int64_t running = 0, waiting = 0, pages = 0;
};

// What one model's scheduler says of itself; totals only grow.
struct ModelState {
  std::string model = {};
  bool healthy = true;  // false: its engine is broken
  int64_t running = 0, waiting = 0;
  int64_t pages_total = 0, pages_used = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;
  int64_t preemptions = 0;
  int64_t prefix_queries = 0, prefix_hits = 0;
  int64_t pages_in_host_memory = 0, pages_stored = 0, pages_brought_back = 0;
  int64_t steps = 0, step_tokens = 0, step_sampled = 0;
  std::vector<std::pair<std::string, int64_t>> finished = {};  // by finish reason's name
  std::vector<TenantState> tenants = {};
};

struct ServerState {
  std::vector<ModelState> models = {};
  std::vector<GpuState> gpus = {};
  int64_t ledger_rows_waiting = 0;
  bool ledger_failing = false;
  int64_t spans_exported = 0, spans_dropped = 0;
};

class Metrics {
 public:
  explicit Metrics(size_t tenants_max = 100);
  ~Metrics();

  void request_ended(const RequestReport& report);
  // An HTTP answer that refused a request before it was accepted (429, 503, ...).
  void request_refused(std::string_view tenant, int status);
  void quota_rejected(std::string_view tenant, std::string_view quota);
  void guest_cpu(std::string_view tenant, double seconds);

  // The text format of Prometheus, with `state` as of now.
  std::string scrape(const ServerState& state);

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace realm
