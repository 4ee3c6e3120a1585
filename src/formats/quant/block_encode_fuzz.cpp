// Any finite floats, with any non-negative importance, encode to blocks that decode to finite
// floats: no division by zero, overflow or conversion of a NaN to an integer on the way.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "formats/quant/quant_table.h"

namespace {

constexpr size_t kRow = 256;

void read_row(const uint8_t* data, size_t size, float* row) {
  std::memset(row, 0, kRow * sizeof(float));
  if (size == 0) return;
  for (size_t i = 0; i < kRow * sizeof(float); ++i) {  // repeated up to the end
    reinterpret_cast<uint8_t*>(row)[i] = data[i % size];
  }
  for (size_t i = 0; i < kRow; ++i) {
    if (!std::isfinite(row[i])) row[i] = 0.0f;
  }
}

}  // namespace

// Encoders make their search tables once, which takes seconds in an instrumented build and must not
// count as the first input's time.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const std::vector<float> row(kRow, 1.0f);
  for (const realm::BlockFormat& format : realm::block_formats()) {
    std::vector<uint8_t> blocks(row_bytes(format, kRow));
    format.encode(row.data(), blocks.data(), kRow, row.data());
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::vector<float> row(kRow), importance(kRow), decoded(kRow);
  const size_t half = size / 2;
  read_row(data, half, row.data());
  read_row(data + half, size - half, importance.data());
  for (float& weight : importance) weight = std::fabs(weight);
  for (const realm::BlockFormat& format : realm::block_formats()) {
    const bool wide = format.type != realm::DType::kF16 && format.type != realm::DType::kBF16;
    std::vector<uint8_t> blocks(row_bytes(format, kRow));
    for (const float* weights : std::initializer_list<const float*>{nullptr, importance.data()}) {
      format.encode(row.data(), blocks.data(), kRow, weights);
      format.decode(blocks.data(), decoded.data(), kRow);
      for (const float value : decoded) {
        if (wide && !std::isfinite(value)) std::abort();
      }
    }
  }
  return 0;
}
