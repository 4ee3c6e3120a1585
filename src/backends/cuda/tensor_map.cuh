// Describing tensors to the copy engine.
#pragma once

#include <cuda.h>

#include "base/result.h"

namespace realm::cuda {

// Rows of 16-bit numbers, `columns` of each, `row_bytes` apart; boxes of 64 columns by `box_rows`,
// swizzled by 128 bytes. What lies outside reads as zero.
Result<CUtensorMap> map_rows(CUtensorMapDataType type, const void* data, int64_t columns,
                             int64_t rows, int64_t row_bytes, int box_rows);

}  // namespace realm::cuda
