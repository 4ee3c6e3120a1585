// --gpu-layers: how many of a model's layers the GPU has room for. The first layers stay with the
// processor: a step's hidden state then crosses to the GPU once, where the output matrix and the
// choice of tokens are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/tensor_directory.h"
#include "models/model.h"

namespace realm {

// "auto" (none) or a number. Error kInvalidArgument.
Result<std::optional<int64_t>> parse_gpu_layers(const std::string& text);

// Bytes that a model takes of a GPU.
struct GpuNeed {
  std::vector<int64_t> layers;  // weights and KV cache of each
  int64_t rest = 0;             // the output matrix, what both sides have, a step's own memory
  int64_t all = 0;              // of the whole model on the GPU, its embedding too
};
// `kv_tokens` tokens of KV cache of type `kv_type`; `step_bytes` that a step works with.
GpuNeed gpu_need(const TensorDirectory& file, const ModelInfo& info, int64_t kv_tokens,
                 DType kv_type, int64_t step_bytes);

// How many layers, counted from the last, fit into `bytes`; all of them where the whole model does.
int64_t layers_that_fit(const GpuNeed& need, int64_t bytes);

}  // namespace realm
