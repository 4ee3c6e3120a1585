// Named quantization types as GGUF users know them (Q4_K_M, IQ3_XS, ...): most are mixes that give
// the tensors a model is most sensitive to more bits. One table of mixes, each a base format and a
// list of rules; `realm quantize` asks it for every tensor before it writes anything.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "formats/dtype.h"

namespace realm {

struct MixRule;

struct QuantMix {
  const char* name;
  uint32_t file_type;  // general.file_type in GGUF metadata
  DType base;          // of tensors that no rule names
  DType output;        // of the output matrix, or the embedding that doubles as one
  std::span<const MixRule> rules;
};

std::span<const QuantMix> quant_mixes();
// By name, upper or lower case; Q3_K, Q4_K, Q5_K mean their _M mixes. Null where there is none.
const QuantMix* find_quant_mix(std::string_view name);

// What the rules ask of a model.
struct MixModel {
  int num_layers = 0;
  int num_experts = 0;       // 0 for dense models
  int gqa = 1;               // query heads per key-value head
  bool tied_output = false;  // there is no output.weight: token_embd.weight doubles as one
  bool has_imatrix = false;
};

struct MixOptions {
  bool pure = false;         // the base format for every matrix
  bool keep_output = false;  // the output matrix keeps its type
};

// The type to store a tensor as. `shape` is outermost first, `current` its type now. Vectors,
// norms, routers and a few small or touchy matrices become F32; tensors of no block format
// (integers) stay. A row length that is no multiple of the chosen format's block falls back to a
// format of 32-element blocks of similar size, then to F16. Error kInvalidArgument where the format
// needs an importance matrix and there is none.
Result<DType> choose_type(const QuantMix& mix, const MixModel& model, const MixOptions& options,
                          std::string_view name, std::span<const int64_t> shape, DType current);

}  // namespace realm
