// Keeping memory resident (--mlock).
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace realm {

// Reads in what is not resident yet and keeps it from being paged out while it stays mapped. The
// pages that `bytes` touches are locked whole. Errors: kExhausted, with the limit that is in the
// way.
Status lock_memory(std::span<const std::byte> bytes);

}  // namespace realm
