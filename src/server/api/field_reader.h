// Typed access to the fields of one JSON object of a request. The first thing wrong is kept and all
// reads go on with defaults, so that a parser reads straight down and asks once, at the end; a
// field that nobody read is wrong, too: none is silently dropped. null counts as absent.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/api_error.h"

namespace realm::server {

// The body of a request as a JSON object: bounds on size and depth, valid UTF-8, no key twice.
// Error: 400 (413 where it is too long).
std::optional<ApiError> parse_body(std::string_view body, size_t max_bytes,
                                   boost::json::object& out);

class FieldReader {
 public:
  // `path`: where the object stands, for messages ("messages[2]"); empty for the body itself.
  // `error` may hold one already: the first stays. All outlive the reader.
  FieldReader(const boost::json::object& object, std::string path, std::optional<ApiError>& error)
      : object_(object), path_(std::move(path)), error_(error) {}

  // The field, or null where it is absent or null. Counts as read.
  const boost::json::value* find(std::string_view name);
  bool has(std::string_view name) { return find(name) != nullptr; }

  std::optional<bool> boolean(std::string_view name);
  // Integers may be written as 8 or 8.0.
  std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max);
  std::optional<double> number(std::string_view name, double min, double max);
  std::optional<std::string> text(std::string_view name);
  const boost::json::object* object(std::string_view name);
  const boost::json::array* array(std::string_view name);
  std::string required_text(std::string_view name);

  // Accepted and of no effect here.
  void ignore(std::string_view name) { find(name); }
  // Documented by the API and not done here: an error where present, unless it says what is done
  // anyway (`unless`, compared as JSON).
  void refuse(std::string_view name, std::string_view why,
              const boost::json::value& unless = nullptr);
  void fail(std::string_view name, const std::string& problem);

  // Every field that was not read is an error.
  void finish();

  std::string param(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  }
  const boost::json::object& raw() const { return object_; }
  std::optional<ApiError>& error() { return error_; }

 private:
  void wrong_type(std::string_view name, const boost::json::value& value, std::string_view wanted);

  const boost::json::object& object_;
  std::string path_;
  std::optional<ApiError>& error_;
  std::vector<std::string_view> read_;
};

}  // namespace realm::server
