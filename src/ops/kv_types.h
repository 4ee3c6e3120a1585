// The types that a KV cache can have, by the names of --kv-type.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "formats/dtype.h"

namespace realm {

struct KvType {
  std::string_view name;
  DType dtype;
};

std::span<const KvType> kv_types();
// Null for a name or type that is none.
const KvType* find_kv_type(std::string_view name);
const KvType* find_kv_type(DType dtype);
// "f32, f16, ..."
std::string kv_type_names();

}  // namespace realm
