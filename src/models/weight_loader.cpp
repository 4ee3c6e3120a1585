#include "models/weight_loader.h"

#include <cmath>
#include <cstring>

#include "formats/quant/quant_table.h"

namespace realm {
namespace {

std::string shape_text(const int64_t* begin, const int64_t* end) {
  std::string text = "[";
  for (const int64_t* p = begin; p != end; ++p) {
    text += (p == begin ? "" : ", ") + std::to_string(*p);
  }
  return text + "]";
}

}  // namespace

Result<const TensorInfo*> WeightLoader::get(const std::string& name,
                                            std::initializer_list<int64_t> shape) {
  const TensorInfo* tensor = file_.find(name);
  if (tensor == nullptr) {
    return Error{ErrorCode::kBadModel, "tensor '" + name + "' is missing"};
  }
  const bool same =
      std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(), shape.end());
  if (!same) {
    const int64_t* data = tensor->shape.data();
    return Error{ErrorCode::kBadModel, "tensor '" + name + "' has shape " +
                                           shape_text(data, data + tensor->shape.size()) +
                                           ", the hyper-parameters call for " +
                                           shape_text(shape.begin(), shape.end())};
  }
  if (find_block_format(tensor->dtype) == nullptr) {
    return Error{ErrorCode::kBadModel,
                 "tensor '" + name + "' has a type that holds no weights (id " +
                     std::to_string(static_cast<uint32_t>(tensor->dtype)) + ")"};
  }
  return tensor;
}

Result<TensorView> WeightLoader::import(const TensorInfo& tensor) {
  info_.num_parameters += tensor.num_elements();
  info_.weight_bytes += static_cast<int64_t>(tensor.data.size());
  // Views are not const-correct; ops never write to a weight.
  auto* data = const_cast<std::byte*>(tensor.data.data());
  return backend_.import_weight(
      make_view(data, tensor.dtype, tensor.shape.data(), static_cast<int>(tensor.shape.size())));
}

Result<TensorView> WeightLoader::matrix(const std::string& name, int64_t rows, int64_t columns) {
  const TensorInfo* tensor = TRY(get(name, {rows, columns}));
  return import(*tensor);
}

Result<TensorView> WeightLoader::vector(const std::string& name, int64_t size) {
  const TensorInfo* tensor = TRY(get(name, {size}));
  if (tensor->dtype != DType::kF32) {
    return Error{ErrorCode::kBadModel, "tensor '" + name + "' is " +
                                           find_block_format(tensor->dtype)->name +
                                           "; vectors have to be F32"};
  }
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, tensor->data.data() + i * 4, 4);
    if (!std::isfinite(value)) {
      return Error{
          ErrorCode::kBadModel,
          "tensor '" + name + "' holds a value that is not finite at " + std::to_string(i)};
    }
  }
  return import(*tensor);
}

Result<TensorView> WeightLoader::optional_matrix(const std::string& name, int64_t rows,
                                                 int64_t columns) {
  if (!has(name)) return TensorView{};
  return matrix(name, rows, columns);
}

Result<TensorView> WeightLoader::optional_vector(const std::string& name, int64_t size) {
  if (!has(name)) return TensorView{};
  return vector(name, size);
}

Result<TensorView> WeightLoader::computed(const float* data, int64_t size) {
  return backend_.import_weight(make_view(const_cast<float*>(data), DType::kF32, {size}));
}

}  // namespace realm
