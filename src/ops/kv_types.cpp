#include "ops/kv_types.h"

#include "formats/quant/f8_e4m3.h"

namespace realm {
namespace {

constexpr KvType kTypes[] = {{"f32", DType::kF32},
                             {"f16", DType::kF16},
                             {"bf16", DType::kBF16},
                             {"q8_0", DType::kQ8_0},
                             {"fp8", kF8E4M3}};

}  // namespace

std::span<const KvType> kv_types() {
  return kTypes;
}

const KvType* find_kv_type(std::string_view name) {
  for (const KvType& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

const KvType* find_kv_type(DType dtype) {
  for (const KvType& type : kTypes) {
    if (type.dtype == dtype) return &type;
  }
  return nullptr;
}

std::string kv_type_names() {
  std::string names;
  for (const KvType& type : kTypes) {
    if (!names.empty()) names += ", ";
    names += type.name;
  }
  return names;
}

}  // namespace realm
