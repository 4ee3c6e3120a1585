// A token id, as every module that handles text or logits spells it. Ids count from 0 to the
// vocabulary's size; whoever takes one from outside checks it against that size.
#pragma once

#include <cstdint>

namespace realm {

using Token = int32_t;

}  // namespace realm
