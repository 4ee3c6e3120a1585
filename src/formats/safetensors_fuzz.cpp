// Any bytes are a safetensors file or an error; what is accepted tiles the buffer.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  const auto file = realm::parse_safetensors(bytes, "fuzz");
  if (!file.ok()) return 0;
  size_t total = 0;
  for (const realm::TensorInfo& tensor : (*file)->tensors()) {
    if (tensor.data.data() < bytes.data() ||
        tensor.data.data() + tensor.data.size() > bytes.data() + bytes.size()) {
      std::abort();
    }
    total += tensor.data.size();
  }
  if (total > size) std::abort();
  return 0;
}
