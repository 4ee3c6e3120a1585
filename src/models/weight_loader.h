// Fetches a model's tensors by name with the shape the hyper-parameters call for, and hands them to
// the backend. Every mistake of a file is found here, with the tensor's name, before anything runs.
// Keeps the sums of ModelInfo as it goes.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>

#include "base/result.h"
#include "formats/tensor_directory.h"
#include "models/model.h"
#include "ops/backend.h"

namespace realm {

class WeightLoader {
 public:
  WeightLoader(const TensorDirectory& file, Backend& backend, ModelInfo& info)
      : file_(file), backend_(backend), info_(info) {}

  // Fills in what ModelInfo says of the whole model; the vocabulary's size is that of token_embd.
  Status begin(const std::string& arch, int64_t hidden, int64_t layers, int64_t trained_context);
  // token_embd.weight [vocab, hidden], of which a token reads one row.
  Result<TensorView> embedding();
  // output.weight, or the embedding where the file has none.
  Result<TensorView> output(const TensorView& embedding);

  // A matrix or table in any type a backend can multiply by.
  Result<TensorView> matrix(const std::string& name, int64_t rows, int64_t columns);
  // Rows [begin, begin + count) of a matrix of `rows` rows.
  Result<TensorView> matrix_rows(const std::string& name, int64_t rows, int64_t columns,
                                 int64_t begin, int64_t count);
  // One matrix for each expert, [experts, rows, columns]; a token uses `used` of them.
  Result<TensorView> stack(const std::string& name, int64_t experts, int64_t rows, int64_t columns,
                           int64_t used);
  // Rows [begin, begin + count) of each of `stacked` matrices that lie in one of stacked * rows
  // rows: [stacked, count, columns].
  Result<TensorView> stack_rows(const std::string& name, int64_t stacked, int64_t rows,
                                int64_t columns, int64_t begin, int64_t count);
  // A single row, in the file a vector or a matrix: [1, columns].
  Result<TensorView> row(const std::string& name, int64_t columns);
  // A vector of F32 (norm weights, biases, frequency factors), checked to be finite.
  Result<TensorView> vector(const std::string& name, int64_t size);
  // The same where files may give it as a matrix of one row.
  Result<TensorView> flat_vector(const std::string& name, int64_t size);
  Result<TensorView> vector_part(const std::string& name, int64_t size, int64_t begin,
                                 int64_t count);
  // F32 [rows, columns], checked to be finite: a vector for each expert.
  Result<TensorView> table(const std::string& name, int64_t rows, int64_t columns);
  // Empty where the file has no such tensor.
  Result<TensorView> optional_vector(const std::string& name, int64_t size);
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  // Checked as matrix() does, for a model that makes something of it itself.
  Result<const TensorInfo*> find_matrix(const std::string& name, int64_t rows, int64_t columns) {
    return get(name, {rows, columns});
  }
  // What the model computed itself; the memory is the caller's to keep.
  Result<TensorView> computed(const float* data, int64_t size);
  Result<TensorView> computed(const TensorView& view);

 private:
  Result<const TensorInfo*> get(const std::string& name, std::initializer_list<int64_t> shape);
  Result<const TensorInfo*> get_floats(const std::string& name,
                                       std::initializer_list<int64_t> shape);
  Result<TensorView> import(const TensorInfo& tensor);
  // A part of a tensor's bytes, counted as the elements of the view.
  Result<TensorView> import(const TensorView& view);

  const TensorDirectory& file_;
  Backend& backend_;
  ModelInfo& info_;
  int64_t embedding_bytes_ = 0;
};

}  // namespace realm
