// Fetches a model's tensors by name with the shape the hyper-parameters call for, and hands them to
// the backend. Every mistake of a file is found here, with the tensor's name, before anything runs.
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

  // A matrix or table in any type a backend can multiply by.
  Result<TensorView> matrix(const std::string& name, int64_t rows, int64_t columns);
  // A vector of F32 (norm weights, biases, frequency factors), checked to be finite.
  Result<TensorView> vector(const std::string& name, int64_t size);
  // Empty where the file has no such tensor.
  Result<TensorView> optional_matrix(const std::string& name, int64_t rows, int64_t columns);
  Result<TensorView> optional_vector(const std::string& name, int64_t size);
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  // A vector that the model computed itself; the memory is the loader's caller's to keep.
  Result<TensorView> computed(const float* data, int64_t size);

 private:
  Result<const TensorInfo*> get(const std::string& name, std::initializer_list<int64_t> shape);
  Result<TensorView> import(const TensorInfo& tensor);

  const TensorDirectory& file_;
  Backend& backend_;
  ModelInfo& info_;
};

}  // namespace realm
