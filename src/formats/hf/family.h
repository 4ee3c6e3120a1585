// What the converter knows of each model family of Hugging Face's transformers: its GGUF name, its
// tensors' names, which tensors change on the way, and its hyper-parameters. A new family is one
// row of the table in family.cpp, and where its config says something new, one more function.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "formats/metadata.h"

namespace realm::hf {

enum class TensorChange {
  kNone,
  // The checkpoint pairs a head's rotary dimensions (i, i + d/2); GGUF's llama pairs (2i, 2i+1).
  kInterleaveQueryHeads,
  kInterleaveKeyHeads,
};

struct TensorRule {
  const char* hf;    // without ".weight" or ".bias"; "*" is the layer's number
  const char* gguf;  // the same
  TensorChange change = TensorChange::kNone;
};

struct Family {
  const char* hf_class;  // config.json's architectures[0]
  const char* gguf_architecture;
  std::span<const TensorRule> tensors;
  // Sets the architecture's own keys from config.json.
  Status (*set_hyper_parameters)(const JsonObject& config, const std::string& architecture,
                                 Metadata& metadata);
};

std::span<const Family> families();
// The family of a config.json. Error kUnsupported that lists those known.
Result<const Family*> family_of_config(const JsonObject& config);
// By GGUF architecture name; null where no family converts to it.
const Family* family_of_architecture(std::string_view architecture);

struct MappedName {
  std::string gguf;  // with ".weight" or ".bias"
  TensorChange change;
  int64_t layer;  // -1 outside the layers
};

// Empty for a name that the family's rules do not have.
std::optional<MappedName> map_tensor_name(const Family& family, std::string_view hf_name);

// Sets general.* and the family's keys from config.json. `folder` gives the model's name.
Status set_model_metadata(const Family& family, const JsonObject& config, const std::string& folder,
                          Metadata& metadata);

// Divisors of the rotary frequencies where config.json has Llama 3's rope scaling; else empty.
Result<std::vector<float>> rope_frequency_factors(const JsonObject& config);

}  // namespace realm::hf
