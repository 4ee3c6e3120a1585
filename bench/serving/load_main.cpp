// realm-load: load for any server that speaks OpenAI's streamed chat API, ours or a peer's.
// Reports time to first token, time between tokens, whole-request latency, tokens a second, and
// goodput: requests a second that kept both promises. Several groups of clients may run at once,
// each with keys and a rate of its own, and are reported apart.
//
//   realm-load --port 8080 --rate 8 --seconds 30 --max-tokens 64 --prompt-words 100
//   realm-load --port 8080 --group name=paced,key=rk_a,rate=2 --group name=greedy,key=rk_b,rate=20
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "base/json_writer.h"
#include "serving/load.h"

namespace {

using namespace realm::load;

double percentile(std::vector<double>& values, double p) {
  if (values.empty()) return 0;
  const auto at = static_cast<ptrdiff_t>(p * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

struct Row {
  const char* name;
  std::vector<double>& values;
};

void report_json(const Group& group, Totals& totals, double seconds) {
  realm::JsonWriter json;
  json.begin_object().text("group", group.name).number("seconds", seconds);
  json.integer("started", totals.started).integer("ended", totals.ended);
  json.integer("failed", totals.failed).integer("cut_off", totals.cut_off);
  json.number("requests_s", static_cast<double>(totals.ended) / seconds);
  json.number("tokens_s", static_cast<double>(totals.pieces) / seconds);
  json.integer("usage_tokens", totals.usage_tokens).integer("usage_pieces", totals.usage_pieces);
  json.number("goodput_s", static_cast<double>(totals.kept) / seconds);
  for (const Row& row : {Row{"ttft_ms", totals.ttft_ms}, Row{"itl_ms", totals.itl_ms},
                         Row{"latency_ms", totals.latency_ms}}) {
    json.key(row.name).begin_object().number("p50", percentile(row.values, 0.5));
    json.number("p90", percentile(row.values, 0.9)).number("p99", percentile(row.values, 0.99));
    json.end_object();
  }
  std::fputs(json.end_object().line().c_str(), stdout);
}

void report_text(const Group& group, Totals& totals, double seconds) {
  std::printf("%s, %.1f s: %lld requests started, %lld ended, %lld failed, %lld cut off\n",
              group.name.c_str(), seconds, static_cast<long long>(totals.started),
              static_cast<long long>(totals.ended), static_cast<long long>(totals.failed),
              static_cast<long long>(totals.cut_off));
  std::printf(
      "%.2f requests/s, %.0f tokens/s, goodput %.2f requests/s (ttft <= %g ms, itl <= %g ms)\n",
      static_cast<double>(totals.ended) / seconds, static_cast<double>(totals.pieces) / seconds,
      static_cast<double>(totals.kept) / seconds, group.promise_ttft_ms, group.promise_itl_ms);
  if (totals.usage_pieces != totals.usage_tokens) {
    std::printf("%lld pieces of text came for %lld tokens\n",
                static_cast<long long>(totals.usage_pieces),
                static_cast<long long>(totals.usage_tokens));
  }
  for (const Row& row : {Row{"ttft_ms", totals.ttft_ms}, Row{"itl_ms", totals.itl_ms},
                         Row{"latency_ms", totals.latency_ms}}) {
    std::printf("%-10s  p50 %9.2f  p90 %9.2f  p99 %9.2f\n", row.name, percentile(row.values, 0.5),
                percentile(row.values, 0.9), percentile(row.values, 0.99));
  }
}

// One key a line.
bool read_keys(const std::string& path, std::vector<std::string>& keys) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) keys.push_back(line);
  }
  return !keys.empty();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  Group plain;
  std::string key, keys_file;
  std::vector<std::string> group_texts;
  bool json = false;
  CLI::App app("Load for a server that speaks OpenAI's streamed chat API", "realm-load");
  app.add_option("--host", options.host, "an address");
  app.add_option("--port", options.port);
  app.add_option("--model", plain.model);
  app.add_option("--key", key);
  app.add_option("--keys-file", keys_file, "a key a line, used by turns");
  app.add_option("--rate", plain.rate, "requests a second, open loop; 0: closed loop");
  app.add_option("--connections", plain.connections, "requests at once, closed loop");
  app.add_option("--warmup", options.warmup_s, "seconds of load before it is counted");
  app.add_option("--seconds", options.seconds, "of counted load")->check(CLI::Range(0.1, 3600.0));
  app.add_option("--grace", options.grace_s, "seconds that requests get to end afterwards");
  app.add_option("--max-tokens", plain.max_tokens);
  app.add_option("--prompt-words", plain.prompt_words);
  app.add_flag("--shared-prompt", plain.shared_prompt);
  app.add_option(
         "--sampling", plain.sampling,
         "NAME VALUE: a number in the body of requests; repeatable; without any, temperature 0")
      ->type_size(2)
      ->expected(-1);
  app.add_option("--promise-ttft-ms", plain.promise_ttft_ms);
  app.add_option("--promise-itl-ms", plain.promise_itl_ms);
  app.add_option("--seed", options.seed);
  app.add_option("--group", group_texts,
                 "name=...,key=...,rate=... or connections=...,max-tokens=...,prompt-words=...,"
                 "sampling.NAME=...: "
                 "clients of their own kind; what is not said is as without; repeatable");
  app.add_flag("--json", json, "a JSON object a line, one for each group");
  CLI11_PARSE(app, argc, argv);

  if (!key.empty()) plain.keys = {key};
  if (!keys_file.empty() && !read_keys(keys_file, plain.keys)) {
    std::fprintf(stderr, "realm-load: %s holds no keys\n", keys_file.c_str());
    return 2;
  }
  std::vector<Group> groups;
  for (const std::string& text : group_texts) {
    auto group = parse_group(text, plain);
    if (!group.ok()) {
      std::fprintf(stderr, "realm-load: %s\n", group.error().message.c_str());
      return 2;
    }
    groups.push_back(std::move(group).value());
  }
  if (groups.empty()) groups.push_back(plain);
  auto totals = run(options, groups);
  if (!totals.ok()) {
    std::fprintf(stderr, "realm-load: %s\n", totals.error().message.c_str());
    return 2;
  }
  bool served = true;
  for (size_t i = 0; i < groups.size(); ++i) {
    served = served && (*totals)[i].pieces > 0;
    (json ? report_json : report_text)(groups[i], (*totals)[i], options.seconds);
  }
  return served ? 0 : 1;
}
