// Any bytes are an importance matrix or an error: what is accepted has finite importances, as many
// as it has sums.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "formats/imatrix.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  const auto matrix = realm::parse_imatrix(bytes, "fuzz");
  if (!matrix.ok()) return 0;
  for (const auto& [name, entry] : matrix->entries) {
    const auto importance = entry.importance();
    if (importance.size() != entry.sums.size()) std::abort();
    for (const float value : importance) {
      if (std::isnan(value) || value < 0) std::abort();
    }
  }
  return 0;
}
