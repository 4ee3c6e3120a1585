#include "formats/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "formats/gguf.h"

namespace realm {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

Error bad(const std::string& label, const std::string& problem) {
  return Error{ErrorCode::kBadModel, label + ": " + problem};
}

// What the rest of the program relies on.
Status check(const ImportanceEntry& entry, const std::string& label, const std::string& name) {
  const auto wrong = [&](const char* problem) {
    return bad(label, "entry " + quoted_name(name) + " of the importance matrix " + problem);
  };
  if (entry.sums.empty() || entry.counts.empty() || entry.sums.size() % entry.counts.size() != 0) {
    return wrong("has sums and counts that do not fit together");
  }
  const auto is_bad = [](float value) { return !std::isfinite(value) || value < 0; };
  if (std::any_of(entry.sums.begin(), entry.sums.end(), is_bad) ||
      std::any_of(entry.counts.begin(), entry.counts.end(), is_bad)) {
    return wrong("holds a value that is negative or not finite");
  }
  return {};
}

Result<std::vector<float>> floats_of(const TensorInfo& tensor, const std::string& label) {
  if (tensor.dtype != DType::kF32) {
    return bad(label, "tensor " + quoted_name(tensor.name) + " of the importance matrix is " +
                          dtype_name(tensor.dtype) + ", not F32");
  }
  std::vector<float> values(tensor.data.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

Result<ImportanceMatrix> parse_gguf_layout(std::span<const std::byte> bytes,
                                           const std::string& label) {
  const auto file = TRY(parse_gguf(bytes, label));
  const Metadata& metadata = file->metadata();
  ImportanceMatrix matrix;
  const auto in_file = [&](auto result) {
    return result.ok() ? std::move(result) : decltype(result)(result.error().at(label));
  };
  constexpr int64_t kMax = UINT32_MAX;
  matrix.chunk_count =
      static_cast<uint32_t>(TRY(in_file(metadata.get_int_or("imatrix.chunk_count", 0, 0, kMax))));
  matrix.chunk_size =
      static_cast<uint32_t>(TRY(in_file(metadata.get_int_or("imatrix.chunk_size", 0, 0, kMax))));
  if (metadata.contains("imatrix.datasets")) {
    matrix.datasets = *TRY(in_file(metadata.get_strings("imatrix.datasets")));
  }
  for (const TensorInfo& tensor : file->tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const TensorInfo* counts = file->find(name + std::string(kCounts));
    if (counts == nullptr) {
      return bad(label,
                 "the importance matrix has " + quoted_name(tensor.name) + " but no counts for it");
    }
    ImportanceEntry& entry = matrix.entries[name];
    entry.sums = TRY(floats_of(tensor, label));
    entry.counts = TRY(floats_of(*counts, label));
    TRY(check(entry, label, name));
  }
  return matrix;
}

// The layout before GGUF: little-endian int32 numbers, names with their length before them.
class DatReader {
 public:
  DatReader(std::span<const std::byte> bytes, const std::string& label)
      : bytes_(bytes), label_(label) {}

  bool at_end() const { return bytes_.empty(); }

  Result<int32_t> number(const char* what, int32_t min, int32_t max) {
    int32_t value = 0;
    if (bytes_.size() < sizeof value) return cut_off(what);
    std::memcpy(&value, bytes_.data(), sizeof value);
    if (value < min || value > max) {
      return bad(label_, "not an importance matrix: " + std::string(what) + " would be " +
                             std::to_string(value));
    }
    bytes_ = bytes_.subspan(sizeof value);
    return value;
  }
  Result<std::string> text(const char* what) {
    const auto length = static_cast<size_t>(TRY(number(what, 0, 4096)));
    if (bytes_.size() < length) return cut_off(what);
    std::string value(reinterpret_cast<const char*>(bytes_.data()), length);
    bytes_ = bytes_.subspan(length);
    return value;
  }
  Result<std::vector<float>> floats(int32_t count, const char* what) {
    const size_t size = static_cast<size_t>(count) * sizeof(float);
    if (bytes_.size() < size) return cut_off(what);
    std::vector<float> values(static_cast<size_t>(count));
    std::memcpy(values.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return values;
  }

 private:
  Error cut_off(const char* what) const {
    return bad(label_, "the importance matrix ends within " + std::string(what));
  }

  std::span<const std::byte> bytes_;
  const std::string& label_;
};

Result<ImportanceMatrix> parse_dat_layout(std::span<const std::byte> bytes,
                                          const std::string& label) {
  DatReader reader(bytes, label);
  ImportanceMatrix matrix;
  const int32_t entries = TRY(reader.number("the number of entries", 1, 1 << 20));
  for (int32_t i = 0; i < entries; ++i) {
    const std::string name = TRY(reader.text("the length of a name"));
    // Sums are stored divided by the inputs and multiplied by the calls.
    const int32_t calls = TRY(reader.number("a number of calls", 0, INT32_MAX));
    const int32_t count = TRY(reader.number("a number of values", 1, INT32_MAX));
    ImportanceEntry entry;
    entry.sums = TRY(reader.floats(count, "values"));
    entry.counts = {static_cast<float>(std::max(calls, 1))};
    TRY(check(entry, label, name));
    if (!matrix.entries.emplace(name, std::move(entry)).second) {
      return bad(label, "the importance matrix has " + quoted_name(name) + " twice");
    }
  }
  if (!reader.at_end()) {
    matrix.chunk_count = static_cast<uint32_t>(TRY(reader.number("the last call", 0, INT32_MAX)));
    if (!reader.at_end()) matrix.datasets = {TRY(reader.text("the length of a file name"))};
  }
  return matrix;
}

}  // namespace

std::vector<float> ImportanceEntry::importance() const {
  std::vector<float> means(sums.size(), 1.0f);
  const size_t columns = sums.size() / counts.size();
  for (size_t i = 0; i < sums.size(); ++i) {
    const float count = counts[i / columns];
    if (count > 0) means[i] = sums[i] / count;
  }
  return means;
}

Result<ImportanceMatrix> parse_imatrix(std::span<const std::byte> bytes, const std::string& label) {
  const bool is_gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  ImportanceMatrix matrix =
      TRY(is_gguf ? parse_gguf_layout(bytes, label) : parse_dat_layout(bytes, label));
  if (matrix.entries.empty()) return bad(label, "holds no importance matrix");
  return matrix;
}

Result<ImportanceMatrix> read_imatrix(const std::string& path) {
  const MappedFile file = TRY(MappedFile::open(path));
  return parse_imatrix(file.bytes(), path);
}

Status write_imatrix(const std::string& path, const ImportanceMatrix& matrix) {
  Metadata metadata;
  metadata.set_string("general.type", "imatrix");
  metadata.set_strings("imatrix.datasets", matrix.datasets);
  metadata.set_uint32("imatrix.chunk_count", matrix.chunk_count);
  metadata.set_uint32("imatrix.chunk_size", matrix.chunk_size);
  std::vector<GgufTensorSource> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape,
                       const std::vector<float>& values) {
    tensors.push_back({.name = name,
                       .dtype = DType::kF32,
                       .shape = std::move(shape),
                       .produce = [&values](const auto& sink) {
                         return sink(std::as_bytes(std::span(values)));
                       }});
  };
  for (const auto& [name, entry] : matrix.entries) {
    const auto experts = static_cast<int64_t>(entry.counts.size());
    const auto columns = static_cast<int64_t>(entry.sums.size()) / experts;
    add(name + std::string(kSums), {experts, columns}, entry.sums);
    add(name + std::string(kCounts), {experts, 1}, entry.counts);
  }
  return write_gguf(path, metadata, tensors);
}

}  // namespace realm
