// Any bytes are a safetensors file or an error; what is accepted tiles the buffer, aligned for
// its elements.
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
    const auto expected = realm::tensor_bytes(tensor.dtype, tensor.shape);
    if (!expected.ok() || *expected != tensor.data.size()) std::abort();
    const size_t element_bytes = *expected / static_cast<size_t>(tensor.num_elements());
    if (reinterpret_cast<uintptr_t>(tensor.data.data()) % element_bytes != 0) std::abort();
    unsigned char sum = 0;  // every byte may be read
    for (const std::byte b : tensor.data) sum = static_cast<unsigned char>(sum + int(b));
    volatile unsigned char sink = sum;
    (void)sink;
    total += tensor.data.size();
  }
  if (total > size) std::abort();
  return 0;
}
