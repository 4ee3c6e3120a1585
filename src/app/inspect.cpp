#include "app/inspect.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstdio>
#include <map>
#include <optional>

#include "app/model_loader.h"
#include "formats/quant/quant_table.h"
#include "text/utf8.h"

namespace realm {
namespace json = boost::json;

namespace {

constexpr size_t kShownElements = 8;
constexpr size_t kShownCharacters = 72;

struct TypeShare {
  std::string type;
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct Memory {
  int64_t context = 0;
  uint64_t weights = 0, kv = 0;
};

struct Report {
  std::string path;
  const TensorDirectory* model = nullptr;
  std::vector<TypeShare> types;  // largest first
  uint64_t elements = 0, bytes = 0;
  std::optional<Memory> memory;  // where the file says enough
};

// A file's strings are bytes; what is printed is UTF-8.
std::string printable_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Scan scan = scan_utf8(text);
    if (scan.kind == Utf8Scan::kComplete) {
      out += text.substr(0, scan.length);
    } else {
      out += "\xef\xbf\xbd";
    }
    text.remove_prefix(scan.length);
  }
  return out;
}

// On one line, shortened: for the terminal.
std::string one_line(std::string_view text) {
  std::string out;
  size_t shown = 0;
  const std::string checked = printable_utf8(text.substr(0, 4 * kShownCharacters));
  for (size_t i = 0; i < checked.size() && shown < kShownCharacters; ++shown) {
    const size_t length = utf8_length(static_cast<unsigned char>(checked[i]));
    const unsigned char c = static_cast<unsigned char>(checked[i]);
    if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      out += '?';
    } else {
      out += checked.substr(i, length);
    }
    i += length;
  }
  return text.size() > out.size() ? out + "..." : out;
}

std::string human_bytes(uint64_t bytes) {
  const char* const kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

std::string human_count(uint64_t count) {
  const char* const kUnits[] = {"", " K", " M", " B", " T"};
  double value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f%s" : "%.2f%s", value, kUnits[unit]);
  return text;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.7g", value);
  return text;
}

json::value scalar_json(int64_t v) {
  return v;
}
json::value scalar_json(uint64_t v) {
  return v;
}
json::value scalar_json(double v) {
  return v;
}
json::value scalar_json(bool v) {
  return v;
}
json::value scalar_json(const std::string& v) {
  return json::string(printable_utf8(v));
}

std::string scalar_text(int64_t v) {
  return std::to_string(v);
}
std::string scalar_text(uint64_t v) {
  return std::to_string(v);
}
std::string scalar_text(double v) {
  return number_text(v);
}
std::string scalar_text(bool v) {
  return v ? "true" : "false";
}
std::string scalar_text(const std::string& v) {
  return one_line(v);
}

template <typename T>
json::value value_json(const T& v) {
  return scalar_json(v);
}
// Long arrays (vocabularies) by their length and start.
json::value value_json(const MetadataArray& array) {
  return std::visit(
      [](const auto& values) -> json::value {
        using Element = typename std::decay_t<decltype(values)>::value_type;
        json::array shown;
        for (size_t i = 0; i < values.size() && (i < kShownElements || values.size() <= 64); ++i) {
          shown.push_back(scalar_json(static_cast<const Element&>(values[i])));
        }
        if (shown.size() == values.size()) return shown;
        return json::object{{"length", values.size()}, {"first", std::move(shown)}};
      },
      array);
}

template <typename T>
std::string value_text(const T& v) {
  return scalar_text(v);
}
std::string value_text(const MetadataArray& array) {
  return std::visit(
      [](const auto& values) {
        using Element = typename std::decay_t<decltype(values)>::value_type;
        std::string out = "[";
        for (size_t i = 0; i < std::min(values.size(), kShownElements); ++i) {
          out += (i > 0 ? ", " : "") + scalar_text(static_cast<const Element&>(values[i]));
        }
        return out + (values.size() > kShownElements
                          ? ", ...] " + std::to_string(values.size()) + " in all"
                          : "]");
      },
      array);
}

// Key-value heads of each layer: one number, or one per layer.
Result<std::vector<int64_t>> kv_heads(const Metadata& metadata, const std::string& arch,
                                      int64_t layers) {
  const std::string key = arch + ".attention.head_count_kv";
  const MetadataValue* value = metadata.find(key);
  if (value != nullptr && std::holds_alternative<MetadataArray>(value->value)) {
    return metadata.get_ints(key, 0, 65536);
  }
  const int64_t heads = TRY(metadata.get_int(arch + ".attention.head_count", 1, 65536));
  const int64_t all = TRY(metadata.get_int_or(key, heads, 0, 65536));
  return std::vector<int64_t>(static_cast<size_t>(layers), all);
}

// Numbers that the cache keeps of a token in all layers.
Result<double> cached_elements(const Metadata& metadata, const std::string& arch, int64_t layers) {
  // Latent attention keeps one compressed row, of which the values are a part.
  if (metadata.contains(arch + ".attention.kv_lora_rank")) {
    const int64_t rank = TRY(metadata.get_int(arch + ".attention.kv_lora_rank", 1, 65536));
    const int64_t rotated = TRY(metadata.get_int(arch + ".rope.dimension_count", 1, 65536));
    return static_cast<double>(layers) * static_cast<double>(rank + rotated);
  }
  const int64_t hidden = TRY(metadata.get_int(arch + ".embedding_length", 1, 1 << 26));
  const int64_t heads = TRY(metadata.get_int(arch + ".attention.head_count", 1, 65536));
  const int64_t dim = std::max<int64_t>(hidden / heads, 1);
  const int64_t key = TRY(metadata.get_int_or(arch + ".attention.key_length", dim, 1, 65536));
  const int64_t value = TRY(metadata.get_int_or(arch + ".attention.value_length", dim, 1, 65536));
  double elements = 0;
  for (const int64_t h : TRY(kv_heads(metadata, arch, layers))) {
    elements += static_cast<double>(h) * static_cast<double>(key + value);
  }
  return elements;
}

Result<Memory> estimate_memory(const TensorDirectory& model, const InspectOptions& options,
                               uint64_t weight_bytes) {
  const Metadata& metadata = model.metadata();
  const std::string arch = TRY(metadata.get_string("general.architecture"));
  const int64_t layers = TRY(metadata.get_int(arch + ".block_count", 1, 100000));
  const int64_t trained = TRY(metadata.get_int(arch + ".context_length", 1, int64_t{1} << 40));
  const DType kv_type = TRY(parse_kv_type(options.kv_type));
  const BlockFormat& format = *find_block_format(kv_type);
  Memory memory;
  memory.context = options.context > 0 ? options.context : std::min<int64_t>(trained, 8192);
  memory.weights = weight_bytes;
  const double elements = TRY(cached_elements(metadata, arch, layers));
  memory.kv = static_cast<uint64_t>(elements * static_cast<double>(memory.context) *
                                    format.block_bytes / format.block_elements);
  return memory;
}

std::vector<TypeShare> count_types(const TensorDirectory& model) {
  std::map<DType, TypeShare> by_type;
  for (const TensorInfo& tensor : model.tensors()) {
    TypeShare& share = by_type[tensor.dtype];
    share.type = dtype_name(tensor.dtype);
    ++share.tensors;
    share.elements += static_cast<uint64_t>(tensor.num_elements());
    share.bytes += tensor.data.size();
  }
  std::vector<TypeShare> shares;
  for (const auto& [type, share] : by_type) shares.push_back(share);
  std::sort(shares.begin(), shares.end(),
            [](const TypeShare& a, const TypeShare& b) { return a.bytes > b.bytes; });
  return shares;
}

double share_of(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string as_json(const Report& report, const InspectOptions& options) {
  json::object root{{"path", json::string(printable_utf8(report.path))},
                    {"parameters", report.elements},
                    {"bytes", report.bytes},
                    {"num_tensors", report.model->tensors().size()}};
  json::object metadata;
  for (const auto& [key, entry] : report.model->metadata().entries()) {
    metadata[printable_utf8(key)] =
        std::visit([](const auto& v) { return value_json(v); }, entry.value);
  }
  root["metadata"] = std::move(metadata);
  json::array types;
  for (const TypeShare& share : report.types) {
    types.push_back(json::object{{"type", share.type},
                                 {"tensors", share.tensors},
                                 {"parameters", share.elements},
                                 {"bytes", share.bytes},
                                 {"share", share_of(share.bytes, report.bytes)}});
  }
  root["types"] = std::move(types);
  if (report.memory) {
    root["memory"] = json::object{{"context", report.memory->context},
                                  {"kv_type", options.kv_type},
                                  {"weights_bytes", report.memory->weights},
                                  {"kv_bytes", report.memory->kv}};
  }
  if (options.tensors) {
    json::array tensors;
    for (const TensorInfo& tensor : report.model->tensors()) {
      tensors.push_back(
          json::object{{"name", json::string(printable_utf8(tensor.name))},
                       {"type", dtype_name(tensor.dtype)},
                       {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
                       {"bytes", tensor.data.size()}});
    }
    root["tensors"] = std::move(tensors);
  }
  return json::serialize(root) + "\n";
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string as_text(const Report& report, const InspectOptions& options) {
  std::string out = one_line(report.path) + "\n  " + human_count(report.elements) +
                    " parameters in " + std::to_string(report.model->tensors().size()) +
                    " tensors, " + human_bytes(report.bytes) + "\n\nmetadata\n";
  size_t width = 0;
  for (const auto& [key, entry] : report.model->metadata().entries()) {
    width = std::max(width, std::min<size_t>(one_line(key).size(), 48));
  }
  for (const auto& [key, entry] : report.model->metadata().entries()) {
    out += "  " + padded(one_line(key), width) + "  " +
           std::visit([](const auto& v) { return value_text(v); }, entry.value) + "\n";
  }
  if (!report.types.empty()) out += "\ntypes\n";
  for (const TypeShare& share : report.types) {
    char percent[16];
    std::snprintf(percent, sizeof(percent), "%6.2f %%", 100 * share_of(share.bytes, report.bytes));
    out += "  " + padded(share.type, 8) + padded(std::to_string(share.tensors) + " tensors", 14) +
           padded(human_bytes(share.bytes), 12) + percent + "\n";
  }
  if (report.memory) {
    const Memory& m = *report.memory;
    out += "\nmemory at a context of " + std::to_string(m.context) + "\n  weights  " +
           human_bytes(m.weights) + "\n  KV cache " + human_bytes(m.kv) + " (" + options.kv_type +
           ")\n  together " + human_bytes(m.weights + m.kv) + "\n";
  }
  if (options.tensors) {
    out += "\ntensors\n";
    for (const TensorInfo& tensor : report.model->tensors()) {
      out += "  " + padded(one_line(tensor.name), 34) + padded(dtype_name(tensor.dtype), 8) +
             padded(shape_text(tensor.shape), 22) + human_bytes(tensor.data.size()) + "\n";
    }
  }
  return out;
}

}  // namespace

Result<std::string> inspect_model(const InspectOptions& options) {
  if (options.context < 0 || options.context > (int64_t{1} << 40)) {
    return Error{ErrorCode::kInvalidArgument,
                 "a context of " + std::to_string(options.context) + " tokens is not in 1..2^40"};
  }
  const auto model = TRY(open_model_argument(options.model));
  Report report;
  report.path = model_label(options.model);
  report.model = model.get();
  report.types = count_types(*model);
  for (const TypeShare& share : report.types) {
    report.elements += share.elements;
    report.bytes += share.bytes;
  }
  // Adapters and vocabulary-only files have no such numbers, and need no estimate.
  auto memory = estimate_memory(*model, options, report.bytes);
  if (memory.ok()) {
    report.memory = *memory;
  } else if (memory.error().code == ErrorCode::kInvalidArgument) {
    return std::move(memory).error();
  }
  return options.json ? as_json(report, options) : as_text(report, options);
}

Status run_inspect(const InspectOptions& options) {
  const std::string report = TRY(inspect_model(options));
  if (std::fwrite(report.data(), 1, report.size(), stdout) != report.size() ||
      std::fflush(stdout) != 0) {
    return Error{ErrorCode::kIo, "cannot write to standard output"};
  }
  return {};
}

}  // namespace realm
