// A loaded model: immutable weights and hyper-parameters, and the one thing it can do, append the
// ops of a forward pass to a program. One file per architecture implements it; registry.cpp lists
// them. Models know ops, not backends, and hold no state of any sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/tensor_directory.h"
#include "ops/backend.h"
#include "ops/program.h"

namespace realm {

// What one layer keeps per token in the paged cache.
struct KvLayerShape {
  int64_t num_heads;
  int64_t k_dim, v_dim;
  int64_t window = 0;           // positions that are read again, 0: all
  bool values_in_keys = false;  // values are the first v_dim columns of keys, stored once
  int64_t elements() const { return num_heads * (values_in_keys ? k_dim : k_dim + v_dim); }
};

// How the hidden states of a text's tokens become one vector, in GGUF's numbering.
enum class Pooling { kNone = 0, kMean = 1, kCls = 2, kLast = 3, kRank = 4 };

struct ModelInfo {
  std::string architecture;
  std::string name;  // general.name, may be empty
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t trained_context = 0;  // tokens
  int64_t num_parameters = 0;
  int64_t weight_bytes = 0;     // of the tensors in use
  int64_t bytes_per_token = 0;  // weights read to produce one token
  std::vector<KvLayerShape> kv_layers;
  // An encoder: tokens attend to each other both ways, so a text is run whole, in one step, and
  // gives hidden states only.
  bool is_encoder = false;
  int64_t reach = 0;  // positions to either side in an encoder's local layers, 0: none such
  int64_t position_limit = 0;           // positions it has embeddings for, 0: no limit
  std::optional<Pooling> pooling = {};  // where the file says so
};

// The inputs of one step, written by the engine before the program runs. T tokens of S sequences,
// of which L rows want logits.
struct StepInputs {
  TensorView tokens;          // [T] I32
  TensorView positions;       // [T] I32
  TensorView slots;           // [T] I64, see StoreKv
  TensorView seq_start;       // [S + 1] I32
  TensorView page_table;      // [S, max_pages] I32
  TensorView logit_rows;      // [L] I32: indices of tokens
  bool wants_hidden = false;  // the final hidden states of logit_rows, in place of logits
  // Of encoders: for each token, [T] I32, the last position of its sequence, and the first and last
  // within ModelInfo::reach.
  TensorView seq_last = {}, near_first = {}, near_last = {};
  TensorView shared = {};  // [S, 3] I32 or empty, see Attention
  int64_t context = 0;     // positions a sequence may have in this engine
};

struct KvLayer {
  TensorView k, v;  // [pages, kv_heads, kPageTokens, dim]; v may be a view of k
};

class Model {
 public:
  virtual ~Model() = default;
  const ModelInfo& info() const { return info_; }
  const TensorDirectory& file() const { return *file_; }

  // Appends the pass to `builder` and returns the logits, [L, vocab] F32 in scratch, or where the
  // inputs want them the normalized hidden states, [L, hidden]. Shapes that do not fit are reported
  // by builder.finish().
  virtual TensorView forward(ProgramBuilder& builder, const StepInputs& inputs,
                             const std::vector<KvLayer>& cache) const = 0;

 protected:
  ModelInfo info_;
  std::shared_ptr<const TensorDirectory> file_;  // the weights' memory
};

// Reads hyper-parameters and weights by general.architecture. The model keeps `file` alive.
// Errors: kBadModel for an unknown architecture (the message lists the known ones), a missing or
// misshapen tensor, or hyper-parameters out of range.
Result<std::unique_ptr<Model>> load_model(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend);

// Names of the architectures in the registry.
std::vector<std::string> known_architectures();

}  // namespace realm
