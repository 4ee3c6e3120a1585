// realm-load: load for any server that speaks OpenAI's streamed chat API, ours or a peer's. Open
// loop: requests start at times drawn from a Poisson process whatever the server does, so that one
// which falls behind is seen to (a closed loop would wait for it). With --rate 0 it keeps
// --connections requests running instead, to find the most there is.
// Reports time to first token, time between tokens, whole-request latency, tokens a second, and
// goodput: requests a second that kept both promises.
//
//   realm-load --port 8080 --rate 8 --seconds 30 --max-tokens 64 --prompt-words 100
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "base/json_writer.h"

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

struct Options {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  std::string model, key;
  double rate = 0;  // requests a second
  int connections = 1;
  double seconds = 10;
  int max_requests = 1'000'000;
  int max_tokens = 64;
  int prompt_words = 20;
  bool shared_prompt = false;  // every request has the same one
  bool ignore_end = true;
  double promise_ttft_ms = 1000, promise_itl_ms = 100;
  uint64_t seed = 1;
  bool json = false;
};

struct Totals {
  std::vector<double> ttft_ms, itl_ms, latency_ms;
  int64_t started = 0, ended = 0, failed = 0, kept = 0, tokens = 0;
  int64_t running = 0;
};

double milliseconds(Clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

std::string body_of(const Options& options, std::mt19937_64& random) {
  static constexpr const char* kWords[] = {"fox",  "river", "stone", "seven", "green", "walk",
                                           "song", "house", "cloud", "north", "bread", "light"};
  std::string text = "Tell a story about";
  std::mt19937_64 fixed(options.seed);
  std::mt19937_64& source = options.shared_prompt ? fixed : random;
  for (int i = 0; i < options.prompt_words; ++i) text += std::string(" ") + kWords[source() % 12];
  realm::JsonWriter json;
  json.begin_object();
  if (!options.model.empty()) json.text("model", options.model);
  json.key("messages").begin_array().begin_object();
  json.text("role", "user").text("content", text).end_object().end_array();
  json.boolean("stream", true).integer("max_tokens", options.max_tokens);
  json.number("temperature", 0);
  if (options.ignore_end) json.boolean("ignore_eos", true);
  return json.end_object().str();
}

// One request on a connection of its own. A frame with "content" in it counts as a token.
asio::awaitable<void> one_request(const Options& options, const tcp::endpoint& endpoint,
                                  std::string body, Totals& totals) {
  ++totals.started;
  ++totals.running;
  const Clock::time_point start = Clock::now();
  tcp::socket socket(co_await asio::this_coro::executor);
  std::string head =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
      "Content-Type: application/json\r\n";
  if (!options.key.empty()) head += "Authorization: Bearer " + options.key + "\r\n";
  head += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  const std::string request = head + body;
  auto [connect_error] = co_await socket.async_connect(endpoint, kAwait);
  bool good = !connect_error;
  if (good) {
    const auto [ec, n] = co_await asio::async_write(socket, asio::buffer(request), kAwait);
    good = !ec;
  }
  std::string seen;
  std::vector<char> piece(16384);
  Clock::time_point last{};
  int64_t tokens = 0;
  double worst_gap_ms = 0, ttft_ms = 0;
  bool done = false, is_ok = false;
  while (good && !done) {
    const auto [ec, n] = co_await socket.async_read_some(asio::buffer(piece), kAwait);
    if (ec) break;
    seen.append(piece.data(), n);
    if (!is_ok) {
      if (seen.size() < 15) continue;
      is_ok = seen.compare(9, 3, "200") == 0;
      if (!is_ok) break;
    }
    const Clock::time_point now = Clock::now();
    size_t begin = 0;
    for (size_t end; (end = seen.find("\n\n", begin)) != std::string::npos; begin = end + 2) {
      const std::string_view frame(seen.data() + begin, end - begin);
      if (frame.find("[DONE]") != std::string_view::npos) done = true;
      const size_t content = frame.find("\"content\": \"");
      const size_t compact = frame.find("\"content\":\"");
      if (content == std::string_view::npos && compact == std::string_view::npos) continue;
      // The first chunk says the role and no text.
      if (frame.find("\"role\"") != std::string_view::npos) continue;
      ++tokens;
      if (tokens == 1) {
        ttft_ms = milliseconds(now - start);
        totals.ttft_ms.push_back(ttft_ms);
      } else {
        const double gap = milliseconds(now - last);
        worst_gap_ms = std::max(worst_gap_ms, gap);
        totals.itl_ms.push_back(gap);
      }
      last = now;
    }
    seen.erase(0, begin);
  }
  --totals.running;
  totals.tokens += tokens;
  if (!done) {
    ++totals.failed;
    co_return;
  }
  ++totals.ended;
  totals.latency_ms.push_back(milliseconds(Clock::now() - start));
  const double mean_gap = tokens > 1 ? milliseconds(last - start) - ttft_ms : 0;
  const double itl = tokens > 1 ? mean_gap / static_cast<double>(tokens - 1) : 0;
  if (ttft_ms <= options.promise_ttft_ms && itl <= options.promise_itl_ms) ++totals.kept;
}

asio::awaitable<void> open_loop(const Options& options, const tcp::endpoint& endpoint,
                                Totals& totals) {
  std::mt19937_64 random(options.seed);
  std::exponential_distribution<double> gap(options.rate);
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const Clock::time_point start = Clock::now();
  double at = 0;
  while (totals.started < options.max_requests) {
    at += gap(random);
    if (at > options.seconds) break;
    timer.expires_at(
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at)));
    co_await timer.async_wait(kAwait);
    asio::co_spawn(co_await asio::this_coro::executor,
                   one_request(options, endpoint, body_of(options, random), totals),
                   asio::detached);
  }
}

asio::awaitable<void> closed_loop(const Options& options, const tcp::endpoint& endpoint,
                                  Totals& totals, int index) {
  std::mt19937_64 random(options.seed + static_cast<uint64_t>(index));
  const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(options.seconds));
  while (Clock::now() < end && totals.started < options.max_requests) {
    co_await one_request(options, endpoint, body_of(options, random), totals);
  }
}

double percentile(std::vector<double>& values, double p) {
  if (values.empty()) return 0;
  const auto at = static_cast<ptrdiff_t>(p * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

void report(const Options& options, Totals& totals, double seconds) {
  struct Row {
    const char* name;
    std::vector<double>* values;
  };
  const Row rows[] = {
      {"ttft_ms", &totals.ttft_ms}, {"itl_ms", &totals.itl_ms}, {"latency_ms", &totals.latency_ms}};
  if (options.json) {
    realm::JsonWriter json;
    json.begin_object().number("seconds", seconds).integer("started", totals.started);
    json.integer("ended", totals.ended).integer("failed", totals.failed);
    json.number("requests_s", static_cast<double>(totals.ended) / seconds);
    json.number("tokens_s", static_cast<double>(totals.tokens) / seconds);
    json.number("goodput_s", static_cast<double>(totals.kept) / seconds);
    for (const Row& row : rows) {
      json.key(row.name).begin_object().number("p50", percentile(*row.values, 0.5));
      json.number("p90", percentile(*row.values, 0.9)).number("p99", percentile(*row.values, 0.99));
      json.end_object();
    }
    std::fputs(json.end_object().line().c_str(), stdout);
    return;
  }
  std::printf("%.1f s: %lld requests started, %lld ended, %lld failed\n", seconds,
              static_cast<long long>(totals.started), static_cast<long long>(totals.ended),
              static_cast<long long>(totals.failed));
  std::printf(
      "%.2f requests/s, %.0f tokens/s, goodput %.2f requests/s (ttft <= %g ms, itl <= %g ms)\n",
      static_cast<double>(totals.ended) / seconds, static_cast<double>(totals.tokens) / seconds,
      static_cast<double>(totals.kept) / seconds, options.promise_ttft_ms, options.promise_itl_ms);
  for (const Row& row : rows) {
    std::printf("%-10s  p50 %9.2f  p90 %9.2f  p99 %9.2f\n", row.name, percentile(*row.values, 0.5),
                percentile(*row.values, 0.9), percentile(*row.values, 0.99));
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Load for a server that speaks OpenAI's streamed chat API", "realm-load");
  app.add_option("--host", options.host, "an address");
  app.add_option("--port", options.port);
  app.add_option("--model", options.model);
  app.add_option("--key", options.key);
  app.add_option("--rate", options.rate, "requests a second, open loop; 0: closed loop");
  app.add_option("--connections", options.connections, "requests at once, closed loop");
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 3600.0));
  app.add_option("--requests", options.max_requests, "start at most this many");
  app.add_option("--max-tokens", options.max_tokens);
  app.add_option("--prompt-words", options.prompt_words);
  app.add_flag("--shared-prompt", options.shared_prompt);
  app.add_option("--promise-ttft-ms", options.promise_ttft_ms);
  app.add_option("--promise-itl-ms", options.promise_itl_ms);
  app.add_option("--seed", options.seed);
  app.add_flag("--json", options.json);
  CLI11_PARSE(app, argc, argv);

  asio::io_context context(1);
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(options.host, ec);
  if (ec) {
    std::fprintf(stderr, "realm-load: --host: '%s' is no address\n", options.host.c_str());
    return 2;
  }
  const tcp::endpoint endpoint(address, options.port);
  Totals totals;
  const Clock::time_point start = Clock::now();
  if (options.rate > 0) {
    asio::co_spawn(context, open_loop(options, endpoint, totals), asio::detached);
  } else {
    for (int i = 0; i < options.connections; ++i) {
      asio::co_spawn(context, closed_loop(options, endpoint, totals, i), asio::detached);
    }
  }
  context.run();
  report(options, totals, std::chrono::duration<double>(Clock::now() - start).count());
  return totals.ended > 0 ? 0 : 1;
}
