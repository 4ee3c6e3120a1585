// Instruction sets that kernels are compiled for, best last, and what this machine has.
#pragma once

#include <string>

#include "base/result.h"

namespace realm::cpu {

enum class Isa { kScalar, kNeon, kAvx2, kAvx512, kAmx };

// The best set that this program was compiled with and this processor has. kAvx512 means F, BW, VL,
// DQ and VNNI together (Cascade Lake, Zen 4 and later); kAmx means those and tiles of 8-bit
// integers, which the kernel must also grant (Sapphire Rapids and later); kAvx2 means AVX2, FMA and
// F16C; kNeon means ARMv8.2 with dot product.
Isa best_isa();
bool has_isa(Isa isa);
// Whether the tiles of kAmx also multiply bfloat16, as those of every processor known do; a virtual
// machine may hide it.
bool has_bf16_tiles();
const char* isa_name(Isa isa);
Result<Isa> parse_isa(const std::string& name);

}  // namespace realm::cpu
