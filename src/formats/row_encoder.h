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

// Sends to `sink` the rows that `pieces` hold one after the other, encoded as `to`. The row length
// must be a whole number of blocks of both formats. Error kBadModel where a weight is not finite.
Status encode_rows(std::span<const std::span<const std::byte>> pieces, const BlockFormat& from,
                   const BlockFormat& to, int64_t row_elements, const ByteSink& sink);

}  // namespace realm
