#include "formats/json.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <cmath>
#include <vector>

#include "base/file.h"
#include "formats/tensor_directory.h"

namespace realm {
namespace json = boost::json;

namespace {

// Builds a value as boost::json::parser does, and beyond that refuses an object with two equal
// keys: two readers of such a file could disagree on what it says.
class UniqueKeyHandler {
 public:
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);

  UniqueKeyHandler() { stack_.reset(); }
  json::value release() { return stack_.release(); }
  const std::string& duplicate() const { return duplicate_; }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    open_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t n, json::error_code& ec) {
    std::vector<std::string>& keys = open_.back();
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) {
      duplicate_ = *twice;
      ec = json::error::not_found;  // any error stops the parser; parse_json looks at duplicate()
      return false;
    }
    open_.pop_back();
    stack_.push_object(n);
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(std::size_t n, json::error_code&) {
    stack_.push_array(n);
    return true;
  }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    key_.append(part);
    stack_.push_chars(part);
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    key_.append(part);
    open_.back().push_back(std::exchange(key_, {}));
    stack_.push_key(part);
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code&) {
    stack_.push_string(part);
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t value, json::string_view, json::error_code&) {
    stack_.push_int64(value);
    return true;
  }
  bool on_uint64(std::uint64_t value, json::string_view, json::error_code&) {
    stack_.push_uint64(value);
    return true;
  }
  bool on_double(double value, json::string_view, json::error_code&) {
    stack_.push_double(value);
    return true;
  }
  bool on_bool(bool value, json::error_code&) {
    stack_.push_bool(value);
    return true;
  }
  bool on_null(json::error_code&) {
    stack_.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  json::value_stack stack_;
  std::vector<std::vector<std::string>> open_;  // keys of the objects not yet closed
  std::string key_;
  std::string duplicate_;
};

}  // namespace

Result<json::value> parse_json(std::string_view text, const std::string& label,
                               const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return Error{ErrorCode::kBadModel, label + ": " + std::to_string(text.size()) +
                                           " bytes of JSON; at most " +
                                           std::to_string(limits.max_bytes) + " are accepted"};
  }
  json::parse_options options;
  options.max_depth = limits.max_depth;
  json::basic_parser<UniqueKeyHandler> parser(options);
  json::error_code ec;
  const size_t consumed = parser.write_some(false, text.data(), text.size(), ec);
  if (!parser.handler().duplicate().empty()) {
    return Error{
        ErrorCode::kBadModel,
        label + ": JSON key " + quoted_name(parser.handler().duplicate()) + " is there twice"};
  }
  std::string problem;
  if (ec) {
    problem = ec.message();
  } else if (consumed < text.size()) {
    problem = "text after the end of the document";
  } else {
    return parser.handler().release();
  }
  return Error{ErrorCode::kBadModel,
               label + ": not valid JSON at offset " + std::to_string(consumed) + ": " + problem};
}

Result<json::value> read_json_file(const std::string& path, const JsonLimits& limits) {
  const MappedFile file = TRY(MappedFile::open(path));
  const auto bytes = file.bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, limits);
}

Result<JsonObject> JsonObject::from(const json::value& value, std::string label) {
  if (!value.is_object()) {
    return Error{ErrorCode::kBadModel, label + ": expected a JSON object"};
  }
  return JsonObject(value.get_object(), std::move(label));
}

Error JsonObject::bad(std::string_view key, const std::string& problem) const {
  return Error{ErrorCode::kBadModel, label_ + ": field " + quoted_name(key) + ": " + problem};
}

const json::value* JsonObject::find(std::string_view key) const {
  const json::value* value = object_->if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<int64_t> JsonObject::get_int(std::string_view key, int64_t min, int64_t max) const {
  const json::value* value = find(key);
  if (value == nullptr) return bad(key, "missing");
  int64_t number = 0;
  if (value->is_int64()) {
    number = value->get_int64();
  } else if (value->is_double() && std::abs(value->get_double()) <= 0x1p53 &&
             value->get_double() == std::floor(value->get_double())) {
    number = static_cast<int64_t>(value->get_double());
  } else if (value->is_number()) {
    return bad(key, "expected an integer of at most 63 bits");
  } else {
    return bad(key, "expected an integer");
  }
  if (number < min || number > max) {
    return bad(key, "value " + std::to_string(number) + " is not in [" + std::to_string(min) +
                        ", " + std::to_string(max) + "]");
  }
  return number;
}

Result<int64_t> JsonObject::get_int_or(std::string_view key, int64_t fallback, int64_t min,
                                       int64_t max) const {
  if (!has(key)) return fallback;
  return get_int(key, min, max);
}

Result<double> JsonObject::get_float(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return bad(key, "missing");
  if (!value->is_number()) return bad(key, "expected a number");
  const double number = value->to_number<double>();
  if (!std::isfinite(number)) return bad(key, "the value is not finite");
  return number;
}

Result<double> JsonObject::get_float_or(std::string_view key, double fallback) const {
  if (!has(key)) return fallback;
  return get_float(key);
}

Result<bool> JsonObject::get_bool_or(std::string_view key, bool fallback) const {
  const json::value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return bad(key, "expected true or false");
  return value->get_bool();
}

Result<std::string> JsonObject::get_string(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return bad(key, "missing");
  if (!value->is_string()) return bad(key, "expected a string");
  return std::string(value->get_string());
}

Result<std::string> JsonObject::get_string_or(std::string_view key, std::string fallback) const {
  if (!has(key)) return fallback;
  return get_string(key);
}

Result<JsonObject> JsonObject::get_object(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return bad(key, "missing");
  if (!value->is_object()) return bad(key, "expected an object");
  return JsonObject(value->get_object(), label_ + ": " + std::string(key));
}

Result<const json::array*> JsonObject::get_array(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return bad(key, "missing");
  if (!value->is_array()) return bad(key, "expected an array");
  return &value->get_array();
}

}  // namespace realm
