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

TensorView whole_view(const TensorInfo& tensor) {
  // Views are not const-correct; ops never write to a weight.
  auto* data = const_cast<std::byte*>(tensor.data.data());
  return make_view(data, tensor.dtype, tensor.shape.data(), static_cast<int>(tensor.shape.size()));
}

int64_t bytes_of(const TensorView& view) {
  return static_cast<int64_t>(row_bytes(*find_block_format(view.dtype), view.last_dim())) *
         view.num_rows();
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

Result<const TensorInfo*> WeightLoader::get_floats(const std::string& name,
                                                   std::initializer_list<int64_t> shape) {
  const TensorInfo* tensor = TRY(get(name, shape));
  if (tensor->dtype != DType::kF32) {
    return Error{ErrorCode::kBadModel, "tensor '" + name + "' is " +
                                           find_block_format(tensor->dtype)->name +
                                           "; vectors have to be F32"};
  }
  for (int64_t i = 0; i < tensor->num_elements(); ++i) {
    float value;
    std::memcpy(&value, tensor->data.data() + i * 4, 4);
    if (!std::isfinite(value)) {
      return Error{
          ErrorCode::kBadModel,
          "tensor '" + name + "' holds a value that is not finite at " + std::to_string(i)};
    }
  }
  return tensor;
}

Result<TensorView> WeightLoader::import(const TensorInfo& tensor) {
  return import(whole_view(tensor));
}

Result<TensorView> WeightLoader::import(const TensorView& view) {
  info_.num_parameters += view.num_elements();
  info_.weight_bytes += bytes_of(view);
  return backend_.import_weight(view);
}

Status WeightLoader::begin(const std::string& arch, int64_t hidden, int64_t layers,
                           int64_t trained_context) {
  const TensorInfo* embedding = file_.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return Error{ErrorCode::kBadModel, "tensor 'token_embd.weight' is missing or not a matrix"};
  }
  info_.architecture = arch;
  info_.name = TRY(file_.metadata().get_string_or("general.name", ""));
  info_.vocab_size = embedding->shape[0];
  info_.hidden_size = hidden;
  info_.num_layers = layers;
  info_.trained_context = trained_context;
  const std::string pooling = arch + ".pooling_type";
  if (file_.metadata().contains(pooling)) {
    info_.pooling = static_cast<Pooling>(TRY(file_.metadata().get_int(pooling, 0, 4)));
  }
  return {};
}

Result<TensorView> WeightLoader::embedding() {
  const int64_t before = info_.weight_bytes;
  const TensorView view = TRY(matrix("token_embd.weight", info_.vocab_size, info_.hidden_size));
  embedding_bytes_ = info_.weight_bytes - before;
  return view;
}

Result<TensorView> WeightLoader::output(const TensorView& embedding) {
  if (!has("output.weight")) return embedding;
  info_.bytes_per_token -= embedding_bytes_;  // only one row of the table is read
  return matrix("output.weight", info_.vocab_size, info_.hidden_size);
}

Result<TensorView> WeightLoader::matrix(const std::string& name, int64_t rows, int64_t columns) {
  return import(*TRY(get(name, {rows, columns})));
}

Result<TensorView> WeightLoader::matrix_rows(const std::string& name, int64_t rows, int64_t columns,
                                             int64_t begin, int64_t count) {
  return import(whole_view(*TRY(get(name, {rows, columns}))).slice(begin, count));
}

Result<TensorView> WeightLoader::stack(const std::string& name, int64_t experts, int64_t rows,
                                       int64_t columns, int64_t used) {
  const TensorInfo* tensor = TRY(get(name, {experts, rows, columns}));
  const auto bytes = static_cast<int64_t>(tensor->data.size());
  info_.bytes_per_token -= bytes - bytes / experts * used;
  return import(*tensor);
}

Result<TensorView> WeightLoader::stack_rows(const std::string& name, int64_t stacked, int64_t rows,
                                            int64_t columns, int64_t begin, int64_t count) {
  const TensorView all = whole_view(*TRY(get(name, {stacked * rows, columns})));
  TensorView view = make_view(all.data, all.dtype, {stacked, count, columns});
  view.data += begin * all.stride[0];
  view.stride[0] = rows * all.stride[0];
  return import(view);
}

Result<TensorView> WeightLoader::row(const std::string& name, int64_t columns) {
  const TensorInfo* tensor = file_.find(name);
  if (tensor != nullptr && tensor->shape.size() == 2) return matrix(name, 1, columns);
  const TensorInfo* checked = TRY(get(name, {columns}));
  return import(whole_view(*checked).reshaped({1, columns}));
}

Result<TensorView> WeightLoader::vector(const std::string& name, int64_t size) {
  return import(*TRY(get_floats(name, {size})));
}

Result<TensorView> WeightLoader::flat_vector(const std::string& name, int64_t size) {
  const TensorInfo* tensor = file_.find(name);
  if (tensor == nullptr || tensor->shape.size() != 2) return vector(name, size);
  return TRY(table(name, 1, size)).reshaped({size});
}

Result<TensorView> WeightLoader::vector_part(const std::string& name, int64_t size, int64_t begin,
                                             int64_t count) {
  return import(whole_view(*TRY(get_floats(name, {size}))).slice(begin, count));
}

Result<TensorView> WeightLoader::table(const std::string& name, int64_t rows, int64_t columns) {
  return import(*TRY(get_floats(name, {rows, columns})));
}

Result<TensorView> WeightLoader::optional_vector(const std::string& name, int64_t size) {
  if (!has(name)) return TensorView{};
  return vector(name, size);
}

Result<TensorView> WeightLoader::computed(const float* data, int64_t size) {
  return computed(make_view(const_cast<float*>(data), DType::kF32, {size}));
}

Result<TensorView> WeightLoader::computed(const TensorView& view) {
  return backend_.import_weight(view);
}

}  // namespace realm
