// A model file's key-value metadata, typed. GGUF fills it directly; converters from other formats
// build the same keys, so that models/ and text/ read one vocabulary whatever the file was.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace realm {

// Integers keep their signedness and are widened to 64 bits; floats are widened to double. The
// width a GGUF file used is kept beside the value (MetadataValue::gguf_type) so that it can be
// written back.
using MetadataArray = std::variant<std::vector<int64_t>, std::vector<uint64_t>, std::vector<double>,
                                   std::vector<bool>, std::vector<std::string>>;

enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

struct MetadataValue {
  std::variant<int64_t, uint64_t, double, bool, std::string, MetadataArray> value;
  GgufType gguf_type;  // of the value, or of the elements where value is an array
};

class Metadata {
 public:
  bool contains(std::string_view key) const;
  const MetadataValue* find(std::string_view key) const;

  // Required keys: an Error names the key and what is wrong (missing, type, range).
  Result<std::string> get_string(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  // Any integer type of the file is accepted if its value lies in [min, max].
  Result<int64_t> get_int(std::string_view key, int64_t min, int64_t max) const;
  // Any float or integer type; must be finite.
  Result<double> get_float(std::string_view key) const;
  // Pointers into this object, valid as long as it is. Null never.
  Result<const std::vector<std::string>*> get_strings(std::string_view key) const;
  Result<std::vector<int64_t>> get_ints(std::string_view key, int64_t min, int64_t max) const;
  Result<std::vector<float>> get_floats(std::string_view key) const;

  // Optional keys: the default where absent; an Error where present with a wrong type or range.
  Result<std::string> get_string_or(std::string_view key, std::string fallback) const;
  Result<bool> get_bool_or(std::string_view key, bool fallback) const;
  Result<int64_t> get_int_or(std::string_view key, int64_t fallback, int64_t min,
                             int64_t max) const;
  Result<double> get_float_or(std::string_view key, double fallback) const;

  void set(std::string key, MetadataValue value);
  void set_string(std::string key, std::string value);
  void set_bool(std::string key, bool value);
  void set_uint32(std::string key, uint32_t value);
  void set_float32(std::string key, float value);
  void set_strings(std::string key, std::vector<std::string> values);
  void set_int32s(std::string key, std::vector<int64_t> values);
  void set_floats(std::string key, std::vector<double> values);
  bool erase(std::string_view key);

  // In insertion order.
  const std::vector<std::pair<std::string, MetadataValue>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, MetadataValue>> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

}  // namespace realm
