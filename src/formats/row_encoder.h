// Re-encoding a stream of weights: bytes of one element type in, bytes of another out, row by row,
// on all cores. Converters use it between a mapped file and the GGUF writer.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "formats/dtype.h"
#include "formats/quant/quant_table.h"
#include "formats/quant_mix.h"

namespace realm {

using ByteSink = std::function<Status(std::span<const std::byte>)>;

// The mix of that name. Error kInvalidArgument with the possible names.
Result<const QuantMix*> named_mix(std::string_view name);

struct RowEncoding {
  // Weights of a row's columns (imatrix.h), the same for every row; empty: none. Its size is the
  // row's.
  std::span<const float> importance = {};
  int threads = 0;  // 0: every core
};

// Sends to `sink` the rows that `pieces` hold one after the other, encoded as `to`. The row length
// must be a whole number of blocks of both formats. Error kBadModel where a weight is not finite,
// or too large for F16.
Status encode_rows(std::span<const std::span<const std::byte>> pieces, const BlockFormat& from,
                   const BlockFormat& to, int64_t row_elements, const ByteSink& sink,
                   const RowEncoding& encoding = {});

}  // namespace realm
