// What the converter knows of each model family of Hugging Face's transformers: its GGUF name, its
// tensors' names, which tensors change on the way, and its hyper-parameters. A new family is one
// row of the table in family.cpp, and where its config says something new, one more function of
// hyper_parameters.h.
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
  kAddOne,  // Gemma's norms multiply by 1 + weight; GGUF holds the sum, rounded as F16 if that is
            // F16
  kFloats,  // a matrix that GGUF keeps in F32 (routers)
  // [experts, in, out], the weights of a product from the left, to [experts, out, in].
  kTranspose,
  // The same of the columns of gates and of ups, which alternate; and their biases [experts, 2
  // out].
  kTransposeGates,
  kTransposeUps,
  kGateBiases,
  kUpBiases,
  // Of latent attention's [heads * (nope + v), rank]: the keys' part as [heads, rank, nope], the
  // values' as [heads, v, rank].
  kLatentKeys,
  kLatentValues,
};

struct TensorRule {
  // Without ".weight" or ".bias", but for a rule of a `whole` name. "*" is the layer's number, "#"
  // after it an expert's, whose tensors GGUF stacks into one. One tensor may have several rules.
  const char* hf;
  const char* gguf;
  TensorChange change = TensorChange::kNone;
  bool whole = false;
};

struct Family {
  const char* hf_class;  // config.json's architectures[0]
  const char* gguf_architecture;
  std::span<const TensorRule> tensors;
  // Sets the architecture's own keys from config.json.
  Status (*set_hyper_parameters)(const JsonObject& config, const std::string& architecture,
                                 Metadata& metadata);
  // Its tokenizers put no space before a text, whatever the tokenizer's own file says.
  bool no_space_prefix = false;
};

std::span<const Family> families();
// The family of a config.json. Error kUnsupported that lists those known.
Result<const Family*> family_of_config(const JsonObject& config);
// By GGUF architecture name; null where no family converts to it.
const Family* family_of_architecture(std::string_view architecture);

struct MappedName {
  std::string gguf;  // with ".weight" or ".bias"
  TensorChange change;
  int64_t layer;   // -1 outside the layers
  int64_t expert;  // -1 where the tensor is not one expert's
};

// Every tensor that this one becomes; empty for a name that the family's rules do not have.
std::vector<MappedName> map_tensor_name(const Family& family, std::string_view hf_name);

// Sets general.* and the family's keys from config.json. `folder` gives the model's name.
Status set_model_metadata(const Family& family, const JsonObject& config, const std::string& folder,
                          Metadata& metadata);

// Divisors of the rotary frequencies where config.json has Llama 3's rope scaling; else empty.
Result<std::vector<float>> rope_frequency_factors(const JsonObject& config);
// LongRoPE's divisors for short and for long contexts, where config.json has them; else empty.
struct LongRopeFactors {
  std::vector<float> short_factors, long_factors;
};
Result<LongRopeFactors> long_rope_factors(const JsonObject& config);

}  // namespace realm::hf
