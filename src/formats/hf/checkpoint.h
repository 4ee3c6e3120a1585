// A Hugging Face checkpoint folder (config.json, safetensors, tokenizer files) seen as a GGUF
// model: the same metadata keys and tensor names. Tensors are lists of views into the mapped files,
// so that reordering rows and stacking experts costs nothing until somebody reads them; only
// vectors (norms, biases), which GGUF keeps in F32, and what is transposed are made when the folder
// is opened.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/hf/family.h"
#include "formats/tensor_directory.h"

namespace realm::hf {

struct CheckpointTensor {
  std::string name;  // GGUF's
  DType dtype;
  std::vector<int64_t> shape;  // outermost first
  // One after the other, the tensor's bytes. Boundaries may lie anywhere; a view may be unaligned.
  std::vector<std::span<const std::byte>> pieces;
};

class Checkpoint {
 public:
  // Errors: kNotFound without config.json or weights; kUnsupported for an unknown model class or
  // feature; kBadModel for anything malformed, and for a tensor that the model class does not have.
  static Result<Checkpoint> open(const std::string& folder,
                                 FileAccess access = FileAccess::kMapped);

  const Metadata& metadata() const { return metadata_; }
  // Embedding first, then the layers in order, then the output: the order in which a step reads.
  const std::vector<CheckpointTensor>& tensors() const { return tensors_; }
  // The element type of the weights: that of the first matrix.
  DType weight_type() const;

  // As one directory. Matrices that were not reordered stay views of the mapped files; the others
  // are assembled in memory that the directory owns.
  std::unique_ptr<TensorDirectory> into_directory() &&;

 private:
  Checkpoint() = default;
  Status add_weights(const Family& family, const TensorDirectory& weights, bool tied,
                     const std::string& folder);
  Status add_tensor(const TensorInfo& source, const MappedName& mapped);
  Status add_interleaved(const TensorInfo& source, const MappedName& mapped);
  Status add_expert(const TensorInfo& source, const MappedName& mapped);
  Status stack_experts();
  Status add_rope_factors(const JsonObject& config);
  void add_floats(std::string name, std::vector<int64_t> shape, std::vector<float> values);

  Metadata metadata_;
  std::vector<CheckpointTensor> tensors_;
  std::vector<std::shared_ptr<const void>> owners_;
  std::string architecture_;
  // One expert's matrix by the stacked tensor's name and the expert's number, until all are there.
  std::map<std::string, std::map<int64_t, TensorInfo>> experts_;
};

// The rows of a matrix of `heads` heads, reordered from halves (i, i + d/2) to pairs (2i, 2i + 1)
// within each head: element r of the result is the source row for row r. `rows` must be a multiple
// of 2 * heads.
std::vector<int64_t> interleaved_rows(int64_t rows, int64_t heads);

}  // namespace realm::hf
