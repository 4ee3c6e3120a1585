#include "telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>

namespace realm {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using Buckets = Histogram::BucketBoundaries;

// vLLM's bounds, which dashboards' queries assume.
const Buckets kFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                             1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const Buckets kSpans = {0.05, 0.1, 0.3, 0.5, 0.8, 1,   1.5, 2,   2.5, 5,    10,  15,
                        20,   30,  40,  50,  60,  120, 240, 480, 960, 1920, 7680};
const Buckets kTokens = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                         1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
const Buckets kTokenLatency(kTokenLatencyBounds.begin(), kTokenLatencyBounds.end());

constexpr std::string_view kOther = "other";

// The finish reasons that vLLM knows.
std::string_view vllm_reason(std::string_view outcome) {
  if (outcome == "stop") return "stop";
  if (outcome == "length" || outcome == "context_full") return "length";
  return outcome == "error" ? "error" : "abort";
}

Labels of_model(const std::string& model) {
  return {{"engine", "0"}, {"model_name", model}};
}

// A counter that somebody else keeps: brought to its value.
void raise(Counter& counter, int64_t total) {
  counter.Increment(std::max(0.0, static_cast<double>(total) - counter.Value()));
}

}  // namespace

void TokenLatencies::add(double seconds) {
  const auto bucket =
      std::lower_bound(kTokenLatencyBounds.begin(), kTokenLatencyBounds.end(), seconds);
  ++counts[static_cast<size_t>(bucket - kTokenLatencyBounds.begin())];
  sum_seconds += seconds;
}

void TokenLatencies::add(const TokenLatencies& other) {
  for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
  sum_seconds += other.sum_seconds;
}

struct Metrics::Families {
  explicit Families(size_t max) : tenants_max(max) {
    // There from the start, so that a query for them never finds nothing.
    for (Family<Counter>* family :
         {&llama_prompt_tokens, &llama_prompt_seconds, &llama_predicted, &llama_predicted_seconds,
          &llama_decodes, &spans_exported, &spans_dropped}) {
      family->Add({});
    }
    for (Family<Gauge>* family : {&llama_processing, &llama_deferred, &llama_busy_slots,
                                  &ledger_waiting, &ledger_failing}) {
      family->Add({});
    }
  }

  Family<Counter>& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  Family<Histogram>& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  // The label of a tenant; the first ones seen keep theirs.
  std::string label(std::string_view tenant) {
    const std::lock_guard lock(mutex);
    if (const auto found = labelled.find(tenant); found != labelled.end()) return *found;
    if (labelled.size() >= tenants_max) return std::string(kOther);
    return *labelled.emplace(tenant).first;
  }

  void take_over(const ModelState& state);
  void take_over_tenants(const ServerState& state);
  void take_over(const GpuState& gpu);

  prometheus::Registry registry;
  const size_t tenants_max;
  std::mutex mutex;
  std::set<std::string, std::less<>> labelled;
  std::mutex scrape_mutex;

  Family<Gauge>& running = gauge("vllm:num_requests_running", "Requests that run.");
  Family<Gauge>& waiting = gauge("vllm:num_requests_waiting", "Requests that wait to run.");
  Family<Gauge>& kv_usage =
      gauge("vllm:kv_cache_usage_perc", "Share of the KV pages in use, 0 to 1.");
  Family<Gauge>& lora_info = gauge("vllm:lora_requests_info", "Adapters in use, by name.");
  Family<Counter>& prompt_tokens = counter("vllm:prompt_tokens_total", "Prompt tokens started.");
  Family<Counter>& generation_tokens = counter("vllm:generation_tokens_total", "Tokens generated.");
  Family<Counter>& success = counter("vllm:request_success_total", "Requests that have ended.");
  Family<Counter>& preemptions =
      counter("vllm:num_preemptions_total", "Requests that gave up their pages to others.");
  Family<Counter>& prefix_queries =
      counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.");
  Family<Counter>& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.");
  Family<Counter>& drafts = counter("vllm:spec_decode_num_drafts_total", "Drafts made.");
  Family<Counter>& draft_tokens =
      counter("vllm:spec_decode_num_draft_tokens_total", "Tokens drafted.");
  Family<Counter>& accepted_tokens =
      counter("vllm:spec_decode_num_accepted_tokens_total", "Drafted tokens that were accepted.");
  Family<Histogram>& first_token =
      histogram("vllm:time_to_first_token_seconds", "Arrival to first token.");
  Family<Histogram>& inter_token =
      histogram("vllm:inter_token_latency_seconds", "One token to the next.");
  Family<Histogram>& end_to_end = histogram("vllm:e2e_request_latency_seconds", "Arrival to end.");
  Family<Histogram>& queue_time = histogram("vllm:request_queue_time_seconds", "Time waiting.");
  Family<Histogram>& prefill_time =
      histogram("vllm:request_prefill_time_seconds", "First step to first token.");
  Family<Histogram>& decode_time =
      histogram("vllm:request_decode_time_seconds", "First token to end.");
  Family<Histogram>& request_prompt =
      histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.");
  Family<Histogram>& request_generation =
      histogram("vllm:request_generation_tokens", "Tokens generated for a request.");
  Family<Histogram>& iteration_tokens =
      histogram("vllm:iteration_tokens_total", "Tokens of a step, averaged between scrapes.");

  Family<Counter>& llama_prompt_tokens =
      counter("llamacpp:prompt_tokens_total", "Prompt tokens processed.");
  Family<Counter>& llama_prompt_seconds =
      counter("llamacpp:prompt_seconds_total", "Time in prompts.");
  Family<Counter>& llama_predicted =
      counter("llamacpp:tokens_predicted_total", "Tokens generated.");
  Family<Counter>& llama_predicted_seconds =
      counter("llamacpp:tokens_predicted_seconds_total", "Time in generation.");
  Family<Counter>& llama_decodes = counter("llamacpp:n_decode_total", "Steps of all models.");
  Family<Gauge>& llama_processing = gauge("llamacpp:requests_processing", "Requests that run.");
  Family<Gauge>& llama_deferred = gauge("llamacpp:requests_deferred", "Requests that wait.");
  Family<Gauge>& llama_busy_slots =
      gauge("llamacpp:n_busy_slots_per_decode", "Sequences that got a token, per step.");

  Family<Counter>& tenant_prompt =
      counter("realm_prompt_tokens_total", "Prompt tokens of ended requests.");
  Family<Counter>& tenant_cached =
      counter("realm_cached_tokens_total", "Of these, found in the prefix cache.");
  Family<Counter>& tenant_generated =
      counter("realm_generated_tokens_total", "Tokens generated for ended requests.");
  Family<Counter>& tenant_requests =
      counter("realm_requests_total", "Requests by how they ended, or by the status refused with.");
  Family<Histogram>& tenant_queue =
      histogram("realm_queue_time_seconds", "Time that requests waited.");
  Family<Gauge>& tenant_pages = gauge("realm_kv_pages", "KV pages of running requests.");
  Family<Gauge>& tenant_running = gauge("realm_requests_running", "Requests that run.");
  Family<Gauge>& tenant_waiting = gauge("realm_requests_waiting", "Requests that wait.");
  Family<Counter>& tenant_guest =
      counter("realm_guest_cpu_seconds_total", "CPU time of tenant programs.");
  Family<Counter>& tenant_rejections =
      counter("realm_quota_rejections_total", "Requests refused for a quota.");
  Family<Gauge>& host_pages =
      gauge("realm_kv_pages_in_host_memory", "KV pages that left the GPU and are kept.");
  Family<Counter>& swapped_pages =
      counter("realm_kv_pages_swapped_total", "KV pages copied to the host's memory, or back.");
  Family<Gauge>& model_healthy = gauge("realm_model_healthy", "0 once a model's engine is broken.");
  Family<Gauge>& gpu_memory_used =
      gauge("realm_gpu_memory_used_bytes", "GPU memory in use, by all programs.");
  Family<Gauge>& gpu_memory_total = gauge("realm_gpu_memory_total_bytes", "GPU memory there is.");
  Family<Gauge>& gpu_busy =
      gauge("realm_gpu_utilization_ratio", "Share of the time in which a kernel ran, 0 to 1.");
  Family<Gauge>& gpu_memory_busy =
      gauge("realm_gpu_memory_utilization_ratio",
            "Share of the time in which GPU memory was read or written, 0 to 1.");
  Family<Gauge>& ledger_waiting =
      gauge("realm_ledger_rows_waiting", "Usage rows not yet written to the store.");
  Family<Gauge>& ledger_failing =
      gauge("realm_ledger_failing", "1 while the store refuses usage rows.");
  Family<Counter>& spans_exported = counter("realm_spans_exported_total", "Spans exported.");
  Family<Counter>& spans_dropped =
      counter("realm_spans_dropped_total", "Spans dropped, the collector being slow or away.");

  std::map<std::string, std::pair<int64_t, int64_t>> steps_seen;  // by model: steps, step_tokens
  std::vector<std::string> tenants_shown;                         // with gauges not at zero
};

void Metrics::Families::take_over(const ModelState& state) {
  const Labels labels = of_model(state.model);
  model_healthy.Add(labels).Set(state.healthy ? 1 : 0);
  running.Add(labels).Set(static_cast<double>(state.running));
  waiting.Add(labels).Set(static_cast<double>(state.waiting));
  const double pages = static_cast<double>(std::max<int64_t>(state.pages_total, 1));
  kv_usage.Add(labels).Set(static_cast<double>(state.pages_used) / pages);
  raise(prompt_tokens.Add(labels), state.prompt_tokens);
  raise(generation_tokens.Add(labels), state.generated_tokens);
  raise(preemptions.Add(labels), state.preemptions);
  raise(prefix_queries.Add(labels), state.prefix_queries);
  raise(prefix_hits.Add(labels), state.prefix_hits);
  host_pages.Add(labels).Set(static_cast<double>(state.pages_in_host_memory));
  Labels out = labels, in = labels;
  out["direction"] = "out";
  in["direction"] = "in";
  raise(swapped_pages.Add(out), state.pages_stored);
  raise(swapped_pages.Add(in), state.pages_brought_back);
  for (Family<Counter>* family : {&drafts, &draft_tokens, &accepted_tokens}) family->Add(labels);
  std::map<std::string, int64_t> finished = {
      {"stop", 0}, {"length", 0}, {"abort", 0}, {"error", 0}};
  for (const auto& [reason, count] : state.finished) {
    finished[std::string(vllm_reason(reason))] += count;
  }
  for (const auto& [reason, count] : finished) {
    Labels with_reason = labels;
    with_reason["finished_reason"] = reason;
    raise(success.Add(with_reason), count);
  }
  // The engine's steps are far too many to report one by one: each scrape adds those since the last
  // one, at their mean.
  auto& [steps, tokens] = steps_seen[state.model];
  const int64_t new_steps = state.steps - steps, new_tokens = state.step_tokens - tokens;
  Histogram& iterations = iteration_tokens.Add(labels, kTokens);
  if (new_steps > 0) {
    const double mean = static_cast<double>(new_tokens) / static_cast<double>(new_steps);
    std::vector<double> counts(kTokens.size() + 1);
    const auto bucket = std::lower_bound(kTokens.begin(), kTokens.end(), mean);
    counts[static_cast<size_t>(bucket - kTokens.begin())] = static_cast<double>(new_steps);
    iterations.ObserveMultiple(counts, static_cast<double>(new_tokens));
    steps = state.steps;
    tokens = state.step_tokens;
  }
  Labels lora = labels;
  lora["max_lora"] = "0";
  lora["running_lora_adapters"] = "";
  lora["waiting_lora_adapters"] = "";
  lora_info.Add(lora).SetToCurrentTime();
}

void Metrics::Families::take_over(const GpuState& gpu) {
  const Labels labels = {{"gpu", std::to_string(gpu.index)}, {"name", gpu.name}};
  gpu_memory_used.Add(labels).Set(static_cast<double>(gpu.memory_used_bytes));
  gpu_memory_total.Add(labels).Set(static_cast<double>(gpu.memory_total_bytes));
  if (gpu.busy >= 0) gpu_busy.Add(labels).Set(gpu.busy);
  if (gpu.memory_busy >= 0) gpu_memory_busy.Add(labels).Set(gpu.memory_busy);
}

void Metrics::Families::take_over_tenants(const ServerState& state) {
  std::map<std::string, TenantState> sums;
  for (const std::string& tenant : tenants_shown) sums[tenant];
  for (const ModelState& model : state.models) {
    for (const TenantState& tenant : model.tenants) {
      TenantState& sum = sums[label(tenant.tenant)];
      sum.running += tenant.running;
      sum.waiting += tenant.waiting;
      sum.pages += tenant.pages;
    }
  }
  tenants_shown.clear();
  for (const auto& [tenant, sum] : sums) {
    tenants_shown.push_back(tenant);
    tenant_running.Add({{"tenant", tenant}}).Set(static_cast<double>(sum.running));
    tenant_waiting.Add({{"tenant", tenant}}).Set(static_cast<double>(sum.waiting));
    tenant_pages.Add({{"tenant", tenant}}).Set(static_cast<double>(sum.pages));
  }
}

Metrics::Metrics(size_t tenants_max) : families_(std::make_unique<Families>(tenants_max)) {}

Metrics::~Metrics() = default;

void Metrics::request_ended(const RequestReport& report) {
  Families& f = *families_;
  const Labels model = of_model(report.model);
  f.queue_time.Add(model, kSpans).Observe(report.queue_seconds);
  f.end_to_end.Add(model, kSpans).Observe(report.total_seconds);
  f.request_prompt.Add(model, kTokens).Observe(static_cast<double>(report.prompt_tokens));
  f.request_generation.Add(model, kTokens).Observe(static_cast<double>(report.generated_tokens));
  if (report.has_first_token) {
    f.first_token.Add(model, kFirstToken).Observe(report.first_token_seconds);
    f.prefill_time.Add(model, kSpans).Observe(report.prefill_seconds);
    f.decode_time.Add(model, kSpans).Observe(report.decode_seconds);
  }
  f.inter_token.Add(model, kTokenLatency)
      .ObserveMultiple({report.latencies.counts.begin(), report.latencies.counts.end()},
                       report.latencies.sum_seconds);
  f.llama_prompt_seconds.Add({}).Increment(report.prefill_seconds);
  f.llama_predicted_seconds.Add({}).Increment(report.decode_seconds);

  const Labels tenant = {{"tenant", f.label(report.tenant)}};
  f.tenant_prompt.Add(tenant).Increment(static_cast<double>(report.prompt_tokens));
  f.tenant_cached.Add(tenant).Increment(static_cast<double>(report.cached_tokens));
  f.tenant_generated.Add(tenant).Increment(static_cast<double>(report.generated_tokens));
  f.tenant_queue.Add(tenant, kSpans).Observe(report.queue_seconds);
  f.tenant_guest.Add(tenant);  // at 0 for tenants without programs
  Labels with_status = tenant;
  with_status["status"] = report.outcome;
  f.tenant_requests.Add(with_status).Increment();
}

void Metrics::request_refused(std::string_view tenant, int status) {
  Families& f = *families_;
  f.tenant_requests.Add({{"tenant", f.label(tenant)}, {"status", std::to_string(status)}})
      .Increment();
}

void Metrics::quota_rejected(std::string_view tenant, std::string_view quota) {
  Families& f = *families_;
  f.tenant_rejections.Add({{"tenant", f.label(tenant)}, {"quota", std::string(quota)}}).Increment();
}

void Metrics::guest_cpu(std::string_view tenant, double seconds) {
  Families& f = *families_;
  f.tenant_guest.Add({{"tenant", f.label(tenant)}}).Increment(seconds);
}

std::string Metrics::scrape(const ServerState& state) {
  Families& f = *families_;
  const std::lock_guard lock(f.scrape_mutex);
  int64_t running = 0, waiting = 0, prompt = 0, generated = 0, steps = 0, sampled = 0;
  for (const ModelState& model : state.models) {
    f.take_over(model);
    running += model.running;
    waiting += model.waiting;
    prompt += model.prompt_tokens;
    generated += model.generated_tokens;
    steps += model.steps;
    sampled += model.step_sampled;
  }
  f.take_over_tenants(state);
  for (const GpuState& gpu : state.gpus) f.take_over(gpu);
  f.llama_processing.Add({}).Set(static_cast<double>(running));
  f.llama_deferred.Add({}).Set(static_cast<double>(waiting));
  raise(f.llama_prompt_tokens.Add({}), prompt);
  raise(f.llama_predicted.Add({}), generated);
  raise(f.llama_decodes.Add({}), steps);
  f.llama_busy_slots.Add({}).Set(
      steps == 0 ? 0 : static_cast<double>(sampled) / static_cast<double>(steps));
  f.ledger_waiting.Add({}).Set(static_cast<double>(state.ledger_rows_waiting));
  f.ledger_failing.Add({}).Set(state.ledger_failing ? 1 : 0);
  raise(f.spans_exported.Add({}), state.spans_exported);
  raise(f.spans_dropped.Add({}), state.spans_dropped);
  return prometheus::TextSerializer().Serialize(f.registry.Collect());
}

}  // namespace realm
