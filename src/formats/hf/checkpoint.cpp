#include "formats/hf/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "formats/hf/family.h"
#include "formats/hf/tokenizer.h"
#include "formats/hf/vocabulary.h"
#include "formats/quant/quant_table.h"
#include "formats/safetensors.h"

namespace realm::hf {
namespace fs = std::filesystem;

namespace {

Result<std::unique_ptr<TensorDirectory>> open_weights(const std::string& folder) {
  const fs::path index = fs::path(folder) / "model.safetensors.index.json";
  const fs::path single = fs::path(folder) / "model.safetensors";
  if (fs::exists(single)) return open_safetensors(single.string());
  if (fs::exists(index)) return open_safetensors_index(index.string());
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

Status Checkpoint::add_tensor(const TensorInfo& source, std::string gguf_name,
                              int64_t interleave_heads) {
  const auto bad = [&](const std::string& problem) {
    return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) + ": " + problem};
  };
  if (!is_weight_type(source.dtype)) {
    return bad("type " + dtype_name(source.dtype) + " is not a type of weights (F32, F16, BF16)");
  }
  if (source.shape.size() > 2)
    return bad("shape " + shape_text(source.shape) + " has rank above 2");
  const int64_t rows = source.shape[0];
  std::vector<int64_t> order;
  if (interleave_heads > 0) {
    if (rows % (2 * interleave_heads) != 0) {
      return bad(std::to_string(rows) + " rows are not an even number for each of " +
                 std::to_string(interleave_heads) + " heads");
    }
    order = interleaved_rows(rows, interleave_heads);
  }
  if (source.shape.size() == 1) {
    std::vector<float> values = TRY(to_floats(source));
    if (!order.empty()) {
      std::vector<float> reordered;
      reordered.reserve(values.size());
      for (const int64_t r : order) reordered.push_back(values[static_cast<size_t>(r)]);
      values = std::move(reordered);
    }
    add_floats(std::move(gguf_name), source.shape, std::move(values));
    return {};
  }
  CheckpointTensor tensor{std::move(gguf_name), source.dtype, source.shape, {}};
  if (order.empty()) {
    tensor.pieces.push_back(source.data);
  } else {
    const size_t row_bytes = source.data.size() / static_cast<size_t>(rows);
    for (const int64_t r : order) {
      tensor.pieces.push_back(source.data.subspan(static_cast<size_t>(r) * row_bytes, row_bytes));
    }
  }
  tensors_.push_back(std::move(tensor));
  return {};
}

Result<Checkpoint> Checkpoint::open(const std::string& folder) {
  const std::string config_path = (fs::path(folder) / "config.json").string();
  const boost::json::value config_value = TRY(read_json_file(config_path));
  const JsonObject config = TRY(JsonObject::from(config_value, config_path));
  const Family& family = *TRY(family_of_config(config));
  const std::string architecture = family.gguf_architecture;

  Checkpoint checkpoint;
  Metadata& metadata = checkpoint.metadata_;
  TRY(set_model_metadata(family, config, folder, metadata));
  const int64_t vocab_size = TRY(metadata.get_int(architecture + ".vocab_size", 1, kMaxTokens));
  const int64_t num_layers = TRY(metadata.get_int(architecture + ".block_count", 1, 1 << 20));
  const HeadCounts heads = TRY(head_counts(metadata, architecture));
  TRY(add_tokenizer(folder, config, vocab_size, metadata));

  std::vector<float> factors = TRY(rope_frequency_factors(config));
  if (!factors.empty()) {
    const int64_t size = static_cast<int64_t>(factors.size());
    checkpoint.add_floats("rope_freqs.weight", {size}, std::move(factors));
  }
  const bool tied = TRY(config.get_bool_or("tie_word_embeddings", false));
  std::shared_ptr<TensorDirectory> weights = TRY(open_weights(folder));
  for (const TensorInfo& source : weights->tensors()) {
    if (is_derived(source.name)) continue;
    const auto fail = [&](const std::string& problem) {
      return Error{ErrorCode::kBadModel,
                   folder + ": tensor " + quoted_name(source.name) + " " + problem};
    };
    auto mapped = map_tensor_name(family, source.name);
    if (!mapped) return fail(std::string("is none that ") + family.hf_class + " has");
    if (mapped->layer >= num_layers) {
      return fail("belongs to a layer past the " + std::to_string(num_layers) + " of config.json");
    }
    // A copy of the embedding, that readers with the same flag do not look at.
    if (tied && mapped->gguf == "output.weight") continue;
    if (mapped->gguf == "token_embd.weight" && source.shape[0] != vocab_size) {
      return fail("has " + std::to_string(source.shape[0]) + " rows, config.json's vocab_size is " +
                  std::to_string(vocab_size));
    }
    const int64_t interleave = mapped->change == TensorChange::kInterleaveQueryHeads ? heads.query
                               : mapped->change == TensorChange::kInterleaveKeyHeads ? heads.key
                                                                                     : 0;
    const Status added = checkpoint.add_tensor(source, std::move(mapped->gguf), interleave);
    if (!added.ok()) return added.error().at(folder);
  }
  const std::string last_layer = "blk." + std::to_string(num_layers - 1) + ".";
  const bool complete = std::any_of(
      checkpoint.tensors_.begin(), checkpoint.tensors_.end(),
      [&](const CheckpointTensor& tensor) { return tensor.name.starts_with(last_layer); });
  if (!complete) {
    return Error{ErrorCode::kBadModel, folder + "/config.json: num_hidden_layers is " +
                                           std::to_string(num_layers) +
                                           ", but the checkpoint has no tensors of its last layer"};
  }
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
