#include "base/log.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>

#include "base/json_writer.h"

namespace realm {
namespace {

// Length of the UTF-8 character at the start, 0 where there is none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool is_short = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool is_high = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
  return is_short || is_high ? 0 : length;
}

// A file's name, for one, may be any bytes; JSON may not.
std::string valid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    using std::chrono::duration_cast;
    const auto since = line.time.time_since_epoch();
    const std::time_t seconds = duration_cast<std::chrono::seconds>(since).count();
    const auto millis = duration_cast<std::chrono::milliseconds>(since).count() % 1000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char day[32], time[48];
    std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(time, sizeof time, "%s.%03dZ", day, static_cast<int>(millis));
    const auto level = spdlog::level::to_string_view(line.level);
    const std::string text = json_log_line(time, {level.data(), level.size()},
                                           {line.payload.data(), line.payload.size()}) +
                             "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

}  // namespace

std::string json_log_line(std::string_view time, std::string_view level, std::string_view message) {
  JsonWriter json;
  json.begin_object().text("time", time).text("level", level);
  if (!message.starts_with("{\"") || !message.ends_with('}')) {
    return json.text("message", valid_utf8(message)).end_object().str();
  }
  return json.str() + ", " + valid_utf8(message.substr(1));
}

Status init_logging(const std::string& level, LogFormat format) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return Error{ErrorCode::kInvalidArgument,
                 "log level '" + level + "' is not one of trace, debug, info, warn, error, off"};
  }
  auto logger = spdlog::stderr_color_mt("realm");
  if (format == LogFormat::kJson) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_pattern("%^%l%$ %v");
  }
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_level(parsed);
  return {};
}

}  // namespace realm
