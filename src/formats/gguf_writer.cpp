// The GGUF writer: version 3, little-endian. Sizes are known from types and shapes, so the header
// is written once, before any tensor's bytes are produced.
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "base/file.h"
#include "formats/gguf.h"

namespace realm {
namespace {

class HeaderBuffer {
 public:
  template <typename T>
  void number(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
  }

  void string(std::string_view text) {
    number<uint64_t>(text.size());
    bytes_.append(text);
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

Error bad_value(const std::string& key, const std::string& problem) {
  return Error{ErrorCode::kInvalidArgument, "metadata key '" + key + "': " + problem};
}

template <typename T, typename Wide>
bool put_in_range(HeaderBuffer& out, Wide value) {
  if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) return false;
  out.number(static_cast<T>(value));
  return true;
}

// Each writes one element as `type`; false where the value's kind or range does not fit the type.
bool put(HeaderBuffer& out, GgufType type, uint64_t value) {
  switch (type) {
    case GgufType::kUint8:
      return put_in_range<uint8_t>(out, value);
    case GgufType::kUint16:
      return put_in_range<uint16_t>(out, value);
    case GgufType::kUint32:
      return put_in_range<uint32_t>(out, value);
    case GgufType::kUint64:
      return put_in_range<uint64_t>(out, value);
    default:
      return false;
  }
}

bool put(HeaderBuffer& out, GgufType type, int64_t value) {
  switch (type) {
    case GgufType::kInt8:
      return put_in_range<int8_t>(out, value);
    case GgufType::kInt16:
      return put_in_range<int16_t>(out, value);
    case GgufType::kInt32:
      return put_in_range<int32_t>(out, value);
    case GgufType::kInt64:
      return put_in_range<int64_t>(out, value);
    default:
      return false;
  }
}

bool put(HeaderBuffer& out, GgufType type, double value) {
  if (type == GgufType::kFloat32) {
    out.number(static_cast<float>(value));
  } else if (type == GgufType::kFloat64) {
    out.number(value);
  } else {
    return false;
  }
  return true;
}

bool put(HeaderBuffer& out, GgufType type, bool value) {
  if (type != GgufType::kBool) return false;
  out.number(static_cast<uint8_t>(value));
  return true;
}

bool put(HeaderBuffer& out, GgufType type, const std::string& value) {
  if (type != GgufType::kString) return false;
  out.string(value);
  return true;
}

bool put(HeaderBuffer& out, GgufType type, const MetadataArray& array) {
  return std::visit(
      [&](const auto& values) {
        using Element = typename std::decay_t<decltype(values)>::value_type;
        out.number(static_cast<uint32_t>(type));
        out.number<uint64_t>(values.size());
        for (const auto& value : values) {
          if (!put(out, type, static_cast<const Element&>(value))) return false;
        }
        return true;
      },
      array);
}

Status put_entry(HeaderBuffer& out, const std::string& key, const MetadataValue& entry) {
  out.string(key);
  const bool is_array = std::holds_alternative<MetadataArray>(entry.value);
  out.number(static_cast<uint32_t>(is_array ? GgufType::kArray : entry.gguf_type));
  const bool fits =
      std::visit([&](const auto& value) { return put(out, entry.gguf_type, value); }, entry.value);
  if (!fits) return bad_value(key, "the value does not fit the GGUF type chosen for it");
  return {};
}

Result<uint64_t> chosen_alignment(const Metadata& metadata) {
  const int64_t alignment = TRY(metadata.get_int_or("general.alignment", 32, 8, 65536));
  if (!std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return bad_value("general.alignment", std::to_string(alignment) + " is not a power of two");
  }
  return static_cast<uint64_t>(alignment);
}

uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

Status pad_to(AtomicFile& file, uint64_t alignment) {
  const std::string zeros(align_up(file.size(), alignment) - file.size(), '\0');
  return file.write(zeros);
}

}  // namespace

Status write_gguf(const std::string& path, const Metadata& metadata,
                  const std::vector<GgufTensorSource>& tensors,
                  const std::function<void(size_t, size_t)>& on_tensor) {
  const uint64_t alignment = TRY(chosen_alignment(metadata));
  HeaderBuffer header;
  header.number<uint32_t>(0x46554747);  // "GGUF"
  header.number<uint32_t>(3);
  header.number<uint64_t>(tensors.size());
  header.number<uint64_t>(metadata.entries().size());
  for (const auto& [key, value] : metadata.entries()) TRY(put_entry(header, key, value));

  std::set<std::string_view> names;
  std::vector<uint64_t> sizes;
  uint64_t offset = 0;
  for (const GgufTensorSource& tensor : tensors) {
    const std::string where = path + ": tensor '" + tensor.name + "'";
    if (!names.insert(tensor.name).second) {
      return Error{ErrorCode::kInvalidArgument, where + " is given twice"};
    }
    const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (!bytes.ok()) return bytes.error().at(where);
    if (*bytes > (uint64_t{1} << 62) - offset) {
      return Error{ErrorCode::kInvalidArgument, where + " makes the file too large"};
    }
    header.string(tensor.name);
    header.number(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t d = tensor.shape.size(); d > 0; --d) {
      header.number(static_cast<uint64_t>(tensor.shape[d - 1]));
    }
    header.number(static_cast<uint32_t>(tensor.dtype));
    header.number(offset);
    sizes.push_back(*bytes);
    offset = align_up(offset + *bytes, alignment);
  }

  AtomicFile file = TRY(AtomicFile::create(path));
  TRY(file.write(header.bytes()));
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (on_tensor) on_tensor(i, tensors.size());
    TRY(pad_to(file, alignment));
    const uint64_t start = file.size();
    TRY(tensors[i].produce([&](std::span<const std::byte> bytes) { return file.write(bytes); }));
    if (file.size() - start != sizes[i]) {
      return Error{ErrorCode::kInvalidArgument,
                   path + ": tensor '" + tensors[i].name + "' produced " +
                       std::to_string(file.size() - start) + " bytes instead of " +
                       std::to_string(sizes[i])};
    }
  }
  // Readers that map the file may touch a last block's padding.
  TRY(pad_to(file, alignment));
  return file.commit();
}

}  // namespace realm
