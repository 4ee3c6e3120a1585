#include "app/gpu_layers.h"

#include <algorithm>
#include <charconv>

#include "backends/split/placement.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

// What rearranging weights for the GPU and rounding up their memory adds.
constexpr double kWeightSlack = 1.03;
constexpr int64_t kLayersMax = 100000;

int64_t kv_bytes(const KvLayerShape& layer, int64_t tokens, DType type) {
  const BlockFormat& format = *find_block_format(type);
  return layer.elements() * tokens / static_cast<int64_t>(format.block_elements) *
         static_cast<int64_t>(format.block_bytes);
}

}  // namespace

Result<std::optional<int64_t>> parse_gpu_layers(const std::string& text) {
  if (text == "auto") return std::optional<int64_t>();
  int64_t layers = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layers);
  if (error == std::errc() && end == text.data() + text.size() && layers >= 0 &&
      layers <= kLayersMax) {
    return std::optional<int64_t>(layers);
  }
  return Error{ErrorCode::kInvalidArgument,
               "gpu-layers must be auto or a number of layers, not '" + text.substr(0, 100) + "'"};
}

GpuNeed gpu_need(const TensorDirectory& file, const ModelInfo& info, int64_t kv_tokens,
                 DType kv_type, int64_t step_bytes) {
  GpuNeed need{.layers = std::vector<int64_t>(info.kv_layers.size()), .rest = 0, .all = 0};
  const auto num_layers = static_cast<int64_t>(need.layers.size());
  double rest = static_cast<double>(step_bytes), all = rest;
  std::vector<double> layers(need.layers.size());
  const bool has_output = file.find("output.weight") != nullptr;
  for (const TensorInfo& tensor : file.tensors()) {
    const double bytes = kWeightSlack * static_cast<double>(tensor.data.size());
    all += bytes;
    const int64_t layer = split::layer_of(tensor.name);
    if (layer >= 0 && layer < num_layers) layers[static_cast<size_t>(layer)] += bytes;
    if (layer < 0 && split::place_of_tensor(tensor.name, 0, has_output) != split::Place::kHost) {
      rest += bytes;
    }
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto kv = static_cast<double>(kv_bytes(info.kv_layers[i], kv_tokens, kv_type));
    need.layers[i] = static_cast<int64_t>(layers[i] + kv);
    all += kv;
  }
  need.rest = static_cast<int64_t>(rest);
  need.all = static_cast<int64_t>(all);
  return need;
}

int64_t layers_that_fit(const GpuNeed& need, int64_t bytes) {
  const auto num_layers = static_cast<int64_t>(need.layers.size());
  if (need.all <= bytes) return num_layers;
  int64_t left = bytes - need.rest, count = 0;
  // One at least stays with the host: all of them would take the embedding along.
  while (count + 1 < num_layers) {
    left -= need.layers[static_cast<size_t>(num_layers - 1 - count)];
    if (left < 0) break;
    ++count;
  }
  return count;
}

}  // namespace realm
