// The model inside the program: assets/realm-tiny.Q8_0.gguf, linked into read-only data, so that a
// fresh build answers offline. It is the default wherever a command is given no MODEL.
#pragma once

#include <cstddef>
#include <span>

namespace realm {

// A whole GGUF file, 64-byte aligned, valid for the life of the program.
std::span<const std::byte> embedded_model();

}  // namespace realm
