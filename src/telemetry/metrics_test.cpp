#include "telemetry/metrics.h"

#include <gtest/gtest.h>

#include <thread>

namespace realm {
namespace {

RequestReport report(const std::string& tenant) {
  RequestReport out{.model = "tiny",
                    .tenant = tenant,
                    .outcome = "stop",
                    .prompt_tokens = 10,
                    .cached_tokens = 4,
                    .generated_tokens = 3,
                    .queue_seconds = 0.5,
                    .prefill_seconds = 1,
                    .decode_seconds = 2,
                    .total_seconds = 3.5,
                    .has_first_token = true,
                    .first_token_seconds = 1.5};
  out.latencies.add(0.004);
  out.latencies.add(9);
  return out;
}

ServerState state() {
  ServerState state;
  state.models.push_back({.model = "tiny",
                          .running = 2,
                          .waiting = 3,
                          .pages_total = 8,
                          .pages_used = 2,
                          .prompt_tokens = 100,
                          .generated_tokens = 50,
                          .preemptions = 1,
                          .prefix_queries = 100,
                          .prefix_hits = 40,
                          .steps = 10,
                          .step_tokens = 150,
                          .step_sampled = 50,
                          .finished = {{"stop", 4}, {"context_full", 1}, {"deadline", 2}},
                          .tenants = {{.tenant = "acme", .running = 2, .waiting = 3, .pages = 2}}});
  return state;
}

void expect_line(const std::string& text, const std::string& line) {
  EXPECT_NE(text.find("\n" + line + "\n"), std::string::npos) << line << "\nnot in\n" << text;
}

TEST(Metrics, TakesOverWhatSchedulersCount) {
  Metrics metrics;
  const std::string labels = "{engine=\"0\",model_name=\"tiny\"}";
  // Twice: a second scrape of the same state adds nothing.
  metrics.scrape(state());
  const std::string text = metrics.scrape(state());
  expect_line(text, "vllm:num_requests_running" + labels + " 2");
  expect_line(text, "vllm:num_requests_waiting" + labels + " 3");
  expect_line(text, "vllm:kv_cache_usage_perc" + labels + " 0.25");
  expect_line(text, "vllm:prompt_tokens_total" + labels + " 100");
  expect_line(text, "vllm:generation_tokens_total" + labels + " 50");
  expect_line(text, "vllm:num_preemptions_total" + labels + " 1");
  expect_line(text, "vllm:prefix_cache_queries_total" + labels + " 100");
  expect_line(text, "vllm:prefix_cache_hits_total" + labels + " 40");
  expect_line(text, "vllm:iteration_tokens_total_count" + labels + " 10");
  expect_line(text, "vllm:iteration_tokens_total_sum" + labels + " 150");
  const std::string success = "vllm:request_success_total{engine=\"0\",finished_reason=\"";
  expect_line(text, success + "stop\",model_name=\"tiny\"} 4");
  expect_line(text, success + "length\",model_name=\"tiny\"} 1");
  expect_line(text, success + "abort\",model_name=\"tiny\"} 2");
  expect_line(text, "llamacpp:requests_processing 2");
  expect_line(text, "llamacpp:requests_deferred 3");
  expect_line(text, "llamacpp:n_decode_total 10");
  expect_line(text, "llamacpp:n_busy_slots_per_decode 5");
  expect_line(text, "realm_kv_pages{tenant=\"acme\"} 2");
}

TEST(Metrics, TenantsThatAreGoneAreShownAtZero) {
  Metrics metrics;
  metrics.scrape(state());
  ServerState later = state();
  later.models[0].tenants.clear();
  expect_line(metrics.scrape(later), "realm_kv_pages{tenant=\"acme\"} 0");
}

TEST(Metrics, RequestsReportAsTheyEnd) {
  Metrics metrics;
  metrics.request_ended(report("acme"));
  metrics.request_ended(report("acme"));
  metrics.request_refused("acme", 429);
  metrics.quota_rejected("acme", "tokens_per_minute");
  metrics.guest_cpu("acme", 0.25);
  const std::string text = metrics.scrape({});
  expect_line(text, "realm_prompt_tokens_total{tenant=\"acme\"} 20");
  expect_line(text, "realm_cached_tokens_total{tenant=\"acme\"} 8");
  expect_line(text, "realm_generated_tokens_total{tenant=\"acme\"} 6");
  expect_line(text, "realm_requests_total{status=\"stop\",tenant=\"acme\"} 2");
  expect_line(text, "realm_requests_total{status=\"429\",tenant=\"acme\"} 1");
  expect_line(text, "realm_quota_rejections_total{quota=\"tokens_per_minute\",tenant=\"acme\"} 1");
  expect_line(text, "realm_guest_cpu_seconds_total{tenant=\"acme\"} 0.25");
  const std::string labels = "{engine=\"0\",model_name=\"tiny\"";
  expect_line(text, "vllm:time_to_first_token_seconds_sum" + labels + "} 3");
  expect_line(text, "vllm:inter_token_latency_seconds_count" + labels + "} 4");
  expect_line(text, "vllm:inter_token_latency_seconds_bucket" + labels + ",le=\"0.005\"} 2");
  expect_line(text, "vllm:inter_token_latency_seconds_bucket" + labels + ",le=\"+Inf\"} 4");
  expect_line(text, "vllm:request_prompt_tokens_sum" + labels + "} 20");
  expect_line(text, "llamacpp:tokens_predicted_seconds_total 4");
}

TEST(Metrics, TenantLabelsAreBounded) {
  Metrics metrics(3);
  for (int i = 0; i < 50; ++i) metrics.request_ended(report("tenant-" + std::to_string(i)));
  const std::string text = metrics.scrape({});
  for (int i = 0; i < 3; ++i) {
    expect_line(text, "realm_prompt_tokens_total{tenant=\"tenant-" + std::to_string(i) + "\"} 10");
  }
  expect_line(text, "realm_prompt_tokens_total{tenant=\"other\"} 470");
  EXPECT_EQ(text.find("tenant-3\""), std::string::npos);
}

TEST(Metrics, ReportsAndScrapesFromManyThreads) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 200; ++i) {
        metrics.request_ended(report("t" + std::to_string(thread)));
        if (i % 50 == 0) metrics.scrape(state());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_line(metrics.scrape({}), "realm_requests_total{status=\"stop\",tenant=\"t3\"} 200");
}

}  // namespace
}  // namespace realm
