// Any bytes are blocks of any format: decoding must not read or write outside, shift too far or
// index past a codebook. NaN and infinity are legal results. Unpacking must agree with decoding.
#include <cmath>
#include <cstdlib>
#include <vector>

#include "formats/quant/quant_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const realm::BlockFormat& format : realm::block_formats()) {
    const size_t blocks = size / static_cast<size_t>(format.block_bytes);
    // Exactly sized copies, so that the sanitizer sees one byte too many.
    const std::vector<uint8_t> bytes(data, data + blocks * static_cast<size_t>(format.block_bytes));
    std::vector<float> values(blocks * static_cast<size_t>(format.block_elements));
    format.decode(bytes.data(), values.data(), static_cast<int64_t>(values.size()));
    if (format.unpack == nullptr) continue;
    for (size_t b = 0; b < blocks; ++b) {
      realm::UnpackedBlock block;
      format.unpack(bytes.data() + b * static_cast<size_t>(format.block_bytes), block);
      const realm::UnpackShape& shape = format.shape;
      for (int i = 0; i < shape.elements; ++i) {
        const int sub = i / shape.sub_block;
        const float d = block.d[i / (shape.elements / shape.num_d)];
        float value =
            d * static_cast<float>(block.scales[sub]) * static_cast<float>(block.codes[i]);
        if (shape.has_min) value -= block.dmin * static_cast<float>(block.mins[sub]);
        const float decoded =
            values[b * static_cast<size_t>(shape.elements) + static_cast<size_t>(i)];
        if (decoded != value && !(std::isnan(decoded) && std::isnan(value))) std::abort();
      }
    }
  }
  return 0;
}
