#include "formats/hf/tensor_changes.h"

#include <cstring>

#include "formats/quant/quant_table.h"

namespace realm::hf {
namespace {

// result[i, j, k] = source[base + i * steps[0] + j * steps[1] + k * steps[2]], in elements; a
// result of rank 2 leaves out i.
struct ElementMap {
  std::vector<int64_t> shape;
  int64_t base;
  int64_t steps[3];
};

std::vector<std::byte> gather(const TensorInfo& source, const ElementMap& map) {
  const size_t size = static_cast<size_t>(find_block_format(source.dtype)->block_bytes);
  const bool flat = map.shape.size() == 2;
  const int64_t outer = flat ? 1 : map.shape[0];
  const int64_t rows = map.shape[flat ? 0 : 1], columns = map.shape[flat ? 1 : 2];
  std::vector<std::byte> bytes(static_cast<size_t>(outer * rows * columns) * size);
  std::byte* out = bytes.data();
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < rows; ++j) {
      int64_t at = map.base + i * map.steps[0] + j * map.steps[1];
      for (int64_t k = 0; k < columns; ++k, at += map.steps[2], out += size) {
        std::memcpy(out, source.data.data() + static_cast<size_t>(at) * size, size);
      }
    }
  }
  return bytes;
}

Error bad_shape(const TensorInfo& source, const std::string& wanted) {
  return Error{ErrorCode::kBadModel, "tensor " + quoted_name(source.name) + ": shape " +
                                         shape_text(source.shape) + " is not " + wanted};
}

Result<ElementMap> map_latent(const TensorInfo& source, bool keys, const Metadata& metadata,
                              const std::string& architecture) {
  const std::string prefix = architecture + ".attention.";
  const int64_t heads = TRY(metadata.get_int(prefix + "head_count", 1, 1 << 20));
  const int64_t rank = TRY(metadata.get_int(prefix + "kv_lora_rank", 1, 1 << 16));
  const int64_t v_dim = TRY(metadata.get_int(prefix + "value_length_mla", 1, 1 << 16));
  const int64_t nope = TRY(metadata.get_int(prefix + "key_length_mla", 1, 1 << 16)) -
                       TRY(metadata.get_int(architecture + ".rope.dimension_count", 1, 1 << 16));
  if (source.shape != std::vector<int64_t>{heads * (nope + v_dim), rank}) {
    return bad_shape(source, shape_text({heads * (nope + v_dim), rank}));
  }
  const int64_t head = (nope + v_dim) * rank;
  if (keys) return ElementMap{{heads, rank, nope}, 0, {head, 1, rank}};
  return ElementMap{{heads, v_dim, rank}, nope * rank, {head, rank, 1}};
}

}  // namespace

bool moves_elements(TensorChange change) {
  switch (change) {
    case TensorChange::kTranspose:
    case TensorChange::kTransposeGates:
    case TensorChange::kTransposeUps:
    case TensorChange::kGateBiases:
    case TensorChange::kUpBiases:
    case TensorChange::kLatentKeys:
    case TensorChange::kLatentValues:
      return true;
    default:
      return false;
  }
}

Result<ChangedTensor> change_elements(const TensorInfo& source, TensorChange change,
                                      const Metadata& metadata, const std::string& architecture) {
  using enum TensorChange;
  const auto& shape = source.shape;
  ElementMap map;
  if (change == kLatentKeys || change == kLatentValues) {
    map = TRY(map_latent(source, change == kLatentKeys, metadata, architecture));
  } else if (change == kGateBiases || change == kUpBiases) {
    if (shape.size() != 2 || shape[1] % 2 != 0) return bad_shape(source, "[experts, 2 n]");
    map = {{shape[0], shape[1] / 2}, change == kUpBiases ? 1 : 0, {0, shape[1], 2}};
  } else {
    const int64_t step = change == kTranspose ? 1 : 2;
    if (shape.size() != 3 || shape[2] % step != 0) {
      return bad_shape(source, step == 1 ? "[experts, in, out]" : "[experts, in, 2 out]");
    }
    map = {{shape[0], shape[2] / step, shape[1]},
           change == kTransposeUps ? 1 : 0,
           {shape[1] * shape[2], step, shape[2]}};
  }
  std::vector<std::byte> bytes = gather(source, map);
  return ChangedTensor{std::move(map.shape),
                       std::make_shared<const std::vector<std::byte>>(std::move(bytes))};
}

}  // namespace realm::hf
