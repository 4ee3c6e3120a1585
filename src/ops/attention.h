#pragma once

#include "ops/kv_cache.h"
#include "ops/tensor_view.h"

namespace realm {

// Causal grouped-query attention of a flat batch over the paged cache, with an online softmax
// (Dao et al. 2022; paged as in Kwon et al. 2023). Token t of sequence s at position p attends to
// the cached positions max(0, p - window + 1) .. p. With `oldest` it attends to oldest[t] .. p, and
// p is what the caller says: an encoder, whose tokens see each other both ways, gives the last
// position of the token's view there instead of its own.
//
// In multi-head latent attention (DeepSeek-AI 2024) values are the first columns of keys: v_cache
// is then a view of k_cache's memory with its strides and a smaller last dimension.
//
// Arithmetic contract: a score is one chain of multiply-adds over the head's dimensions in order,
// of q times scale * log2(e) (of q times scale / soft_cap, before the tanh, with a soft cap). Per
// token and head, positions are taken in blocks of kPageTokens aligned to absolute positions: the
// running maximum is updated by the block's, sums of weights are kept by position mod 16, and the
// weighted values are added in order. Blocks are gathered into splits of kAttentionSplit positions,
// and the splits are merged in order. So the result does not depend on how a prompt was cut into
// steps, nor on who computed which split. (Tiles of bfloat16, attention_amx.cpp, keep only that.)
//
// What lies in a page past a sequence's last position never reaches a result, whatever it is.
struct Attention {
  TensorView q;  // [tokens, heads, k_dim] F32, may be strided
  // [pages, kv_heads, kPageTokens, k_dim or v_dim], both of one of kv_types()
  TensorView k_cache, v_cache;
  TensorView positions;    // [tokens] I32
  TensorView seq_start;    // [sequences + 1] I32: first token of each sequence in the batch
  TensorView page_table;   // [sequences, max_pages] I32
  TensorView sinks = {};   // [heads] F32 logits that take part in the softmax only, or empty
  TensorView slopes = {};  // [heads] F32: adds slope * (key's position - own) (ALiBi), or empty
  TensorView oldest = {};  // [tokens] I32 in 0..positions[t], ascending in a sequence, or empty
  // [sequences, 3] I32, or empty: a sequence's group, which is sequences [first, end) of the batch,
  // and how many pages their rows of the table begin with in common; those lie before each one's
  // first token. 0 pages: no group. A hint, that such pages can be read once for all, where each
  // sequence has one token and there is no window: results change by rounding at most.
  TensorView shared = {};
  TensorView out;  // [tokens, heads, v_dim] F32, contiguous
  float scale = 1.0f;
  float soft_cap = 0.0f;  // > 0: s -> soft_cap * tanh(s / soft_cap)
  int64_t window = 0;     // > 0: sliding window, in positions

  template <typename F>
  void visit(F&& f) {
    f(q, false), f(k_cache, false), f(v_cache, false), f(positions, false), f(seq_start, false);
    f(page_table, false), f(sinks, false), f(slopes, false), f(oldest, false);
    f(shared, false);
    f(out, true);
  }
};

// Whether the values are the first columns of the keys, in one memory.
inline bool values_in_keys(const Attention& op) {
  return op.v_cache.data == op.k_cache.data;
}

inline constexpr int64_t kAttentionSplit = 1024;  // positions; a multiple of kPageTokens

}  // namespace realm
