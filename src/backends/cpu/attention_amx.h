// Attention by AMX-BF16 (has_bf16_tiles of isa.h): what differs from AVX-512's. A row's state is
// the same, and so are merging and finishing.
#pragma once

#include "backends/cpu/kernels.h"

namespace realm::cpu::amx {

int64_t tile_rows(int64_t k_dim, int64_t v_dim);
int64_t state_floats(int64_t rows, int64_t v_dim);
int64_t scratch_floats(int64_t rows, int64_t k_dim, int64_t v_dim);
// `scratch` and `state` aligned to 64 bytes.
void attention_split(const AttentionTile& tile, int64_t split_index, float* scratch, float* state);

}  // namespace realm::cpu::amx
