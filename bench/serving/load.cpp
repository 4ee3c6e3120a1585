#include "serving/load.h"

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
#include <charconv>
#include <random>
#include <string_view>

#include "base/json_writer.h"

namespace realm::load {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

double milliseconds(Clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

Clock::duration after(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

struct Window {
  Clock::time_point start, begin, end;  // of the load; of the counted part
  bool holds(Clock::time_point time) const { return time >= begin && time < end; }
};

// A group while its load runs.
struct Source {
  const Group& group;
  const tcp::endpoint endpoint;
  const Window window;
  std::mt19937_64 random;  // of the times
  // Never the same prompts again, so that no server finds those of an earlier run in its cache.
  std::mt19937_64 words{std::random_device()()};
  Totals totals = {};
  int64_t running = 0;  // of those counted as started
  size_t next_key = 0;

  std::string next_body() {
    static constexpr const char* kWords[] = {"fox",  "river", "stone", "seven", "green", "walk",
                                             "song", "house", "cloud", "north", "bread", "light"};
    std::string text = "Tell a story about";
    std::mt19937_64 fixed(1);
    std::mt19937_64& source = group.shared_prompt ? fixed : words;
    for (int64_t i = 0; i < group.prompt_words; ++i) {
      text += ' ';
      text += kWords[source() % 12];
    }
    JsonWriter json;
    json.begin_object();
    if (!group.model.empty()) json.text("model", group.model);
    json.key("messages").begin_array().begin_object();
    json.text("role", "user").text("content", text).end_object().end_array();
    json.boolean("stream", true).integer("max_tokens", group.max_tokens);
    json.key("stream_options").begin_object().boolean("include_usage", true).end_object();
    if (group.sampling.empty()) json.number("temperature", 0);
    for (const auto& [name, value] : group.sampling) json.number(name, value);
    json.boolean("ignore_eos", true);
    return json.end_object().str();
  }

  std::string next_request(size_t connection) {
    std::string head =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Type: application/json\r\n";
    if (!group.keys.empty()) {
      const size_t key = group.rate > 0 ? next_key++ : connection;
      head += "Authorization: Bearer " + group.keys[key % group.keys.size()] + "\r\n";
    }
    const std::string body = next_body();
    return head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
};

// What one answer's stream has shown so far.
struct Answer {
  Clock::time_point start, last = {};
  bool is_counted = false;  // the request started in the counted time
  int64_t pieces = 0, usage_tokens = -1;
  double ttft_ms = 0;
  bool done = false;

  void take(std::string_view frame, Clock::time_point now, const Window& window, Totals& totals) {
    if (frame.find("[DONE]") != std::string_view::npos) done = true;
    constexpr std::string_view kUsage = "\"completion_tokens\":";
    if (const size_t at = frame.find(kUsage); at != std::string_view::npos) {
      std::string_view number = frame.substr(at + kUsage.size());
      number.remove_prefix(std::min(number.find_first_not_of(' '), number.size()));
      std::from_chars(number.data(), number.data() + number.size(), usage_tokens);
    }
    const bool has_text = frame.find("\"content\": \"") != std::string_view::npos ||
                          frame.find("\"content\":\"") != std::string_view::npos;
    // The first chunk says the role and no text.
    if (!has_text || frame.find("\"role\"") != std::string_view::npos) return;
    if (++pieces == 1) {
      ttft_ms = milliseconds(now - start);
      if (is_counted) totals.ttft_ms.push_back(ttft_ms);
    } else if (window.holds(now)) {
      totals.itl_ms.push_back(milliseconds(now - last));
    }
    last = now;
    if (window.holds(now)) ++totals.pieces;
  }

  double mean_itl_ms() const {
    return pieces > 1 ? (milliseconds(last - start) - ttft_ms) / static_cast<double>(pieces - 1)
                      : 0;
  }
};

// Sends the request on a connection of its own and reads its stream to the end.
asio::awaitable<void> converse(Source& source, const std::string& request, Answer& answer) {
  tcp::socket socket(co_await asio::this_coro::executor);
  const auto [refused] = co_await socket.async_connect(source.endpoint, kAwait);
  if (refused) co_return;
  const auto [unsent, sent] = co_await asio::async_write(socket, asio::buffer(request), kAwait);
  if (unsent) co_return;
  std::string seen;
  std::vector<char> piece(16384);
  bool is_ok = false;
  while (!answer.done) {
    const auto [ec, n] = co_await socket.async_read_some(asio::buffer(piece), kAwait);
    if (ec) co_return;
    seen.append(piece.data(), n);
    if (!is_ok) {
      if (seen.size() < 15) continue;
      is_ok = seen.compare(9, 3, "200") == 0;
      if (!is_ok) co_return;
    }
    const Clock::time_point now = Clock::now();
    size_t begin = 0;
    for (size_t end; (end = seen.find("\n\n", begin)) != std::string::npos; begin = end + 2) {
      answer.take(std::string_view(seen).substr(begin, end - begin), now, source.window,
                  source.totals);
    }
    seen.erase(0, begin);
  }
}

asio::awaitable<void> one_request(Source& source, std::string request) {
  Totals& totals = source.totals;
  Answer answer{.start = Clock::now()};
  answer.is_counted = source.window.holds(answer.start);
  if (answer.is_counted) {
    ++totals.started;
    ++source.running;
  }
  co_await converse(source, request, answer);
  if (!answer.is_counted) co_return;
  --source.running;
  if (!answer.done) {
    ++totals.failed;
    co_return;
  }
  ++totals.ended;
  totals.latency_ms.push_back(milliseconds(Clock::now() - answer.start));
  if (answer.usage_tokens >= 0) {
    totals.usage_tokens += answer.usage_tokens;
    totals.usage_pieces += answer.pieces;
  }
  const Group& group = source.group;
  if (answer.ttft_ms <= group.promise_ttft_ms && answer.mean_itl_ms() <= group.promise_itl_ms) {
    ++totals.kept;
  }
}

asio::awaitable<void> open_loop(Source& source) {
  std::exponential_distribution<double> gap(source.group.rate);
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  double at = 0;
  for (;;) {
    at += gap(source.random);
    const Clock::time_point time = source.window.start + after(at);
    if (time >= source.window.end) co_return;
    timer.expires_at(time);
    co_await timer.async_wait(kAwait);
    asio::co_spawn(executor, one_request(source, source.next_request(0)), asio::detached);
  }
}

asio::awaitable<void> closed_loop(Source& source, size_t connection) {
  while (Clock::now() < source.window.end) {
    co_await one_request(source, source.next_request(connection));
  }
}

}  // namespace

Result<std::vector<Totals>> run(const Options& options, const std::vector<Group>& groups) {
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(options.host, ec);
  if (ec) {
    return Error{ErrorCode::kInvalidArgument, "--host: '" + options.host + "' is no address"};
  }
  const Clock::time_point start = Clock::now();
  const Window window{.start = start,
                      .begin = start + after(options.warmup_s),
                      .end = start + after(options.warmup_s + options.seconds)};
  std::vector<Source> sources;
  for (size_t i = 0; i < groups.size(); ++i) {
    sources.push_back({.group = groups[i],
                       .endpoint = {address, options.port},
                       .window = window,
                       .random = std::mt19937_64(options.seed * 1000 + i)});
  }
  std::vector<Totals> result;
  // Goes first: what it still runs uses the sources.
  asio::io_context context(1);
  for (Source& source : sources) {
    if (source.group.rate > 0) {
      asio::co_spawn(context, open_loop(source), asio::detached);
    } else {
      for (int64_t i = 0; i < source.group.connections; ++i) {
        asio::co_spawn(context, closed_loop(source, static_cast<size_t>(i)), asio::detached);
      }
    }
  }
  context.run_until(window.end + after(options.grace_s));
  for (Source& source : sources) {
    source.totals.cut_off = source.running;
    result.push_back(std::move(source.totals));
  }
  return result;
}

namespace {

Error wrong(std::string_view name, const std::string& problem) {
  return Error{ErrorCode::kInvalidArgument, "--group: " + std::string(name) + " " + problem};
}

template <typename Number>
Status read_number(std::string_view name, std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error == std::errc() && end == text.data() + text.size() && out >= 0) return {};
  return wrong(name, "must be a number from 0, not '" + std::string(text) + "'");
}

Status set_field(Group& group, std::string_view name, std::string_view value) {
  if (name == "name") {
    group.name = value;
  } else if (name == "model") {
    group.model = value;
  } else if (name == "key") {
    group.keys = {std::string(value)};
  } else if (name == "rate") {
    return read_number(name, value, group.rate);
  } else if (name == "connections") {
    group.rate = 0;
    return read_number(name, value, group.connections);
  } else if (name == "max-tokens") {
    return read_number(name, value, group.max_tokens);
  } else if (name == "prompt-words") {
    return read_number(name, value, group.prompt_words);
  } else if (name.starts_with("sampling.")) {
    return read_number(name, value, group.sampling[std::string(name.substr(9))]);
  } else if (name == "promise-ttft-ms") {
    return read_number(name, value, group.promise_ttft_ms);
  } else if (name == "promise-itl-ms") {
    return read_number(name, value, group.promise_itl_ms);
  } else {
    return wrong(name, "is no field of a group");
  }
  return {};
}

}  // namespace

Result<Group> parse_group(const std::string& text, Group defaults) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view field = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const size_t equals = field.find('=');
    if (equals == std::string_view::npos) return wrong(field, "needs '=' and a value");
    TRY(set_field(defaults, field.substr(0, equals), field.substr(equals + 1)));
  }
  return defaults;
}

}  // namespace realm::load
