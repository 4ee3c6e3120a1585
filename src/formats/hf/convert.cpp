#include "formats/hf/convert.h"

#include "formats/gguf.h"
#include "formats/hf/checkpoint.h"
#include "formats/row_encoder.h"

namespace realm::hf {

Status convert_checkpoint(const std::string& folder, const std::string& output,
                          const ConvertSettings& settings) {
  const BlockFormat* chosen = nullptr;
  if (settings.type != "auto") chosen = TRY(find_writable_format(settings.type));
  const Checkpoint checkpoint = TRY(Checkpoint::open(folder));
  const DType main_type = chosen != nullptr ? chosen->type : checkpoint.weight_type();

  std::vector<GgufTensorSource> sources;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    const BlockFormat* from = find_block_format(tensor.dtype);
    CHECK(from != nullptr);  // Checkpoint admits F32, F16 and BF16
    const BlockFormat* to = tensor.shape.size() > 1 && chosen != nullptr ? chosen : from;
    const int64_t row = tensor.shape.back();
    if (row % to->block_elements != 0) {
      return Error{ErrorCode::kInvalidArgument,
                   folder + ": tensor " + quoted_name(tensor.name) + " has rows of " +
                       std::to_string(row) + " elements, not a multiple of " + to->name +
                       "'s block of " + std::to_string(to->block_elements) +
                       "; choose a type with smaller blocks"};
    }
    sources.push_back(
        {tensor.name, to->type, tensor.shape, [&tensor, &folder, from, to, row](const auto& sink) {
           const Status status = encode_rows(tensor.pieces, *from, *to, row, sink);
           if (status.ok() || status.error().code != ErrorCode::kBadModel) return status;
           return Status(status.error().at(folder + ": tensor " + quoted_name(tensor.name)));
         }});
  }
  Metadata metadata = checkpoint.metadata();
  metadata.set_uint32("general.file_type", gguf_file_type(main_type));
  metadata.set_uint32("general.quantization_version", 2);
  return write_gguf(output, metadata, sources, settings.on_tensor);
}

}  // namespace realm::hf
