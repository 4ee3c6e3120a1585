// Any bytes are a GGUF file or an error: what is accepted has tensors inside the buffer, and can be
// asked for everything through the typed accessors.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "formats/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);  // of the exact size, and aligned
  if (size > 0) std::memcpy(bytes.data(), data, size);
  const auto model = realm::parse_gguf(bytes, "fuzz");
  if (!model.ok()) return 0;
  for (const realm::TensorInfo& tensor : (*model)->tensors()) {
    const auto expected = realm::tensor_bytes(tensor.dtype, tensor.shape);
    if (!expected.ok() || *expected != tensor.data.size()) std::abort();
    if (tensor.data.data() < bytes.data() ||
        tensor.data.data() + tensor.data.size() > bytes.data() + bytes.size()) {
      std::abort();
    }
  }
  const realm::Metadata& metadata = (*model)->metadata();
  for (const auto& [key, value] : metadata.entries()) {
    (void)metadata.get_int(key, -5, 1 << 20);
    (void)metadata.get_float(key);
    (void)metadata.get_bool(key);
    (void)metadata.get_string(key);
    (void)metadata.get_strings(key);
    (void)metadata.get_ints(key, 0, 1000);
    (void)metadata.get_floats(key);
  }
  return 0;
}
