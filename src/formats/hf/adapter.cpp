// PEFT's LoRA adapters to GGUF's. What PEFT can express and GGUF cannot is either folded into B
// (scales) or refused by name (other kinds of adapters); nothing is dropped.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "formats/gguf.h"
#include "formats/hf/checkpoint.h"
#include "formats/hf/convert.h"
#include "formats/hf/family.h"
#include "formats/row_encoder.h"
#include "formats/safetensors.h"

namespace realm::hf {
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

struct BaseModel {
  const Family* family;
  Metadata metadata;  // architecture and hyper-parameters
};

Result<BaseModel> read_base(const std::string& base) {
  BaseModel model{};
  if (fs::is_directory(base)) {
    const std::string path = (fs::path(base) / "config.json").string();
    const json::value value = TRY(read_json_file(path));
    const JsonObject config = TRY(JsonObject::from(value, path));
    model.family = TRY(family_of_config(config));
    TRY(set_model_metadata(*model.family, config, base, model.metadata));
    return model;
  }
  model.metadata = TRY(open_gguf(base))->metadata();
  const std::string architecture = TRY(model.metadata.get_string("general.architecture"));
  model.family = family_of_architecture(architecture);
  if (model.family == nullptr) {
    return Error{ErrorCode::kUnsupported, base + ": adapters for the architecture " +
                                              quoted_name(architecture) + " are not supported"};
  }
  return model;
}

// Options of PEFT whose effect on the output a plain pair of matrices does not have.
Status refuse_unsupported(const JsonObject& config) {
  const std::string kind = TRY(config.get_string_or("peft_type", "LORA"));
  if (kind != "LORA") {
    return Error{ErrorCode::kUnsupported,
                 config.label() + ": peft_type " + quoted_name(kind) + "; only LORA is supported"};
  }
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"}) {
    if (TRY(config.get_bool_or(key, false))) {
      return Error{ErrorCode::kUnsupported,
                   config.label() + ": field '" + key + "': true is not supported"};
    }
  }
  const std::string bias = TRY(config.get_string_or("bias", "none"));
  if (bias != "none") {
    return Error{ErrorCode::kUnsupported, config.label() + ": field 'bias': " + quoted_name(bias) +
                                              " is not supported; none is"};
  }
  for (const char* key : {"modules_to_save", "layer_replication", "trainable_token_indices",
                          "target_parameters", "alora_invocation_tokens", "arrow_config",
                          "kasa_config", "monteclora_config", "velora_config"}) {
    const json::value* value = config.find(key);
    const bool empty = value == nullptr || (value->is_array() && value->get_array().empty()) ||
                       (value->is_object() && value->get_object().empty());
    if (!empty) {
      return Error{ErrorCode::kUnsupported,
                   config.label() + ": field '" + key + "' is not supported"};
    }
  }
  return {};
}

// A module's value in rank_pattern or alpha_pattern. Keys are, as in PEFT, the end of a module's
// path after a dot, or with "^" the whole of it; the first that fits counts.
Result<double> pattern_value(const JsonObject& config, const char* field, const std::string& module,
                             double fallback) {
  if (!config.has(field)) return fallback;
  const JsonObject patterns = TRY(config.get_object(field));
  for (const auto& [key, value] : patterns.raw()) {
    std::string_view pattern(key.data(), key.size());
    const bool whole = pattern.starts_with('^');
    if (whole) pattern.remove_prefix(1);
    if (pattern.find_first_of("\\*+?()[]{}|$") != std::string_view::npos) {
      return Error{ErrorCode::kUnsupported, patterns.label() + ": " + quoted_name(pattern) +
                                                ": regular expressions are not supported"};
    }
    const bool fits = module == pattern ||
                      (!whole && module.size() > pattern.size() && module.ends_with(pattern) &&
                       module[module.size() - pattern.size() - 1] == '.');
    if (fits) return patterns.get_float(key);
  }
  return fallback;
}

bool is_pair_type(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

struct Pair {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  bool embedding = false;
};

struct PairName {
  std::string module;  // the base model's name without ".weight"
  bool is_a;
  bool embedding;
};

// "base_model.model.MODULE.lora_A.weight", also with the adapter's name before ".weight", and
// "base_model.model.MODULE.lora_embedding_A".
bool parse_pair_name(std::string_view name, PairName& out) {
  constexpr std::string_view kPrefix = "base_model.model.";
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  struct Part {
    std::string_view text;
    bool is_a, embedding;
  };
  constexpr Part kParts[] = {{".lora_A", true, false},
                             {".lora_B", false, false},
                             {".lora_embedding_A", true, true},
                             {".lora_embedding_B", false, true}};
  for (const Part& part : kParts) {
    const size_t at = name.find(part.text);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = name.substr(at + part.text.size());
    const bool plain = part.embedding ? rest.empty() : rest == ".weight";
    const bool named = !part.embedding && rest.starts_with('.') && rest.ends_with(".weight") &&
                       rest.size() > 8 && rest.substr(1, rest.size() - 8).find('.') == rest.npos;
    const bool named_embedding = part.embedding && rest.starts_with('.');
    if (!plain && !named && !named_embedding) continue;
    out = {std::string(name.substr(0, at)), part.is_a, part.embedding};
    return true;
  }
  return false;
}

Result<std::map<std::string, Pair>> collect_pairs(const TensorDirectory& weights,
                                                  const std::string& label) {
  std::map<std::string, Pair> pairs;
  for (const TensorInfo& tensor : weights.tensors()) {
    const auto fail = [&](const std::string& problem) {
      return Error{ErrorCode::kBadModel,
                   label + ": tensor " + quoted_name(tensor.name) + " " + problem};
    };
    PairName name;
    if (!parse_pair_name(tensor.name, name)) return fail("is not one of a LoRA pair");
    if (tensor.shape.size() != 2) return fail("has shape " + shape_text(tensor.shape));
    if (!is_pair_type(tensor.dtype)) return fail("has type " + dtype_name(tensor.dtype));
    Pair& pair = pairs[name.module];
    const TensorInfo*& slot = name.is_a ? pair.a : pair.b;
    if (slot != nullptr) return fail("is there for a second adapter");
    slot = &tensor;
    pair.embedding |= name.embedding;
  }
  for (const auto& [module, pair] : pairs) {
    const std::string where = label + ": module " + quoted_name(module);
    if (pair.a == nullptr || pair.b == nullptr) {
      return Error{ErrorCode::kBadModel, where + " has only one matrix of its LoRA pair"};
    }
    if (pair.a->shape[0] != pair.b->shape[1]) {
      return Error{ErrorCode::kBadModel, where + ": A of shape " + shape_text(pair.a->shape) +
                                             " does not fit B of shape " +
                                             shape_text(pair.b->shape)};
    }
  }
  if (pairs.empty()) return Error{ErrorCode::kBadModel, label + ": no LoRA matrices"};
  return pairs;
}

std::vector<float> decoded(const TensorInfo& tensor) {
  const std::vector<std::byte> bytes(tensor.data.begin(), tensor.data.end());  // aligned
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  find_block_format(tensor.dtype)->decode(bytes.data(), values.data(), tensor.num_elements());
  return values;
}

struct Matrix {
  int64_t rows, columns;
  std::vector<float> values;
};

Matrix transposed(const Matrix& m) {
  Matrix out{m.columns, m.rows, std::vector<float>(m.values.size())};
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t c = 0; c < m.columns; ++c) {
      out.values[static_cast<size_t>(c * m.rows + r)] =
          m.values[static_cast<size_t>(r * m.columns + c)];
    }
  }
  return out;
}

Matrix with_rows(const Matrix& m, const std::vector<int64_t>& order) {
  Matrix out{m.rows, m.columns, {}};
  out.values.reserve(m.values.size());
  for (const int64_t r : order) {
    const auto row = m.values.begin() + r * m.columns;
    out.values.insert(out.values.end(), row, row + m.columns);
  }
  return out;
}

// What B is multiplied by so that a reader's alpha / rank gives the module's own scale.
Result<double> fold_factor(const JsonObject& config, const std::string& module, int64_t rank,
                           double alpha) {
  const int64_t default_rank = TRY(config.get_int("r", 1, 1 << 20));
  const double wanted_rank =
      TRY(pattern_value(config, "rank_pattern", module, static_cast<double>(default_rank)));
  if (wanted_rank != static_cast<double>(rank)) {
    return Error{ErrorCode::kBadModel, config.label() + ": module " + quoted_name(module) +
                                           " has rank " + std::to_string(rank) +
                                           " in the weights and another in the config"};
  }
  const double module_alpha = TRY(pattern_value(config, "alpha_pattern", module, alpha));
  const bool stabilised = TRY(config.get_bool_or("use_rslora", false));
  const double scale = module_alpha / (stabilised ? std::sqrt(static_cast<double>(rank))
                                                  : static_cast<double>(rank));
  return scale / (alpha / static_cast<double>(rank));
}

GgufTensorSource matrix_source(std::string name, Matrix matrix, const BlockFormat& type,
                               const std::string& folder) {
  const std::vector<int64_t> shape = {matrix.rows, matrix.columns};
  auto produce = [name, folder, &type, m = std::make_shared<const Matrix>(std::move(matrix))](
                     const ByteSink& sink) -> Status {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(m->values));
    const Status status =
        encode_rows({&bytes, 1}, *find_block_format(DType::kF32), type, m->columns, sink);
    if (status.ok() || status.error().code != ErrorCode::kBadModel) return status;
    return status.error().at(folder + ": tensor " + quoted_name(name));
  };
  return {std::move(name), type.type, shape, std::move(produce)};
}

}  // namespace

bool is_adapter(const std::string& folder) {
  std::error_code ignored;
  return fs::exists(fs::path(folder) / "adapter_config.json", ignored);
}

Status convert_adapter(const std::string& folder, const std::string& base,
                       const std::string& output, const ConvertSettings& settings) {
  const std::string config_path = (fs::path(folder) / "adapter_config.json").string();
  const json::value config_value = TRY(read_json_file(config_path));
  const JsonObject config = TRY(JsonObject::from(config_value, config_path));
  TRY(refuse_unsupported(config));
  const double alpha = TRY(config.get_float("lora_alpha"));
  if (!(alpha > 0)) return config.bad("lora_alpha", "must be above 0");

  const BaseModel model = TRY(read_base(base));
  const std::string architecture = model.family->gguf_architecture;
  const std::string weights_path = (fs::path(folder) / "adapter_model.safetensors").string();
  const auto weights = TRY(open_safetensors(weights_path));
  const auto pairs = TRY(collect_pairs(*weights, weights_path));
  DType type = pairs.begin()->second.a->dtype;
  if (settings.type != "auto") {
    const BlockFormat* named = find_block_format(settings.type);
    if (named == nullptr || !is_pair_type(named->type)) {
      return Error{ErrorCode::kInvalidArgument,
                   "an adapter is written as F32, F16 or BF16, not " + quoted_name(settings.type)};
    }
    type = named->type;
  }
  const BlockFormat& format = *find_block_format(type);

  std::vector<GgufTensorSource> sources;
  for (const auto& [module, pair] : pairs) {
    const std::string where = weights_path + ": module " + quoted_name(module);
    const auto targets = map_tensor_name(*model.family, module + ".weight");
    if (targets.empty()) {
      return Error{ErrorCode::kBadModel, where + " is none that the base model has"};
    }
    const MappedName& mapped = targets[0];
    const bool interleaved = mapped.change == TensorChange::kInterleaveQueryHeads ||
                             mapped.change == TensorChange::kInterleaveKeyHeads;
    const bool in_place = interleaved || mapped.change == TensorChange::kNone ||
                          mapped.change == TensorChange::kFloats;
    if (targets.size() > 1 || mapped.expert >= 0 || !in_place) {
      return Error{ErrorCode::kUnsupported,
                   where + " is an expert's or one that GGUF splits, which adapters cannot have"};
    }
    const int64_t rank = pair.a->shape[0];
    Matrix a{rank, pair.a->shape[1], decoded(*pair.a)};
    Matrix b{pair.b->shape[0], rank, decoded(*pair.b)};
    if (pair.embedding) a = transposed(a);  // [vocab, rank]: looked up by row
    if (interleaved) {
      const bool query = mapped.change == TensorChange::kInterleaveQueryHeads;
      const int64_t heads = TRY(model.metadata.get_int(
          architecture + (query ? ".attention.head_count" : ".attention.head_count_kv"), 1,
          1 << 20));
      if (b.rows % (2 * heads) != 0) {
        return Error{ErrorCode::kBadModel, where + ": B of shape " + shape_text(pair.b->shape) +
                                               " does not fit the " + std::to_string(heads) +
                                               " heads of the base model"};
      }
      b = with_rows(b, interleaved_rows(b.rows, heads));
    }
    const double factor = TRY(fold_factor(config, module, rank, alpha));
    if (factor != 1.0) {
      for (float& v : b.values) v = static_cast<float>(v * factor);
    }
    sources.push_back(matrix_source(mapped.gguf + ".lora_a", std::move(a), format, folder));
    sources.push_back(matrix_source(mapped.gguf + ".lora_b", std::move(b), format, folder));
  }
  Metadata metadata;
  metadata.set_string("general.architecture", architecture);
  metadata.set_string("general.type", "adapter");
  metadata.set_string("adapter.type", "lora");
  metadata.set_string("general.name", fs::path(folder).lexically_normal().filename().string());
  metadata.set_float32("adapter.lora.alpha", static_cast<float>(alpha));
  metadata.set_uint32("general.quantization_version", 2);
  return write_gguf(output, metadata, sources, settings.on_tensor);
}

}  // namespace realm::hf
