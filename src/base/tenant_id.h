// Whose request it is, as every module that keeps tenants apart spells it: the key of the tenants'
// store, never shown to a client.
#pragma once

#include <cstdint>

namespace realm {

enum class TenantId : int64_t {};

}  // namespace realm
