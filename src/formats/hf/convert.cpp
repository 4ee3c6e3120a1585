#include "formats/hf/convert.h"

#include "formats/gguf.h"
#include "formats/hf/checkpoint.h"
#include "formats/row_encoder.h"

namespace realm::hf {

namespace {

Result<MixModel> mix_model(const Checkpoint& checkpoint) {
  const Metadata& metadata = checkpoint.metadata();
  const std::string arch = TRY(metadata.get_string("general.architecture"));
  const int64_t heads = TRY(metadata.get_int(arch + ".attention.head_count", 1, 1 << 20));
  const int64_t kv_heads = TRY(metadata.get_int(arch + ".attention.head_count_kv", 1, 1 << 20));
  MixModel model;
  model.num_layers = static_cast<int>(TRY(metadata.get_int(arch + ".block_count", 1, 1 << 20)));
  model.num_experts =
      static_cast<int>(TRY(metadata.get_int_or(arch + ".expert_count", 0, 0, 1 << 20)));
  model.gqa = static_cast<int>(heads / kv_heads);
  model.tied_output = true;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (tensor.name == "output.weight") model.tied_output = false;
  }
  return model;
}

}  // namespace

Status convert_checkpoint(const std::string& folder, const std::string& output,
                          const ConvertSettings& settings) {
  const QuantMix* mix = nullptr;
  if (settings.type != "auto") mix = TRY(named_mix(settings.type));
  const Checkpoint checkpoint = TRY(Checkpoint::open(folder));
  const MixModel model = TRY(mix_model(checkpoint));

  std::vector<GgufTensorSource> sources;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    DType type = tensor.dtype;
    if (mix != nullptr) {
      type = TRY(choose_type(*mix, model, {}, tensor.name, tensor.shape, tensor.dtype));
    }
    const BlockFormat* from = find_block_format(tensor.dtype);
    const BlockFormat* to = find_block_format(type);
    CHECK(from != nullptr && to != nullptr);  // Checkpoint admits F32, F16 and BF16
    sources.push_back(
        {tensor.name, type, tensor.shape, [&tensor, &folder, from, to](const ByteSink& sink) {
           const Status status = encode_rows(tensor.pieces, *from, *to, tensor.shape.back(), sink);
           if (status.ok() || status.error().code != ErrorCode::kBadModel) return status;
           return Status(status.error().at(folder + ": tensor " + quoted_name(tensor.name)));
         }});
  }
  if (mix == nullptr) mix = find_quant_mix(dtype_name(checkpoint.weight_type()));
  CHECK(mix != nullptr);  // F32, F16 and BF16 are in the table
  Metadata metadata = checkpoint.metadata();
  metadata.set_uint32("general.file_type", mix->file_type);
  metadata.set_uint32("general.quantization_version", 2);
  return write_gguf(output, metadata, sources, settings.on_tensor);
}

}  // namespace realm::hf
