#include "models/registry.h"

namespace realm {

std::span<const Architecture> architectures() {
  static constexpr Architecture kArchitectures[] = {
      {"llama", load_llama},
      {"qwen3", load_qwen3},
  };
  return kArchitectures;
}

std::vector<std::string> known_architectures() {
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures()) names.emplace_back(architecture.name);
  return names;
}

Result<std::unique_ptr<Model>> load_model(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  const std::string type = TRY(file->metadata().get_string_or("general.type", "model"));
  if (type != "model") {
    return Error{ErrorCode::kBadModel, "general.type is '" + type + "': this file is not a model"};
  }
  const std::string name = TRY(file->metadata().get_string("general.architecture"));
  for (const Architecture& architecture : architectures()) {
    if (name == architecture.name) return architecture.load(std::move(file), backend);
  }
  std::string known;
  for (const std::string& k : known_architectures()) known += (known.empty() ? "" : ", ") + k;
  return Error{ErrorCode::kBadModel,
               "general.architecture: '" + name + "' is not supported (known: " + known + ")"};
}

}  // namespace realm
