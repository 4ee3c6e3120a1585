// The GGUF reader. A file is untrusted: every count, length, offset and product is checked against
// what is left of the file before anything is allocated or read, so a hostile header costs no more
// memory than a small multiple of its own size. Tensor bytes are never copied.
#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>

#include "base/file.h"

namespace realm {
namespace {

constexpr uint64_t kMaxArrayElements = uint64_t{1} << 24;  // vocabularies have some 2^18
constexpr uint64_t kMaxStringBytes = uint64_t{1} << 28;
constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr uint64_t kMaxNameBytes = 256;   // the format says 64; some writers are more generous
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;  // what an I64 or F64 tensor needs in memory
constexpr uint64_t kMaxAlignment = uint64_t{1} << 16;
constexpr uint64_t kMaxParts = 65535;

static_assert(std::endian::native == std::endian::little,
              "tensor data of a (little-endian) GGUF file is used in place");

// A cursor over the file. Every error names the source, the offset and the field.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& label)
      : bytes_(bytes), label_(label) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }
  const std::string& label() const { return label_; }

  Error bad(uint64_t offset, const std::string& field, const std::string& problem) const {
    return Error{ErrorCode::kBadModel,
                 label_ + ": offset " + std::to_string(offset) + ": " + field + ": " + problem};
  }

  template <typename T>
  Result<T> number(const std::string& field) {
    if (left() < sizeof(T)) return cut_off(field, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  Result<std::string> string(const std::string& field, uint64_t max_bytes) {
    const uint64_t start = position_;
    const uint64_t length = TRY(number<uint64_t>(field));
    if (length > max_bytes) {
      return bad(start, field,
                 "string length " + std::to_string(length) + " is above the limit of " +
                     std::to_string(max_bytes));
    }
    if (length > left()) return cut_off(field, length);
    std::string text(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return text;
  }

 private:
  Error cut_off(const std::string& field, uint64_t need) const {
    return bad(position_, field,
               "the file is cut off: " + std::to_string(need) + " bytes are needed, " +
                   std::to_string(left()) + " are left");
  }

  std::span<const std::byte> bytes_;
  const std::string& label_;
  uint64_t position_ = 0;
};

size_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 8;  // at least: the length
  }
  return 0;
}

Result<GgufType> read_type(Reader& reader, const std::string& field) {
  const uint64_t start = reader.position();
  const uint32_t id = TRY(reader.number<uint32_t>(field));
  if (id > static_cast<uint32_t>(GgufType::kFloat64)) {
    return reader.bad(start, field, "value type id " + std::to_string(id) + " is not known");
  }
  return static_cast<GgufType>(id);
}

Result<bool> read_bool(Reader& reader, const std::string& field) {
  const uint64_t start = reader.position();
  const uint8_t value = TRY(reader.number<uint8_t>(field));
  if (value > 1) {
    return reader.bad(start, field, "bool has the value " + std::to_string(value));
  }
  return value == 1;
}

Result<uint64_t> read_unsigned(Reader& reader, GgufType type, const std::string& field) {
  switch (type) {
    case GgufType::kUint8:
      return uint64_t{TRY(reader.number<uint8_t>(field))};
    case GgufType::kUint16:
      return uint64_t{TRY(reader.number<uint16_t>(field))};
    case GgufType::kUint32:
      return uint64_t{TRY(reader.number<uint32_t>(field))};
    default:
      return reader.number<uint64_t>(field);
  }
}

Result<int64_t> read_signed(Reader& reader, GgufType type, const std::string& field) {
  switch (type) {
    case GgufType::kInt8:
      return int64_t{TRY(reader.number<int8_t>(field))};
    case GgufType::kInt16:
      return int64_t{TRY(reader.number<int16_t>(field))};
    case GgufType::kInt32:
      return int64_t{TRY(reader.number<int32_t>(field))};
    default:
      return reader.number<int64_t>(field);
  }
}

Result<double> read_real(Reader& reader, GgufType type, const std::string& field) {
  if (type == GgufType::kFloat32) return double{TRY(reader.number<float>(field))};
  return reader.number<double>(field);
}

template <typename T, typename ReadOne>
Result<MetadataValue> read_elements(uint64_t count, GgufType type, const ReadOne& read_one) {
  std::vector<T> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i) values.push_back(TRY(read_one()));
  return MetadataValue{MetadataArray(std::move(values)), type};
}

Result<MetadataValue> read_array(Reader& reader, const std::string& field) {
  const uint64_t start = reader.position();
  const GgufType type = TRY(read_type(reader, field));
  const uint64_t count = TRY(reader.number<uint64_t>(field));
  if (type == GgufType::kArray) {
    return reader.bad(start, field, "an array of arrays is not supported");
  }
  if (count > kMaxArrayElements) {
    return reader.bad(start, field,
                      "array of " + std::to_string(count) + " elements is above the limit of " +
                          std::to_string(kMaxArrayElements));
  }
  if (count * scalar_bytes(type) > reader.left()) {
    return reader.bad(start, field,
                      "the file is cut off: array of " + std::to_string(count) + " elements, " +
                          std::to_string(reader.left()) + " bytes are left");
  }
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kUint16:
    case GgufType::kUint32:
    case GgufType::kUint64:
      return read_elements<uint64_t>(count, type,
                                     [&] { return read_unsigned(reader, type, field); });
    case GgufType::kInt8:
    case GgufType::kInt16:
    case GgufType::kInt32:
    case GgufType::kInt64:
      return read_elements<int64_t>(count, type, [&] { return read_signed(reader, type, field); });
    case GgufType::kFloat32:
    case GgufType::kFloat64:
      return read_elements<double>(count, type, [&] { return read_real(reader, type, field); });
    case GgufType::kBool:
      return read_elements<bool>(count, type, [&] { return read_bool(reader, field); });
    default:
      return read_elements<std::string>(count, type,
                                        [&] { return reader.string(field, kMaxStringBytes); });
  }
}

Result<MetadataValue> read_value(Reader& reader, const std::string& field) {
  const GgufType type = TRY(read_type(reader, field));
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kUint16:
    case GgufType::kUint32:
    case GgufType::kUint64:
      return MetadataValue{TRY(read_unsigned(reader, type, field)), type};
    case GgufType::kInt8:
    case GgufType::kInt16:
    case GgufType::kInt32:
    case GgufType::kInt64:
      return MetadataValue{TRY(read_signed(reader, type, field)), type};
    case GgufType::kFloat32:
    case GgufType::kFloat64:
      return MetadataValue{TRY(read_real(reader, type, field)), type};
    case GgufType::kBool:
      return MetadataValue{TRY(read_bool(reader, field)), type};
    case GgufType::kString:
      return MetadataValue{TRY(reader.string(field, kMaxStringBytes)), type};
    case GgufType::kArray:
      return read_array(reader, field);
  }
  return reader.bad(reader.position(), field, "value type is not known");
}

Status read_magic_and_version(Reader& reader) {
  const uint32_t magic = TRY(reader.number<uint32_t>("magic"));
  if (magic != 0x46554747) return reader.bad(0, "magic", "not a GGUF file");
  const uint32_t version = TRY(reader.number<uint32_t>("version"));
  if (version != 0 && (version & 0xffffu) == 0) {
    return reader.bad(4, "version",
                      "this is a big-endian GGUF file; convert it to little-endian first");
  }
  if (version == 1) {
    return reader.bad(
        4, "version",
        "GGUF version 1 is not supported; convert the model again with a current tool");
  }
  if (version != 2 && version != 3) {
    return reader.bad(
        4, "version",
        "GGUF version " + std::to_string(version) + " is not supported; versions 2 and 3 are");
  }
  return {};
}

Status read_metadata(Reader& reader, uint64_t count, Metadata& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t start = reader.position();
    const std::string number = "metadata key " + std::to_string(i);
    std::string key = TRY(reader.string(number, kMaxKeyBytes));
    if (key.empty()) return reader.bad(start, number, "the key is empty");
    if (metadata.contains(key))
      return reader.bad(start, number, quoted_name(key) + " is there twice");
    MetadataValue value = TRY(read_value(reader, "metadata " + quoted_name(key)));
    metadata.set(std::move(key), std::move(value));
  }
  return {};
}

struct TensorEntry {
  TensorInfo info;
  uint64_t offset;  // relative to the data section
  uint64_t bytes;
  uint64_t header_place;  // where the file describes it, for messages
};

Result<TensorEntry> read_tensor_entry(Reader& reader, uint64_t index) {
  TensorEntry entry{};
  entry.header_place = reader.position();
  entry.info.name = TRY(reader.string("name of tensor " + std::to_string(index), kMaxNameBytes));
  const std::string field = "tensor " + quoted_name(entry.info.name);
  const uint64_t rank_place = reader.position();
  const uint32_t rank = TRY(reader.number<uint32_t>(field));
  if (rank > 4) {
    return reader.bad(rank_place, field, "rank " + std::to_string(rank) + " is above 4");
  }
  for (uint32_t d = 0; d < rank; ++d) {
    const uint64_t place = reader.position();
    const uint64_t dim = TRY(reader.number<uint64_t>(field));
    if (dim == 0 || dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return reader.bad(
          place, field,
          "dimension " + std::to_string(d) + " is " + std::to_string(dim) + ", not in 1..2^63-1");
    }
    entry.info.shape.insert(entry.info.shape.begin(), static_cast<int64_t>(dim));
  }
  if (rank == 0) entry.info.shape = {1};  // a scalar
  const uint64_t type_place = reader.position();
  const uint32_t type = TRY(reader.number<uint32_t>(field));
  entry.info.dtype = static_cast<DType>(type);
  if (!is_known_dtype(entry.info.dtype)) {
    return reader.bad(type_place, field, "type id " + std::to_string(type) + " is not known");
  }
  auto bytes = tensor_bytes(entry.info.dtype, entry.info.shape);
  if (!bytes.ok()) return reader.bad(rank_place, field, bytes.error().message);
  entry.bytes = *bytes;
  entry.offset = TRY(reader.number<uint64_t>(field));
  return entry;
}

Result<uint64_t> read_alignment(const Reader& reader, const Metadata& metadata) {
  const auto value =
      metadata.get_int_or("general.alignment", kDefaultAlignment, kMinAlignment, kMaxAlignment);
  if (!value.ok()) return value.error().at(reader.label());
  if (!std::has_single_bit(static_cast<uint64_t>(*value))) {
    return Error{ErrorCode::kBadModel, reader.label() + ": metadata key 'general.alignment': " +
                                           std::to_string(*value) + " is not a power of two"};
  }
  return static_cast<uint64_t>(*value);
}

// Offsets are multiples of the alignment, inside the file, and no two tensors overlap.
Status place_tensors(const Reader& reader, std::span<const std::byte> bytes,
                     std::vector<TensorEntry>& entries, uint64_t alignment) {
  const uint64_t unaligned = reader.position();
  const uint64_t data_start = (unaligned + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = data_start <= bytes.size() ? bytes.size() - data_start : 0;
  for (TensorEntry& entry : entries) {
    const std::string field = "tensor " + quoted_name(entry.info.name);
    if (entry.offset % alignment != 0) {
      return reader.bad(entry.header_place, field,
                        "data offset " + std::to_string(entry.offset) +
                            " is not a multiple of the alignment " + std::to_string(alignment));
    }
    if (entry.offset > data_bytes || entry.bytes > data_bytes - entry.offset) {
      return reader.bad(entry.header_place, field,
                        "the file is cut off: data of " + std::to_string(entry.bytes) +
                            " bytes at offset " + std::to_string(entry.offset) +
                            " of a data section of " + std::to_string(data_bytes));
    }
    entry.info.data = bytes.subspan(data_start + entry.offset, entry.bytes);
  }
  std::vector<const TensorEntry*> order;
  order.reserve(entries.size());
  for (const TensorEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(),
            [](const TensorEntry* a, const TensorEntry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes) {
      return reader.bad(order[i]->header_place, "tensor " + quoted_name(order[i]->info.name),
                        "its data overlaps that of " + quoted_name(order[i - 1]->info.name));
    }
  }
  return {};
}

Status check_count(const Reader& reader, const std::string& field, uint64_t offset, uint64_t count,
                   uint64_t least_bytes_each) {
  if (count <= reader.left() / least_bytes_each) return {};
  return reader.bad(offset, field,
                    std::to_string(count) + " entries cannot be in a file with " +
                        std::to_string(reader.left()) + " bytes left");
}

// "dir/name-00001-of-00003.gguf" -> {"dir/name", 1, 3}.
struct PartName {
  std::string prefix;
  uint64_t number;  // from 1
  uint64_t count;

  std::string path(uint64_t part) const {
    char suffix[40];
    std::snprintf(suffix, sizeof(suffix), "-%05llu-of-%05llu.gguf",
                  static_cast<unsigned long long>(part), static_cast<unsigned long long>(count));
    return prefix + suffix;
  }
};

bool parse_part_name(const std::string& path, PartName& out) {
  constexpr std::string_view kPattern = "-ddddd-of-ddddd.gguf";
  if (path.size() <= kPattern.size()) return false;
  const std::string_view tail = std::string_view(path).substr(path.size() - kPattern.size());
  uint64_t numbers[2] = {0, 0};
  for (size_t i = 0; i < kPattern.size(); ++i) {
    if (kPattern[i] == 'd') {
      if (tail[i] < '0' || tail[i] > '9') return false;
      uint64_t& number = numbers[i > 6];
      number = number * 10 + static_cast<uint64_t>(tail[i] - '0');
    } else if (tail[i] != kPattern[i]) {
      return false;
    }
  }
  out = {path.substr(0, path.size() - kPattern.size()), numbers[0], numbers[1]};
  return true;
}

Result<std::unique_ptr<TensorDirectory>> open_single(const std::string& path, FileAccess access) {
  auto file = std::make_shared<MappedFile>(TRY(MappedFile::open(path, access)));
  auto directory = TRY(parse_gguf(file->bytes(), path));
  directory->retain(std::move(file));
  return directory;
}

Error split_error(const std::string& path, const std::string& problem) {
  return Error{ErrorCode::kBadModel, path + ": " + problem};
}

// Opens all parts that `first` names and moves their tensors into one directory, with the metadata
// of part 1 less the keys that speak of the split.
Result<std::unique_ptr<TensorDirectory>> open_split(const std::string& path, uint64_t count,
                                                    FileAccess access) {
  PartName name;
  if (!parse_part_name(path, name) || name.count != count || name.number == 0 ||
      name.number > count) {
    return split_error(path, "metadata key 'split.count' says this is one of " +
                                 std::to_string(count) +
                                 " parts, but the file is not named like -00001-of-" +
                                 "0000N.gguf; restore the original file names");
  }
  std::unique_ptr<TensorDirectory> merged;
  int64_t expected_tensors = -1;
  for (uint64_t part = 1; part <= count; ++part) {
    const std::string part_path = name.path(part);
    auto directory = TRY(open_single(part_path, access));
    const Metadata& metadata = directory->metadata();
    const auto number = metadata.get_int("split.no", 0, kMaxParts);
    if (!number.ok()) return number.error().at(part_path);
    const auto parts = metadata.get_int("split.count", 0, kMaxParts);
    if (!parts.ok()) return parts.error().at(part_path);
    if (static_cast<uint64_t>(*number) != part - 1 || static_cast<uint64_t>(*parts) != count) {
      return split_error(part_path, "metadata says it is part " + std::to_string(*number + 1) +
                                        " of " + std::to_string(*parts) +
                                        ", its name says otherwise");
    }
    const auto total =
        metadata.get_int_or("split.tensors.count", -1, 0, std::numeric_limits<int64_t>::max());
    if (!total.ok()) return total.error().at(part_path);
    if (part == 1) expected_tensors = *total;
    if (merged == nullptr) {
      merged = std::move(directory);
      continue;
    }
    for (const TensorInfo& tensor : directory->tensors()) {
      const Status added = merged->add(tensor);
      if (!added.ok()) return added.error().at(part_path);
    }
    merged->retain(std::shared_ptr<const void>(std::move(directory)));
  }
  if (expected_tensors >= 0 &&
      static_cast<uint64_t>(expected_tensors) != merged->tensors().size()) {
    return split_error(path, "the parts hold " + std::to_string(merged->tensors().size()) +
                                 " tensors, metadata key 'split.tensors.count' says " +
                                 std::to_string(expected_tensors));
  }
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) {
    merged->metadata().erase(key);
  }
  return merged;
}

}  // namespace

Result<std::unique_ptr<TensorDirectory>> parse_gguf(std::span<const std::byte> bytes,
                                                    const std::string& label) {
  CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % kMinAlignment == 0);
  if (bytes.empty()) return Error{ErrorCode::kBadModel, label + ": the file is empty"};
  Reader reader(bytes, label);
  TRY(read_magic_and_version(reader));
  const uint64_t num_tensors = TRY(reader.number<uint64_t>("tensor count"));
  const uint64_t num_keys = TRY(reader.number<uint64_t>("metadata count"));
  // A key has at least its length, one character, a type and a one-byte value; a tensor its name's
  // length, rank, type and offset.
  TRY(check_count(reader, "metadata count", 16, num_keys, 14));
  TRY(check_count(reader, "tensor count", 8, num_tensors, 24));

  auto directory = std::make_unique<TensorDirectory>();
  TRY(read_metadata(reader, num_keys, directory->metadata()));
  const uint64_t alignment = TRY(read_alignment(reader, directory->metadata()));

  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < num_tensors; ++i) entries.push_back(TRY(read_tensor_entry(reader, i)));
  TRY(place_tensors(reader, bytes, entries, alignment));
  for (TensorEntry& entry : entries) {
    const uint64_t place = entry.header_place;
    const std::string field = "tensor " + quoted_name(entry.info.name);
    if (!directory->add(std::move(entry.info)).ok()) {
      return reader.bad(place, field, "the name is there twice");
    }
  }
  return directory;
}

Result<std::unique_ptr<TensorDirectory>> open_gguf(const std::string& path, FileAccess access) {
  auto directory = TRY(open_single(path, access));
  const auto parts = directory->metadata().get_int_or("split.count", 1, 0, kMaxParts);
  if (!parts.ok()) return parts.error().at(path);
  if (*parts <= 1) return directory;
  directory.reset();
  return open_split(path, static_cast<uint64_t>(*parts), access);
}

}  // namespace realm
