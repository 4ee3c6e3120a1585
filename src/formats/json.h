// JSON as model files use it (safetensors headers, Hugging Face configs and tokenizers): parsing
// with limits on size and depth, duplicate keys refused, and typed access whose errors name the
// file and the field. Only readers inside formats/ include this; no JSON type leaves the module.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

struct JsonLimits {
  size_t max_bytes = size_t{16} << 20;
  size_t max_depth = 32;
};

// `label` names the source in errors, which are kBadModel and give the offset.
Result<boost::json::value> parse_json(std::string_view text, const std::string& label,
                                      const JsonLimits& limits = {});
Result<boost::json::value> read_json_file(const std::string& path, const JsonLimits& limits = {});

// A view of a JSON object. A field that is null counts as absent, as in Python code that asks
// `config.get(key)`.
class JsonObject {
 public:
  JsonObject(const boost::json::object& object, std::string label)
      : object_(&object), label_(std::move(label)) {}
  // The object itself, or an error when `value` is something else.
  static Result<JsonObject> from(const boost::json::value& value, std::string label);

  const boost::json::object& raw() const { return *object_; }
  const std::string& label() const { return label_; }
  Error bad(std::string_view key, const std::string& problem) const;

  const boost::json::value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Integers may be written as 8192 or 8192.0.
  Result<int64_t> get_int(std::string_view key, int64_t min, int64_t max) const;
  Result<int64_t> get_int_or(std::string_view key, int64_t fallback, int64_t min,
                             int64_t max) const;
  Result<double> get_float(std::string_view key) const;  // finite
  Result<double> get_float_or(std::string_view key, double fallback) const;
  Result<bool> get_bool_or(std::string_view key, bool fallback) const;
  Result<std::string> get_string(std::string_view key) const;
  Result<std::string> get_string_or(std::string_view key, std::string fallback) const;
  Result<JsonObject> get_object(std::string_view key) const;
  Result<const boost::json::array*> get_array(std::string_view key) const;

 private:
  const boost::json::object* object_;
  std::string label_;
};

}  // namespace realm
