#include "app/quantize_command.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "app/model_loader.h"
#include "app/nearest.h"
#include "base/json_writer.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "formats/quant_mix.h"
#include "formats/row_encoder.h"

namespace realm {
namespace {

// The version of the block layouts that files of today have.
constexpr uint32_t kQuantizationVersion = 2;

Result<const QuantMix*> find_mix(const std::string& name) {
  if (const QuantMix* mix = find_quant_mix(name)) return mix;
  std::vector<std::string> known;
  std::string list;
  for (const QuantMix& mix : quant_mixes()) {
    known.emplace_back(mix.name);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  const std::string hint = suggestion(name, known);
  return Error{ErrorCode::kInvalidArgument,
               "there is no type '" + name + "'" + (hint.empty() ? "; there are " + list : hint)};
}

// An integer of the architecture: a number, or one for each layer, of which the largest counts.
Result<int64_t> architecture_int(const Metadata& metadata, const std::string& key) {
  const MetadataValue* value = metadata.find(key);
  if (value == nullptr) return int64_t{0};
  if (!std::holds_alternative<MetadataArray>(value->value)) {
    return metadata.get_int(key, 0, 1 << 20);
  }
  const auto values = TRY(metadata.get_ints(key, 0, 1 << 20));
  return values.empty() ? int64_t{0} : *std::max_element(values.begin(), values.end());
}

Result<MixModel> read_mix_model(const TensorDirectory& file, bool has_imatrix) {
  const Metadata& metadata = file.metadata();
  const std::string type = TRY(metadata.get_string_or("general.type", "model"));
  if (type != "model") {
    return Error{ErrorCode::kBadModel, "general.type is '" + type + "': this file is not a model"};
  }
  const std::string arch = TRY(metadata.get_string("general.architecture"));
  MixModel model;
  model.num_layers = static_cast<int>(TRY(architecture_int(metadata, arch + ".block_count")));
  model.num_experts = static_cast<int>(TRY(architecture_int(metadata, arch + ".expert_count")));
  const int64_t heads = TRY(architecture_int(metadata, arch + ".attention.head_count"));
  const int64_t kv_heads = TRY(architecture_int(metadata, arch + ".attention.head_count_kv"));
  model.gqa = kv_heads > 0 ? static_cast<int>(std::max<int64_t>(1, heads / kv_heads)) : 1;
  model.tied_output = file.find("output.weight") == nullptr;
  model.has_imatrix = has_imatrix;
  return model;
}

// What becomes of one tensor.
struct Plan {
  const TensorInfo* tensor;
  DType type;
  std::vector<float> importance = {};  // [experts, columns]; empty: none
};

bool loses_little(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16 || type == DType::kQ8_0;
}

// The importance of a tensor's columns, checked against its shape; empty where there is none.
Result<std::vector<float>> importance_of(const TensorInfo& tensor, DType type,
                                         const ImportanceMatrix& matrix, const std::string& path) {
  const auto found = matrix.entries.find(tensor.name);
  if (found == matrix.entries.end()) {
    if (!find_block_format(type)->needs_importance) return std::vector<float>{};
    return Error{ErrorCode::kInvalidArgument, path + ": the imatrix has no entry for tensor " +
                                                  quoted_name(tensor.name) + ", which " +
                                                  dtype_name(type) + " needs"};
  }
  std::vector<float> importance = found->second.importance();
  const int64_t experts = tensor.shape.size() == 3 ? tensor.shape[0] : 1;
  const int64_t columns = tensor.shape.back();
  const auto size = static_cast<int64_t>(importance.size());
  if (size == columns && experts > 1) {  // one for all experts
    std::vector<float> repeated;
    for (int64_t e = 0; e < experts; ++e) {
      repeated.insert(repeated.end(), importance.begin(), importance.end());
    }
    return repeated;
  }
  if (size != columns * experts) {
    return Error{ErrorCode::kInvalidArgument, path + ": the imatrix is of another model: tensor " +
                                                  quoted_name(tensor.name) + " has " +
                                                  std::to_string(columns * experts) +
                                                  " columns, its entry " + std::to_string(size)};
  }
  return importance;
}

Result<std::vector<Plan>> make_plans(const TensorDirectory& file, const QuantMix& mix,
                                     const std::optional<ImportanceMatrix>& imatrix,
                                     const QuantizeOptions& options) {
  const auto model = read_mix_model(file, imatrix.has_value());
  if (!model.ok()) return model.error().at(model_label(options.input));
  std::vector<Plan> plans;
  for (const TensorInfo& tensor : file.tensors()) {
    const DType type =
        TRY(choose_type(mix, *model, {.pure = options.pure, .keep_output = options.keep_output},
                        tensor.name, tensor.shape, tensor.dtype));
    Plan plan{.tensor = &tensor, .type = type};
    if (type != tensor.dtype) {
      if (!loses_little(tensor.dtype) && !options.allow_requantize) {
        return Error{ErrorCode::kInvalidArgument,
                     model_label(options.input) + ": tensor " + quoted_name(tensor.name) + " is " +
                         dtype_name(tensor.dtype) +
                         " already; quantize from F16, BF16 or Q8_0, or accept the loss with "
                         "--allow-requantize"};
      }
      if (imatrix) {
        plan.importance = TRY(importance_of(tensor, type, *imatrix, options.imatrix_path));
      }
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

Status encode_tensor(const Plan& plan, const QuantizeOptions& options, const ByteSink& sink) {
  const TensorInfo& tensor = *plan.tensor;
  const BlockFormat* from = find_block_format(tensor.dtype);
  if (from == nullptr) return sink(tensor.data);  // integers
  const int64_t columns = tensor.shape.back();
  const size_t experts =
      plan.importance.empty() ? 1 : plan.importance.size() / static_cast<size_t>(columns);
  const size_t bytes = tensor.data.size() / experts;
  for (size_t e = 0; e < experts; ++e) {
    const std::span<const std::byte> rows = tensor.data.subspan(e * bytes, bytes);
    RowEncoding encoding{.threads = options.threads};
    if (!plan.importance.empty()) {
      encoding.importance =
          std::span(plan.importance)
              .subspan(e * static_cast<size_t>(columns), static_cast<size_t>(columns));
    }
    TRY(encode_rows({&rows, 1}, *from, *find_block_format(plan.type), columns, sink, encoding));
  }
  return {};
}

Metadata output_metadata(const TensorDirectory& file, const QuantMix& mix,
                         const std::optional<ImportanceMatrix>& imatrix,
                         const QuantizeOptions& options) {
  Metadata metadata = file.metadata();
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) metadata.erase(key);
  metadata.set_uint32("general.file_type", mix.file_type);
  metadata.set_uint32("general.quantization_version", kQuantizationVersion);
  if (imatrix) {
    metadata.set_string("quantize.imatrix.file", options.imatrix_path);
    if (!imatrix->datasets.empty()) {
      metadata.set_string("quantize.imatrix.dataset", imatrix->datasets[0]);
    }
    metadata.set_uint32("quantize.imatrix.entries_count",
                        static_cast<uint32_t>(imatrix->entries.size()));
    metadata.set_uint32("quantize.imatrix.chunks_count", imatrix->chunk_count);
  }
  return metadata;
}

}  // namespace

Result<QuantizeReport> quantize_model(const QuantizeOptions& options) {
  const QuantMix* mix = TRY(find_mix(options.type));
  const auto file = TRY(open_model_argument(options.input));
  std::optional<ImportanceMatrix> imatrix;
  if (!options.imatrix_path.empty()) imatrix = TRY(read_imatrix(options.imatrix_path));
  const std::vector<Plan> plans = TRY(make_plans(*file, *mix, imatrix, options));

  QuantizeReport report;
  std::vector<GgufTensorSource> sources;
  for (const Plan& plan : plans) {
    const TensorInfo& tensor = *plan.tensor;
    report.bytes_before += tensor.data.size();
    report.bytes_after += TRY(tensor_bytes(plan.type, tensor.shape));
    ++report.tensors;
    sources.push_back({.name = tensor.name,
                       .dtype = plan.type,
                       .shape = tensor.shape,
                       .produce = [&plan, &options](const ByteSink& sink) -> Status {
                         const ByteSink checked = [&](std::span<const std::byte> bytes) -> Status {
                           if (options.cancel != nullptr &&
                               options.cancel->load(std::memory_order_relaxed)) {
                             return Error{ErrorCode::kCancelled, "interrupted"};
                           }
                           return sink(bytes);
                         };
                         const Status status = encode_tensor(plan, options, checked);
                         if (status.ok() || status.error().code != ErrorCode::kBadModel)
                           return status;
                         return status.error().at(model_label(options.input) + ": tensor " +
                                                  quoted_name(plan.tensor->name));
                       }});
  }
  TRY(write_gguf(options.output, output_metadata(*file, *mix, imatrix, options), sources,
                 options.on_tensor));
  return report;
}

std::string QuantizeReport::json() const {
  JsonWriter json;
  json.begin_object()
      .integer("tensors", tensors)
      .integer("bytes_before", static_cast<int64_t>(bytes_before))
      .integer("bytes_after", static_cast<int64_t>(bytes_after))
      .end_object();
  return json.line();
}

std::string QuantizeReport::text() const {
  char line[160];
  std::snprintf(line, sizeof line, "%d tensors, %.1f MB -> %.1f MB\n", tensors,
                static_cast<double>(bytes_before) / 1e6, static_cast<double>(bytes_after) / 1e6);
  return line;
}

}  // namespace realm
