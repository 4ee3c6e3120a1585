// Which side of a split model needs which tensor, by GGUF's names.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "backends/split/split_backend.h"
#include "formats/tensor_directory.h"

namespace realm::split {

// N of "blk.N.attn_q.weight"; -1 of tensors that belong to no layer.
int64_t layer_of(const std::string& name);

// Where layers [0, host_layers) are the host's. `has_output`: the output matrix is not the
// embedding's.
Place place_of_tensor(const std::string& name, int64_t host_layers, bool has_output);

// The same by the tensors' addresses; keeps `file`.
std::function<Place(const std::byte*)> places_of(std::shared_ptr<const TensorDirectory> file,
                                                 int64_t host_layers);

}  // namespace realm::split
