// What the kernels of products with one of many matrices share: their arguments, the lists that
// bring the rows of one matrix together, and the rows of each format that the table gathers. A pair
// is a token and one of its slots; its number is token * slots + slot.
#pragma once

#include "backends/cuda/matmul.cuh"

namespace realm::cuda {

struct ExpertPart {
  const uint8_t* weight;                      // of expert 0
  const float* bias;                          // [experts, rows], or null
  int64_t bias_stride;                        // floats
  std::byte* out;                             // F32 [tokens, slots, rows]
  int64_t out_token_stride, out_slot_stride;  // bytes
};

// Parts of one type and size.
struct ExpertProduct {
  ExpertPart parts[ExpertMatMul::kMaxParts];
  int num_parts;
  WeightSource weight;   // of any expert: its data is a part's
  int64_t expert_bytes;  // from one expert's matrix to the next
  int row_tiles;         // of a part
  const std::byte* ids;  // I32 [tokens, slots], or null: expert j for slot j
  int64_t ids_stride;    // bytes
  int tokens, slots, experts;
  // The activations: F32 as they come, or bfloat16 [rows, k_padded]. A row of either is a token's,
  // or a pair's where x_of_pairs.
  const std::byte* x;
  int64_t x_token_stride, x_slot_stride;  // bytes
  int k;
  const __nv_bfloat16* x16;
  int64_t k_padded;
  bool x_of_pairs;
  // Of gated products, whose two parts are gate and up: act(gate) * up, [pairs, gated_stride], as
  // the next product's x16. In the order of pairs for few tokens, sorted for many.
  bool is_gated;
  Activation activation;
  __nv_bfloat16* gated_out;
  int64_t gated_stride;  // elements

  __host__ __device__ int pairs() const { return tokens * slots; }
  __device__ int expert_of(int pair) const {
    const int slot = pair % slots;
    if (ids == nullptr) return slot;
    return reinterpret_cast<const int32_t*>(ids + pair / slots * ids_stride)[slot];
  }
  __device__ const float* x_row(int pair) const {
    return reinterpret_cast<const float*>(x + pair / slots * x_token_stride +
                                          pair % slots * x_slot_stride);
  }
  __device__ float* out_row(int part, int pair) const {
    const ExpertPart& to = parts[part];
    if (to.out_token_stride == slots * to.out_slot_stride) {
      return reinterpret_cast<float*>(to.out + pair * to.out_slot_stride);
    }
    return reinterpret_cast<float*>(to.out + pair / slots * to.out_token_stride +
                                    pair % slots * to.out_slot_stride);
  }
  __device__ float bias(int part, int expert, int row) const {
    const ExpertPart& of = parts[part];
    return of.bias == nullptr ? 0.0f : of.bias[expert * of.bias_stride + row];
  }
};

// Pairs sorted by expert, and cut into tiles of kN of one expert. Device memory.
struct ExpertLists {
  int* offsets;  // [experts + 1]: where an expert's pairs begin
  int* order;    // [pairs]: the pair at a place
  int* ranks;    // [pairs]: a pair's place among its expert's
  int4* tiles;   // [tiles]: expert, the expert's first tile, its number of tiles, its first place
  int* num_tiles;
};

// The most tiles that there can be, whatever the choice of experts.
inline int most_expert_tiles(const ExpertProduct& p, int n) {
  return std::min(p.pairs(), p.experts) + p.pairs() / n;
}

// Sorts a product's pairs, but for `order`; tiles of n.
Result<ExpertLists> sort_pairs(Context& context, const ExpertProduct& p, int n);
// x as bfloat16 [pairs, k_padded], zeros past k: sorted and permuted (permuted_place) where there
// are lists, whose `order` this writes, else rows of x as they are. Of gated products also the
// zeros past gated_out's rows.
Result<const __nv_bfloat16*> gather_pairs(Context& context, const ExpertProduct& p,
                                          const ExpertLists* lists);

// How many pairs the kernel for few tokens brings together by itself.
inline constexpr int kFewPairs = 256;

struct ExpertKernels {
  DType type;
  // For few tokens (Context::few_tokens), of which ids name at most kFewPairs.
  Status (*matvec)(Context&, const ExpertProduct&);
  // For many; x16 sorted. By the most pairs that a tile has.
  Status (*matmul_32)(Context&, const ExpertProduct&, const ExpertLists&);
  Status (*matmul_128)(Context&, const ExpertProduct&, const ExpertLists&);
};
// Null where the type has no tiles.
const ExpertKernels* find_expert_kernels(DType type);

// Products with matrices as they lie in the file, of any number of tokens.
Status multiply_blocks(Context& context, const ExpertProduct& p, DType type);

// The products of gate and up, their activation, and the product of what that gives: false where
// the kernels do not fit.
Result<bool> run_gated_experts(Context& context, const ExpertMatMul& in, Activation activation,
                               const ExpertMatMul& down);

}  // namespace realm::cuda
