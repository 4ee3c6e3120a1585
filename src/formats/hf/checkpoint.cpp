#include "formats/hf/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/half.h"
#include "formats/hf/tensor_changes.h"
#include "formats/hf/tokenizer.h"
#include "formats/hf/vocabulary.h"
#include "formats/quant/quant_table.h"
#include "formats/safetensors.h"

namespace realm::hf {
namespace fs = std::filesystem;

namespace {

Result<std::unique_ptr<TensorDirectory>> open_weights(const std::string& folder,
                                                      FileAccess access) {
  const fs::path index = fs::path(folder) / "model.safetensors.index.json";
  const fs::path single = fs::path(folder) / "model.safetensors";
  if (fs::exists(single)) return open_safetensors(single.string(), access);
  if (fs::exists(index)) return open_safetensors_index(index.string(), access);
  return Error{ErrorCode::kNotFound,
               folder +
                   ": no model.safetensors and no model.safetensors.index.json; checkpoints "
                   "in other forms (pytorch_model.bin) must be saved as safetensors first"};
}

// Buffers of the rotary embedding that old checkpoints carry; they follow from config.json.
bool is_derived(std::string_view name) {
  constexpr std::string_view kSuffix = ".rotary_emb.inv_freq";
  return name.size() > kSuffix.size() && name.substr(name.size() - kSuffix.size()) == kSuffix;
}

int section(const CheckpointTensor& tensor) {
  if (tensor.name.starts_with("blk.")) return 1;
  return tensor.name.starts_with("output") ? 2 : 0;
}

int64_t layer_of(const CheckpointTensor& tensor) {
  return section(tensor) == 1 ? std::stoll(tensor.name.substr(4)) : 0;
}

Result<std::vector<float>> to_floats(const TensorInfo& tensor) {
  const BlockFormat* format = find_block_format(tensor.dtype);
  if (format == nullptr || format->decode == nullptr) {
    return Error{ErrorCode::kUnsupported, "tensor " + quoted_name(tensor.name) +
                                              ": weights of type " + dtype_name(tensor.dtype)};
  }
  // Copied first, for the file need not align it.
  const std::vector<std::byte> bytes(tensor.data.begin(), tensor.data.end());
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  format->decode(bytes.data(), values.data(), tensor.num_elements());
  return values;
}

bool is_weight_type(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

struct HeadCounts {
  int64_t query, key;
};

Result<HeadCounts> head_counts(const Metadata& metadata, const std::string& architecture) {
  const std::string prefix = architecture + ".attention.head_count";
  return HeadCounts{TRY(metadata.get_int(prefix, 1, 1 << 20)),
                    TRY(metadata.get_int(prefix + "_kv", 1, 1 << 20))};
}

}  // namespace

std::vector<int64_t> interleaved_rows(int64_t rows, int64_t heads) {
  CHECK(heads > 0 && rows % (2 * heads) == 0);
  const int64_t head_dim = rows / heads;
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t head = r / head_dim;
    const int64_t within = r % head_dim;
    order[static_cast<size_t>(r)] = head * head_dim + within / 2 + (within % 2) * (head_dim / 2);
  }
  return order;
}

void Checkpoint::add_floats(std::string name, std::vector<int64_t> shape,
                            std::vector<float> values) {
  auto owned = std::make_shared<const std::vector<float>>(std::move(values));
  tensors_.push_back(
      {std::move(name), DType::kF32, std::move(shape), {std::as_bytes(std::span(*owned))}});
  owners_.push_back(std::move(owned));
}

Status Checkpoint::add_interleaved(const TensorInfo& source, const MappedName& mapped) {
  const HeadCounts counts = TRY(head_counts(metadata_, architecture_));
  const bool query = mapped.change == TensorChange::kInterleaveQueryHeads;
  const int64_t heads = query ? counts.query : counts.key;
  const int64_t rows = source.shape[0];
  if (rows % (2 * heads) != 0) {
    return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) + ": " +
                                           std::to_string(rows) +
                                           " rows are not an even number for each of " +
                                           std::to_string(heads) + " heads"};
  }
  const std::vector<int64_t> order = interleaved_rows(rows, heads);
  if (source.shape.size() == 1) {
    const std::vector<float> values = TRY(to_floats(source));
    std::vector<float> reordered;
    reordered.reserve(values.size());
    for (const int64_t r : order) reordered.push_back(values[static_cast<size_t>(r)]);
    add_floats(mapped.gguf, source.shape, std::move(reordered));
    return {};
  }
  CheckpointTensor tensor{mapped.gguf, source.dtype, source.shape, {}};
  const size_t row_bytes = source.data.size() / static_cast<size_t>(rows);
  for (const int64_t r : order) {
    tensor.pieces.push_back(source.data.subspan(static_cast<size_t>(r) * row_bytes, row_bytes));
  }
  tensors_.push_back(std::move(tensor));
  return {};
}

Status Checkpoint::add_expert(const TensorInfo& source, const MappedName& mapped) {
  if (source.shape.size() != 2) {
    return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) + ": shape " +
                                           shape_text(source.shape) + " is not a matrix's"};
  }
  const int64_t experts = TRY(metadata_.get_int_or(architecture_ + ".expert_count", 0, 0, 1 << 20));
  if (mapped.expert >= experts) {
    return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) +
                                           ": belongs to an expert past the " +
                                           std::to_string(experts) + " of config.json"};
  }
  experts_[mapped.gguf].emplace(mapped.expert, source);
  return {};
}

Status Checkpoint::stack_experts() {
  for (const auto& [name, parts] : experts_) {
    const TensorInfo& first = parts.begin()->second;
    const int64_t experts = TRY(metadata_.get_int(architecture_ + ".expert_count", 1, 1 << 20));
    CheckpointTensor tensor{name, first.dtype, {experts, first.shape[0], first.shape[1]}, {}};
    for (const auto& [number, part] : parts) {
      if (part.shape != first.shape || part.dtype != first.dtype) {
        return Error{ErrorCode::kBadModel, "tensors " + quoted_name(first.name) + " and " +
                                               quoted_name(part.name) + " differ in shape or type"};
      }
      tensor.pieces.push_back(part.data);
    }
    if (static_cast<int64_t>(parts.size()) != experts) {
      return Error{ErrorCode::kBadModel,
                   std::to_string(parts.size()) + " of " + std::to_string(experts) +
                       " experts have a tensor like " + quoted_name(first.name)};
    }
    tensors_.push_back(std::move(tensor));
  }
  experts_.clear();
  return {};
}

Status Checkpoint::add_tensor(const TensorInfo& source, const MappedName& mapped) {
  if (!is_weight_type(source.dtype)) {
    return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) + ": type " +
                                           dtype_name(source.dtype) +
                                           " is not a type of weights (F32, F16, BF16)"};
  }
  if (moves_elements(mapped.change)) {
    ChangedTensor changed = TRY(change_elements(source, mapped.change, metadata_, architecture_));
    TensorInfo whole{source.name, source.dtype, changed.shape, *changed.bytes};
    if (changed.shape.size() == 2) {
      add_floats(mapped.gguf, changed.shape, TRY(to_floats(whole)));
    } else {
      tensors_.push_back({mapped.gguf, source.dtype, changed.shape, {whole.data}});
      owners_.push_back(std::move(changed.bytes));
    }
    return {};
  }
  if (source.shape.size() > 2) {
    return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) + ": shape " +
                                           shape_text(source.shape) + " has rank above 2"};
  }
  if (mapped.expert >= 0) return add_expert(source, mapped);
  const bool floats = mapped.change == TensorChange::kFloats;
  if (mapped.change == TensorChange::kInterleaveQueryHeads ||
      mapped.change == TensorChange::kInterleaveKeyHeads) {
    return add_interleaved(source, mapped);
  }
  if (source.shape.size() == 1 || floats) {
    std::vector<float> values = TRY(to_floats(source));
    if (mapped.change == TensorChange::kAddOne) {
      for (float& v : values) {
        v += 1.0f;
        if (source.dtype == DType::kF16) v = fp16_to_float(float_to_fp16(v));
      }
    }
    add_floats(mapped.gguf, source.shape, std::move(values));
    return {};
  }
  tensors_.push_back({mapped.gguf, source.dtype, source.shape, {source.data}});
  return {};
}

Status Checkpoint::add_weights(const Family& family, const TensorDirectory& weights, bool tied,
                               const std::string& folder) {
  const int64_t vocab_size = TRY(metadata_.get_int(architecture_ + ".vocab_size", 1, kMaxTokens));
  const int64_t num_layers = TRY(metadata_.get_int(architecture_ + ".block_count", 1, 1 << 20));
  for (const TensorInfo& source : weights.tensors()) {
    if (is_derived(source.name)) continue;
    const auto fail = [&](const std::string& problem) {
      return Error{ErrorCode::kBadModel,
                   folder + ": tensor " + quoted_name(source.name) + " " + problem};
    };
    const std::vector<MappedName> targets = map_tensor_name(family, source.name);
    if (targets.empty()) return fail(std::string("is none that ") + family.hf_class + " has");
    if (targets[0].layer >= num_layers) {
      return fail("belongs to a layer past the " + std::to_string(num_layers) + " of config.json");
    }
    // A copy of the embedding, that readers with the same flag do not look at.
    if (tied && targets[0].gguf == "output.weight") continue;
    if (targets[0].gguf == "token_embd.weight" && source.shape[0] != vocab_size) {
      return fail("has " + std::to_string(source.shape[0]) + " rows, config.json's vocab_size is " +
                  std::to_string(vocab_size));
    }
    for (const MappedName& mapped : targets) {
      const Status added = add_tensor(source, mapped);
      if (!added.ok()) return added.error().at(folder);
    }
  }
  const Status stacked = stack_experts();
  if (!stacked.ok()) return stacked.error().at(folder);
  const std::string last_layer = "blk." + std::to_string(num_layers - 1) + ".";
  const bool complete = std::any_of(
      tensors_.begin(), tensors_.end(),
      [&](const CheckpointTensor& tensor) { return tensor.name.starts_with(last_layer); });
  if (complete) return {};
  return Error{ErrorCode::kBadModel, folder + "/config.json: num_hidden_layers is " +
                                         std::to_string(num_layers) +
                                         ", but the checkpoint has no tensors of its last layer"};
}

Status Checkpoint::add_rope_factors(const JsonObject& config) {
  LongRopeFactors by_length = TRY(long_rope_factors(config));
  for (auto& [name, factors] : {std::pair("rope_freqs.weight", TRY(rope_frequency_factors(config))),
                                std::pair("rope_factors_short.weight", by_length.short_factors),
                                std::pair("rope_factors_long.weight", by_length.long_factors)}) {
    if (!factors.empty()) add_floats(name, {static_cast<int64_t>(factors.size())}, factors);
  }
  return {};
}

Result<Checkpoint> Checkpoint::open(const std::string& folder, FileAccess access) {
  const std::string config_path = (fs::path(folder) / "config.json").string();
  const boost::json::value config_value = TRY(read_json_file(config_path));
  const JsonObject config = TRY(JsonObject::from(config_value, config_path));
  const Family& family = *TRY(family_of_config(config));

  Checkpoint checkpoint;
  checkpoint.architecture_ = family.gguf_architecture;
  Metadata& metadata = checkpoint.metadata_;
  TRY(set_model_metadata(family, config, folder, metadata));
  const int64_t vocab_size =
      TRY(metadata.get_int(checkpoint.architecture_ + ".vocab_size", 1, kMaxTokens));
  TRY(add_tokenizer(folder, config, vocab_size, metadata));
  if (family.no_space_prefix && metadata.contains("tokenizer.ggml.model")) {
    metadata.set_bool("tokenizer.ggml.add_space_prefix", false);
  }
  TRY(checkpoint.add_rope_factors(config));
  const bool tied_by_default = std::string_view(family.gguf_architecture).starts_with("gemma");
  const bool tied = TRY(config.get_bool_or("tie_word_embeddings", tied_by_default));
  std::shared_ptr<TensorDirectory> weights = TRY(open_weights(folder, access));
  TRY(checkpoint.add_weights(family, *weights, tied, folder));
  std::stable_sort(checkpoint.tensors_.begin(), checkpoint.tensors_.end(),
                   [](const CheckpointTensor& a, const CheckpointTensor& b) {
                     return std::pair(section(a), layer_of(a)) < std::pair(section(b), layer_of(b));
                   });
  checkpoint.owners_.push_back(std::move(weights));
  return checkpoint;
}

DType Checkpoint::weight_type() const {
  for (const CheckpointTensor& tensor : tensors_) {
    if (tensor.shape.size() > 1) return tensor.dtype;
  }
  return DType::kF32;
}

std::unique_ptr<TensorDirectory> Checkpoint::into_directory() && {
  auto directory = std::make_unique<TensorDirectory>();
  directory->metadata() = std::move(metadata_);
  for (CheckpointTensor& tensor : tensors_) {
    std::span<const std::byte> data = tensor.pieces.front();
    constexpr uintptr_t kAlignment = 4;  // of the widest weight type
    if (tensor.pieces.size() > 1 || reinterpret_cast<uintptr_t>(data.data()) % kAlignment != 0) {
      auto owned = std::make_shared<std::vector<std::byte>>();
      size_t total = 0;
      for (const auto piece : tensor.pieces) total += piece.size();
      owned->reserve(total);
      for (const auto piece : tensor.pieces)
        owned->insert(owned->end(), piece.begin(), piece.end());
      data = *owned;
      directory->retain(std::move(owned));
    }
    // Names are unique: the safetensors reader made sure, and rules map no two names to one.
    CHECK(
        directory->add({std::move(tensor.name), tensor.dtype, std::move(tensor.shape), data}).ok());
  }
  for (auto& owner : owners_) directory->retain(std::move(owner));
  return directory;
}

}  // namespace realm::hf
