#include "server/api/field_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "formats/json.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr size_t kMaxDepth = 32;

std::string_view kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "something else";
}

std::string number_text(double value) {
  char text[32];
  const bool whole = value == std::floor(value) && std::abs(value) < 0x1p60;
  const auto end = whole ? std::to_chars(text, text + sizeof text, static_cast<int64_t>(value))
                         : std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}

}  // namespace

std::optional<ApiError> parse_body(std::string_view body, size_t max_bytes, json::object& out) {
  if (body.size() > max_bytes) {
    return ApiError{.status = 413,
                    .message = "the body is longer than " + std::to_string(max_bytes) + " bytes"};
  }
  auto parsed = parse_json(body, "body", {.max_bytes = max_bytes, .max_depth = kMaxDepth});
  if (!parsed.ok()) {
    return ApiError{.message = "the body is not acceptable JSON: " + parsed.error().message};
  }
  if (!parsed->is_object()) {
    return ApiError{.message = "the body must be a JSON object, not " +
                               std::string(kind_name(parsed.value()))};
  }
  out = std::move(parsed.value().as_object());
  return std::nullopt;
}

const json::value* FieldReader::find(std::string_view name) {
  const auto it = object_.find(json::string_view(name.data(), name.size()));
  if (it == object_.end()) return nullptr;
  read_.emplace_back(it->key().data(), it->key().size());
  return it->value().is_null() ? nullptr : &it->value();
}

void FieldReader::fail(std::string_view name, const std::string& problem) {
  if (!error_) error_ = bad_field(param(name), param(name) + " " + problem);
}

void FieldReader::wrong_type(std::string_view name, const json::value& value,
                             std::string_view wanted) {
  fail(name, "must be " + std::string(wanted) + ", not " + std::string(kind_name(value)));
}

std::optional<bool> FieldReader::boolean(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  wrong_type(name, *value, "true or false");
  return std::nullopt;
}

std::optional<int64_t> FieldReader::integer(std::string_view name, int64_t min, int64_t max) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  std::optional<int64_t> whole;
  bool is_number = true;
  if (value->is_int64()) {
    whole = value->get_int64();
  } else if (value->is_double()) {
    const double number = value->get_double();
    if (number == std::floor(number) && std::abs(number) < 0x1p53) {
      whole = static_cast<int64_t>(number);
    }
  } else if (!value->is_uint64()) {  // one past int64 is no better than out of range
    is_number = false;
  }
  if (!is_number) {
    wrong_type(name, *value, "a whole number");
  } else if (!whole || *whole < min || *whole > max) {
    fail(name, "must be a whole number of " + std::to_string(min) + " to " + std::to_string(max));
  } else {
    return whole;
  }
  return std::nullopt;
}

std::optional<double> FieldReader::number(std::string_view name, double min, double max) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    wrong_type(name, *value, "a number");
    return std::nullopt;
  }
  const double number = value->to_number<double>();
  if (number >= min && number <= max) return number;
  fail(name, "must be a number of " + number_text(min) + " to " + number_text(max));
  return std::nullopt;
}

std::optional<std::string> FieldReader::text(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(value->get_string());
  wrong_type(name, *value, "a string");
  return std::nullopt;
}

std::string FieldReader::required_text(std::string_view name) {
  auto value = text(name);
  if (!value) fail(name, "is required");
  return value.value_or("");
}

const json::object* FieldReader::object(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return &value->get_object();
  wrong_type(name, *value, "an object");
  return nullptr;
}

const json::array* FieldReader::array(std::string_view name) {
  const json::value* value = find(name);
  if (value == nullptr) return nullptr;
  if (value->is_array()) return &value->get_array();
  wrong_type(name, *value, "an array");
  return nullptr;
}

void FieldReader::refuse(std::string_view name, std::string_view why, const json::value& unless) {
  const json::value* value = find(name);
  if (value != nullptr && *value != unless) fail(name, std::string(why));
}

void FieldReader::finish() {
  if (error_) return;
  for (const auto& entry : object_) {
    const std::string_view key(entry.key().data(), entry.key().size());
    if (std::find(read_.begin(), read_.end(), key) != read_.end()) continue;
    const std::string shown(key.substr(0, 100));
    error_ = bad_field(param(shown), "there is no field '" + param(shown) + "' here");
    error_->code = "unknown_parameter";
    return;
  }
}

}  // namespace realm::server
