#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/file.h"
#include "formats/json.h"

namespace realm {
namespace json = boost::json;

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference reader's limit
constexpr size_t kHeaderDepth = 4;                 // file, tensor, shape

struct ElementType {
  const char* name;
  DType dtype;
};

constexpr ElementType kElementTypes[] = {
    {"F32", DType::kF32}, {"F16", DType::kF16}, {"BF16", DType::kBF16}, {"F64", DType::kF64},
    {"I8", DType::kI8},   {"I16", DType::kI16}, {"I32", DType::kI32},   {"I64", DType::kI64},
};

Error bad(const std::string& label, const std::string& problem) {
  return Error{ErrorCode::kBadModel, label + ": " + problem};
}

struct Entry {
  TensorInfo info;
  uint64_t begin, end;  // in the buffer
};

Result<DType> element_type(const JsonObject& object) {
  const std::string name = TRY(object.get_string("dtype"));
  std::string known;
  for (const ElementType& type : kElementTypes) {
    if (name == type.name) return type.dtype;
    known += known.empty() ? type.name : std::string(", ") + type.name;
  }
  return object.bad("dtype",
                    "element type " + quoted_name(name) + " is not supported; " + known + " are");
}

Result<uint64_t> as_unsigned(const JsonObject& object, const char* key, const json::value& value) {
  if (!value.is_int64() || value.get_int64() < 0) {
    return object.bad(key, "expected integers in [0, 2^63)");
  }
  return static_cast<uint64_t>(value.get_int64());
}

Result<Entry> read_entry(const std::string& name, const json::value& value,
                         const std::string& label) {
  const JsonObject object = TRY(JsonObject::from(value, label + ": tensor " + quoted_name(name)));
  Entry entry{};
  entry.info.name = name;
  entry.info.dtype = TRY(element_type(object));
  for (const json::value& dim : *TRY(object.get_array("shape"))) {
    entry.info.shape.push_back(static_cast<int64_t>(TRY(as_unsigned(object, "shape", dim))));
  }
  if (entry.info.shape.empty()) entry.info.shape = {1};  // a scalar
  const json::array& offsets = *TRY(object.get_array("data_offsets"));
  if (offsets.size() != 2) return object.bad("data_offsets", "expected two integers");
  entry.begin = TRY(as_unsigned(object, "data_offsets", offsets[0]));
  entry.end = TRY(as_unsigned(object, "data_offsets", offsets[1]));
  const auto bytes = tensor_bytes(entry.info.dtype, entry.info.shape);
  if (!bytes.ok()) return bytes.error().at(object.label());
  if (entry.begin > entry.end || entry.end - entry.begin != *bytes) {
    return object.bad("data_offsets", "[" + std::to_string(entry.begin) + ", " +
                                          std::to_string(entry.end) + "] does not span the " +
                                          std::to_string(*bytes) + " bytes of shape " +
                                          shape_text(entry.info.shape));
  }
  return entry;
}

// The format wants the tensors to tile the buffer, without gaps and without overlaps.
Status place(std::vector<Entry>& entries, std::span<const std::byte> buffer,
             const std::string& label) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  uint64_t end = 0;
  for (Entry& entry : entries) {
    const std::string where = label + ": tensor " + quoted_name(entry.info.name);
    if (entry.begin != end) {
      return bad(where, std::string("its data ") +
                            (entry.begin < end ? "overlaps" : "leaves a gap after") +
                            " that before it: it starts at " + std::to_string(entry.begin) +
                            ", not at " + std::to_string(end));
    }
    if (entry.end > buffer.size()) {
      return bad(where, "the file is cut off: data up to offset " + std::to_string(entry.end) +
                            " of a buffer of " + std::to_string(buffer.size()) + " bytes");
    }
    entry.info.data = buffer.subspan(entry.begin, entry.end - entry.begin);
    end = entry.end;
  }
  if (end != buffer.size()) {
    return bad(label, std::to_string(buffer.size() - end) +
                          " bytes at the end of the file belong to no tensor");
  }
  return {};
}

// Readers take elements in place, so they must lie at multiples of their size. Files of today pad
// the header for that; one from a writer that did not is copied where need be.
void align_data(std::vector<Entry>& entries, TensorDirectory& directory) {
  for (Entry& entry : entries) {
    std::span<const std::byte>& data = entry.info.data;
    const size_t element_bytes = data.size() / static_cast<size_t>(entry.info.num_elements());
    if (reinterpret_cast<uintptr_t>(data.data()) % element_bytes == 0) continue;
    const auto copy = std::make_shared<std::vector<std::byte>>(data.begin(), data.end());
    data = *copy;
    directory.retain(copy);
  }
}

Status read_file_metadata(const json::value& value, const std::string& label, Metadata& metadata) {
  const JsonObject object = TRY(JsonObject::from(value, label + ": __metadata__"));
  for (const auto& [key, text] : object.raw()) {
    if (!text.is_string()) return object.bad(key, "expected a string");
    metadata.set_string(std::string(key), std::string(text.get_string()));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<TensorDirectory>> parse_safetensors(std::span<const std::byte> bytes,
                                                           const std::string& label) {
  if (bytes.size() < 8) {
    return bad(label, "not a safetensors file: it has " + std::to_string(bytes.size()) + " bytes");
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kMaxHeaderBytes) {
    return bad(label, "offset 0: header length " + std::to_string(header_bytes) +
                          " is above the limit of " + std::to_string(kMaxHeaderBytes) +
                          "; is this a safetensors file?");
  }
  if (header_bytes > bytes.size() - 8) {
    return bad(label, "offset 0: the file is cut off: header of " + std::to_string(header_bytes) +
                          " bytes, " + std::to_string(bytes.size() - 8) + " are left");
  }
  const json::value header =
      TRY(parse_json({reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes},
                     label + ": header", {kMaxHeaderBytes, kHeaderDepth}));
  const JsonObject object = TRY(JsonObject::from(header, label + ": header"));

  auto directory = std::make_unique<TensorDirectory>();
  std::vector<Entry> entries;
  entries.reserve(object.raw().size());
  for (const auto& [key, value] : object.raw()) {
    if (key == "__metadata__") {
      TRY(read_file_metadata(value, label, directory->metadata()));
    } else {
      entries.push_back(TRY(read_entry(std::string(key), value, label)));
    }
  }
  TRY(place(entries, bytes.subspan(8 + header_bytes), label));
  align_data(entries, *directory);
  for (Entry& entry : entries) {
    const Status added = directory->add(std::move(entry.info));
    if (!added.ok()) return added.error().at(label);
  }
  return directory;
}

Result<std::unique_ptr<TensorDirectory>> open_safetensors(const std::string& path,
                                                          FileAccess access) {
  auto file = std::make_shared<MappedFile>(TRY(MappedFile::open(path, access)));
  auto directory = TRY(parse_safetensors(file->bytes(), path));
  directory->retain(std::move(file));
  return directory;
}

Result<std::unique_ptr<TensorDirectory>> open_safetensors_index(const std::string& path,
                                                                FileAccess access) {
  const json::value index = TRY(read_json_file(path, {kMaxHeaderBytes, 8}));
  const JsonObject object = TRY(JsonObject::from(index, path));
  const JsonObject weight_map = TRY(object.get_object("weight_map"));
  const std::string folder = path.substr(0, path.find_last_of('/') + 1);

  auto merged = std::make_unique<TensorDirectory>();
  std::map<std::string, std::shared_ptr<TensorDirectory>, std::less<>> shards;
  for (const auto& [key, value] : weight_map.raw()) {
    const std::string name(key);
    if (!value.is_string()) return weight_map.bad(name, "expected a file name");
    const std::string file(value.get_string());
    // Only files beside the index: a checkpoint has no business elsewhere on the disk.
    if (file.empty() || file.find('/') != std::string::npos || file[0] == '.') {
      return weight_map.bad(name,
                            quoted_name(file) + " is not the name of a file in the same folder");
    }
    auto it = shards.find(file);
    if (it == shards.end()) {
      std::shared_ptr<TensorDirectory> shard = TRY(open_safetensors(folder + file, access));
      merged->retain(shard);
      it = shards.emplace(file, std::move(shard)).first;
    }
    const TensorInfo* tensor = it->second->find(name);
    if (tensor == nullptr) {
      return weight_map.bad(name, quoted_name(folder + file) + " has no such tensor");
    }
    TRY(merged->add(*tensor));
  }
  return merged;
}

}  // namespace realm
