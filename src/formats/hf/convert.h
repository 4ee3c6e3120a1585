// Writes Hugging Face checkpoints and PEFT adapters as GGUF files. Tensors are read, reordered and
// encoded a few megabytes at a time, so memory does not grow with the model.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace realm::hf {

struct ConvertSettings {
  // "auto" keeps the checkpoint's own element type; else a type by the name GGUF users know
  // (quant_mix.h: "F16", "Q8_0", "Q4_K_M", ...), for those that need no importance matrix. It
  // decides over matrices; norms, biases and other vectors are F32 always.
  std::string type = "auto";
  // Called before each tensor with its index and their number.
  std::function<void(size_t, size_t)> on_tensor;
};

// Errors: those of Checkpoint::open and write_gguf; kInvalidArgument for a type that cannot be had;
// kBadModel for weights that are not finite. No file is left behind on error.
Status convert_checkpoint(const std::string& folder, const std::string& output,
                          const ConvertSettings& settings);

// A LoRA adapter (adapter_config.json, adapter_model.safetensors) for the model `base`: a
// checkpoint folder or a GGUF file, whose architecture and head counts decide names and row orders.
// Rank-stabilised scaling and per-module alphas, which GGUF has no keys for, are folded into B.
// `settings.type` is auto, F32, F16 or BF16.
Status convert_adapter(const std::string& folder, const std::string& base,
                       const std::string& output, const ConvertSettings& settings);

// Whether the folder holds an adapter.
bool is_adapter(const std::string& folder);

}  // namespace realm::hf
