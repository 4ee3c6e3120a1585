#include "formats/metadata.h"

#include <cmath>
#include <limits>

namespace realm {
namespace {

std::string quoted(std::string_view key) {
  return "metadata key '" + std::string(key) + "'";
}

Error bad(std::string_view key, const std::string& problem) {
  return Error{ErrorCode::kBadModel, quoted(key) + ": " + problem};
}

const char* kind_of(const MetadataValue& value) {
  static constexpr const char* kNames[] = {"an integer", "an integer", "a float",
                                           "a bool",     "a string",   "an array"};
  return kNames[value.value.index()];
}

Error wrong_kind(std::string_view key, const char* expected, const MetadataValue& value) {
  return bad(key, std::string("expected ") + expected + ", the file has " + kind_of(value));
}

Error out_of_range(std::string_view key, const std::string& value, int64_t min, int64_t max) {
  return bad(key, "value " + value + " is not in [" + std::to_string(min) + ", " +
                      std::to_string(max) + "]");
}

Result<int64_t> checked_int(std::string_view key, const MetadataValue& value, int64_t min,
                            int64_t max) {
  if (const int64_t* i = std::get_if<int64_t>(&value.value)) {
    if (*i < min || *i > max) return out_of_range(key, std::to_string(*i), min, max);
    return *i;
  }
  if (const uint64_t* u = std::get_if<uint64_t>(&value.value)) {
    if (*u > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        static_cast<int64_t>(*u) < min || static_cast<int64_t>(*u) > max) {
      return out_of_range(key, std::to_string(*u), min, max);
    }
    return static_cast<int64_t>(*u);
  }
  return wrong_kind(key, "an integer", value);
}

Result<double> checked_float(std::string_view key, const MetadataValue& value) {
  if (const int64_t* i = std::get_if<int64_t>(&value.value)) return static_cast<double>(*i);
  if (const uint64_t* u = std::get_if<uint64_t>(&value.value)) return static_cast<double>(*u);
  if (const double* d = std::get_if<double>(&value.value)) {
    if (!std::isfinite(*d)) return bad(key, "the value is not finite");
    return *d;
  }
  return wrong_kind(key, "a number", value);
}

Result<std::string> checked_string(std::string_view key, const MetadataValue& value) {
  if (const std::string* s = std::get_if<std::string>(&value.value)) return *s;
  return wrong_kind(key, "a string", value);
}

Result<bool> checked_bool(std::string_view key, const MetadataValue& value) {
  if (const bool* b = std::get_if<bool>(&value.value)) return *b;
  return wrong_kind(key, "a bool", value);
}

}  // namespace

bool Metadata::contains(std::string_view key) const {
  return find(key) != nullptr;
}

const MetadataValue* Metadata::find(std::string_view key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

namespace {

Result<const MetadataValue*> required(const Metadata& metadata, std::string_view key) {
  const MetadataValue* value = metadata.find(key);
  if (value == nullptr) return bad(key, "missing");
  return value;
}

Result<const MetadataArray*> required_array(const Metadata& metadata, std::string_view key) {
  const MetadataValue* value = TRY(required(metadata, key));
  const MetadataArray* array = std::get_if<MetadataArray>(&value->value);
  if (array == nullptr) return wrong_kind(key, "an array", *value);
  return array;
}

}  // namespace

Result<std::string> Metadata::get_string(std::string_view key) const {
  return checked_string(key, *TRY(required(*this, key)));
}

Result<bool> Metadata::get_bool(std::string_view key) const {
  return checked_bool(key, *TRY(required(*this, key)));
}

Result<int64_t> Metadata::get_int(std::string_view key, int64_t min, int64_t max) const {
  return checked_int(key, *TRY(required(*this, key)), min, max);
}

Result<double> Metadata::get_float(std::string_view key) const {
  return checked_float(key, *TRY(required(*this, key)));
}

Result<const std::vector<std::string>*> Metadata::get_strings(std::string_view key) const {
  const MetadataArray* array = TRY(required_array(*this, key));
  const auto* strings = std::get_if<std::vector<std::string>>(array);
  if (strings == nullptr) return bad(key, "expected an array of strings");
  return strings;
}

Result<std::vector<int64_t>> Metadata::get_ints(std::string_view key, int64_t min,
                                                int64_t max) const {
  const MetadataArray* array = TRY(required_array(*this, key));
  const auto element_error = [&](size_t i, const std::string& value) {
    return out_of_range(key, value + " of element " + std::to_string(i), min, max);
  };
  if (const auto* ints = std::get_if<std::vector<int64_t>>(array)) {
    for (size_t i = 0; i < ints->size(); ++i) {
      if ((*ints)[i] < min || (*ints)[i] > max) return element_error(i, std::to_string((*ints)[i]));
    }
    return *ints;
  }
  if (const auto* unsigneds = std::get_if<std::vector<uint64_t>>(array)) {
    std::vector<int64_t> out;
    out.reserve(unsigneds->size());
    for (size_t i = 0; i < unsigneds->size(); ++i) {
      const uint64_t u = (*unsigneds)[i];
      if (u > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
          static_cast<int64_t>(u) < min || static_cast<int64_t>(u) > max) {
        return element_error(i, std::to_string(u));
      }
      out.push_back(static_cast<int64_t>(u));
    }
    return out;
  }
  return bad(key, "expected an array of integers");
}

Result<std::vector<float>> Metadata::get_floats(std::string_view key) const {
  const MetadataArray* array = TRY(required_array(*this, key));
  std::vector<float> out;
  const auto append = [&](const auto& values) {
    out.reserve(values.size());
    for (const auto v : values) out.push_back(static_cast<float>(v));
  };
  if (const auto* doubles = std::get_if<std::vector<double>>(array)) {
    append(*doubles);
  } else if (const auto* ints = std::get_if<std::vector<int64_t>>(array)) {
    append(*ints);
  } else if (const auto* unsigneds = std::get_if<std::vector<uint64_t>>(array)) {
    append(*unsigneds);
  } else {
    return bad(key, "expected an array of numbers");
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (!std::isfinite(out[i])) return bad(key, "element " + std::to_string(i) + " is not finite");
  }
  return out;
}

Result<std::string> Metadata::get_string_or(std::string_view key, std::string fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback;
  return checked_string(key, *value);
}

Result<bool> Metadata::get_bool_or(std::string_view key, bool fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback;
  return checked_bool(key, *value);
}

Result<int64_t> Metadata::get_int_or(std::string_view key, int64_t fallback, int64_t min,
                                     int64_t max) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback;
  return checked_int(key, *value, min, max);
}

Result<double> Metadata::get_float_or(std::string_view key, double fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback;
  return checked_float(key, *value);
}

void Metadata::set(std::string key, MetadataValue value) {
  const auto it = index_.find(key);
  if (it != index_.end()) {
    entries_[it->second].second = std::move(value);
    return;
  }
  index_.emplace(key, entries_.size());
  entries_.emplace_back(std::move(key), std::move(value));
}

void Metadata::set_string(std::string key, std::string value) {
  set(std::move(key), {std::move(value), GgufType::kString});
}

void Metadata::set_bool(std::string key, bool value) {
  set(std::move(key), {value, GgufType::kBool});
}

void Metadata::set_uint32(std::string key, uint32_t value) {
  set(std::move(key), {static_cast<uint64_t>(value), GgufType::kUint32});
}

void Metadata::set_float32(std::string key, float value) {
  set(std::move(key), {static_cast<double>(value), GgufType::kFloat32});
}

void Metadata::set_strings(std::string key, std::vector<std::string> values) {
  set(std::move(key), {MetadataArray(std::move(values)), GgufType::kString});
}

void Metadata::set_int32s(std::string key, std::vector<int64_t> values) {
  set(std::move(key), {MetadataArray(std::move(values)), GgufType::kInt32});
}

void Metadata::set_floats(std::string key, std::vector<double> values) {
  set(std::move(key), {MetadataArray(std::move(values)), GgufType::kFloat32});
}

bool Metadata::erase(std::string_view key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return false;
  const size_t position = it->second;
  index_.erase(it);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(position));
  for (auto& [name, index] : index_) {
    if (index > position) --index;
  }
  return true;
}

}  // namespace realm
