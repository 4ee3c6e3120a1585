#include "backends/split/placement.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace realm::split {

int64_t layer_of(const std::string& name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return -1;
  int64_t layer = -1;
  const char* const begin = name.data() + kPrefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
  return error == std::errc() && end != begin && *end == '.' ? layer : -1;
}

Place place_of_tensor(const std::string& name, int64_t host_layers, bool has_output) {
  const int64_t layer = layer_of(name);
  if (layer >= 0) return layer < host_layers ? Place::kHost : Place::kDevice;
  if (name.starts_with("output")) return Place::kDevice;
  // Where it is the output matrix, too, the GPU reads it; rows of it are looked up on the host.
  if (name == "token_embd.weight" && has_output) return Place::kHost;
  return Place::kBoth;
}

std::function<Place(const std::byte*)> places_of(std::shared_ptr<const TensorDirectory> file,
                                                 int64_t host_layers) {
  struct Extent {
    const std::byte *begin, *end;
    Place place;
  };
  auto extents = std::make_shared<std::vector<Extent>>();
  const bool has_output = file->find("output.weight") != nullptr;
  for (const TensorInfo& tensor : file->tensors()) {
    extents->push_back({tensor.data.data(), tensor.data.data() + tensor.data.size(),
                        place_of_tensor(tensor.name, host_layers, has_output)});
  }
  std::sort(extents->begin(), extents->end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  return [extents, file = std::move(file)](const std::byte* address) {
    auto after =
        std::upper_bound(extents->begin(), extents->end(), address,
                         [](const std::byte* a, const Extent& extent) { return a < extent.begin; });
    if (after == extents->begin()) return Place::kBoth;
    const Extent& extent = *std::prev(after);
    // What a model computes itself lies in no file.
    return address < extent.end ? extent.place : Place::kBoth;
  };
}

}  // namespace realm::split
