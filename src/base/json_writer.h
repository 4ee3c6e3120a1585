// Results as JSON text: one value written in order, commas and escapes taken care of. The command
// line's --json and the server's answers are made with it, without a tree of values in between.
// Text has to be valid UTF-8; numbers are written in the shortest form that reads back the same,
// and what is not finite (which JSON cannot say) as null.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace realm {

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& text(std::string_view value);
  JsonWriter& number(double value);
  JsonWriter& float32(float value);  // in the shortest form that reads back as the same float
  JsonWriter& integer(int64_t value);
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  // A value that is JSON text already.
  JsonWriter& raw(std::string_view json);

  JsonWriter& text(std::string_view name, std::string_view value) { return key(name).text(value); }
  JsonWriter& number(std::string_view name, double value) { return key(name).number(value); }
  JsonWriter& integer(std::string_view name, int64_t value) { return key(name).integer(value); }
  JsonWriter& boolean(std::string_view name, bool value) { return key(name).boolean(value); }

  JsonWriter& null(std::string_view name) { return key(name).null(); }
  JsonWriter& raw(std::string_view name, std::string_view json) { return key(name).raw(json); }

  // What was written so far.
  const std::string& str() const { return out_; }
  // The same and a line feed.
  std::string line() const { return out_ + "\n"; }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();
  void quote(std::string_view value);

  std::string out_;
  bool after_value_ = false;  // a further value or key needs a comma
};

}  // namespace realm
