#pragma once

#include "ops/tensor_view.h"

namespace realm {

// Tokens in one page of the KV cache: also the block of positions over which attention's online
// softmax runs, so it is part of the arithmetic, not a tuning knob.
inline constexpr int kPageTokens = 32;

// Writes a step's keys and values into the paged cache of one layer, converting to its type.
// Slot s of a token: page s / kPageTokens, place s % kPageTokens. v and v_cache are empty where the
// values are the first columns of the keys (see Attention).
struct StoreKv {
  TensorView k, v;              // [tokens, kv_heads, head_dim] F32, may be strided
  TensorView k_cache, v_cache;  // [pages, kv_heads, kPageTokens, head_dim] of one of kv_types()
  TensorView slots;             // [tokens] I64

  template <typename F>
  void visit(F&& f) {
    f(k, false), f(v, false), f(slots, false), f(k_cache, true), f(v_cache, true);
  }
};

// Copies whole pages of one layer's cache (copy-on-write of shared pages).
struct CopyPages {
  TensorView k_cache, v_cache;  // as in StoreKv; v_cache may be empty
  TensorView pairs;             // [n, 2] I32: from page, to page

  template <typename F>
  void visit(F&& f) {
    f(pairs, false), f(k_cache, true), f(v_cache, true);
  }
};

}  // namespace realm
