#include "app/administration.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "app/http_client.h"
#include "base/clock.h"

namespace realm {
namespace json = boost::json;

namespace {

ErrorCode code_of(int status) {
  switch (status) {
    case 400:
      return ErrorCode::kInvalidArgument;
    case 404:
      return ErrorCode::kNotFound;
    case 429:
      return ErrorCode::kExhausted;
    default:
      return ErrorCode::kUnavailable;
  }
}

// {"error": {"message": ...}}, or what there is.
std::string message_of(const HttpAnswer& answer) {
  json::error_code error;
  const json::value value = json::parse(answer.body, error);
  if (!error && value.is_object()) {
    const json::value* inner = value.get_object().if_contains("error");
    const json::object* object = inner == nullptr ? nullptr : inner->if_object();
    const json::value* message = object == nullptr ? nullptr : object->if_contains("message");
    if (message != nullptr && message->is_string()) return std::string(message->get_string());
  }
  return "the server answered with status " + std::to_string(answer.status);
}

}  // namespace

Result<std::string> store_path(const Settings& settings) {
  if (const auto path = settings.find_text("store")) return *path;
  const char* data = std::getenv("XDG_DATA_HOME");
  const char* home = std::getenv("HOME");
  if (data != nullptr && *data != '\0') return std::string(data) + "/realm/realm.db";
  if (home != nullptr && *home != '\0') return std::string(home) + "/.local/share/realm/realm.db";
  return Error{ErrorCode::kInvalidArgument, "say where the store is: --store FILE"};
}

Result<Administration> Administration::open(const Settings& settings, bool create) {
  Administration administration;
  if (const auto server = settings.find_text("server")) {
    administration.server_ = *server;
    while (administration.server_.ends_with('/')) administration.server_.pop_back();
    administration.admin_key_ = settings.find_text("admin-key").value_or("");
    return administration;
  }
  const std::string path = TRY(store_path(settings));
  if (create && !settings.find_text("store")) {
    std::error_code ignored;  // opening says better what is wrong
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  }
  auto store = TenantStore::open(path, create);
  if (!store.ok()) {
    Error error = store.error();
    if (error.code == ErrorCode::kNotFound) {
      error.message +=
          "; 'realm tenants create' or 'realm keys create' makes it, --store FILE "
          "names another one, --server URL asks a running server";
    }
    return error;
  }
  administration.store_ = std::move(store).value();
  return administration;
}

Result<json::object> Administration::ask(const AdminRequest& request) {
  std::string text;
  if (store_ != nullptr) {
    text = TRY(administer(*store_, request, unix_ms_now()));
  } else {
    HttpCall call{.method = request.method,
                  .url = server_ + (server_.starts_with("unix:") ? ":" : "") + request.target,
                  .body = request.body};
    if (!admin_key_.empty()) call.headers.push_back("authorization: Bearer " + admin_key_);
    if (!call.body.empty()) call.headers.emplace_back("content-type: application/json");
    HttpAnswer answer = TRY(send_http(call));
    if (answer.status != 200) return Error{code_of(answer.status), message_of(answer)};
    text = std::move(answer.body);
  }
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) {
    return Error{ErrorCode::kUnavailable, server_ + ": the answer is no JSON object"};
  }
  return std::move(value.as_object());
}

std::string shown_time(const json::value& unix_ms) {
  if (!unix_ms.is_int64()) return "-";
  const auto seconds = static_cast<std::time_t>(unix_ms.get_int64() / 1000);
  std::tm parts{};
  char text[32];
  if (::gmtime_r(&seconds, &parts) == nullptr) return "?";
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

Result<int64_t> parse_time(const std::string& text, int64_t now_ms, bool past) {
  const Error wrong{ErrorCode::kInvalidArgument,
                    "'" + text +
                        "' is no time: write a span as 30d, 12h or 90m, or a day or "
                        "moment (UTC) as 2026-01-31 or 2026-01-31T12:00:00Z"};
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  constexpr int64_t kCountMax = 1'000'000'000;
  if (error == std::errc() && end == text.data() + text.size() - 1 && count >= 0 &&
      count <= kCountMax) {
    const int64_t minutes = *end == 'd' ? 1440 : *end == 'h' ? 60 : *end == 'm' ? 1 : 0;
    if (minutes == 0) return wrong;
    const int64_t span_ms = count * minutes * 60'000;
    return past ? now_ms - span_ms : now_ms + span_ms;
  }
  for (const char* format : {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"}) {
    std::tm parts{};
    const char* rest = ::strptime(text.c_str(), format, &parts);
    if (rest != nullptr && *rest == '\0') return int64_t{::timegm(&parts)} * 1000;
  }
  return wrong;
}

std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] - row[i].size() + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string shown(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_double()) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value.get_double());
    return text;
  }
  return json::serialize(value);
}

}  // namespace realm
