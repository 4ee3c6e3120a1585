#include <algorithm>
#include <vector>

#include "backends/cpu/cpu_backend.h"

namespace realm::cpu {
namespace {

CacheType cache_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return CacheType::kF16;
    case DType::kQ8_0:
      return CacheType::kQ8_0;
    default:
      return CacheType::kF32;
  }
}

// Consecutive tokens of one sequence that share the reading of keys and values.
struct TokenTile {
  int32_t sequence;
  int32_t first;
  int32_t count;
};

}  // namespace

Status run(Context& context, const Attention& op) {
  const int64_t heads = op.q.dim(1), kv_heads = op.k_cache.dim(1);
  const int64_t k_dim = op.q.dim(2), v_dim = op.v_cache.dim(3);
  const int heads_per_kv = static_cast<int>(heads / kv_heads);
  if (heads_per_kv > AttentionTile::kMaxRows || k_dim % 16 != 0 || v_dim % 16 != 0 ||
      (op.k_cache.dtype == DType::kQ8_0 && (k_dim % 32 != 0 || v_dim % 32 != 0)) ||
      op.k_cache.dtype != op.v_cache.dtype ||
      op.q.stride[1] != k_dim * static_cast<int64_t>(sizeof(float))) {
    return Error{ErrorCode::kUnsupported,
                 "attention: " + std::to_string(heads) + " heads over " + std::to_string(kv_heads) +
                     " of sizes " + std::to_string(k_dim) + " and " + std::to_string(v_dim) +
                     " with a " + op.k_cache.describe() + " cache is not supported on the CPU"};
  }
  const int32_t* seq_start = op.seq_start.as<const int32_t>();
  const int32_t* positions = op.positions.as<const int32_t>();
  const int32_t tile_tokens = std::max(1, AttentionTile::kMaxRows / heads_per_kv);
  std::vector<TokenTile> tiles;
  for (int32_t s = 0; s + 1 < op.seq_start.dim(0); ++s) {
    for (int32_t t = seq_start[s]; t < seq_start[s + 1]; t += tile_tokens) {
      tiles.push_back({s, t, std::min(tile_tokens, seq_start[s + 1] - t)});
    }
  }
  // Late tokens have the most to read; starting with them leaves the small pieces for the end.
  std::stable_sort(tiles.begin(), tiles.end(), [&](const TokenTile& a, const TokenTile& b) {
    return positions[a.first] > positions[b.first];
  });
  const size_t scratch_bytes =
      static_cast<size_t>(attention_scratch_floats(k_dim, v_dim)) * sizeof(float);
  const int64_t num_pieces = static_cast<int64_t>(tiles.size()) * kv_heads;
  context.pool.parallel_for(num_pieces, [&](int64_t piece, int thread) {
    const TokenTile& tile = tiles[static_cast<size_t>(piece / kv_heads)];
    const int64_t kv_head = piece % kv_heads, head = kv_head * heads_per_kv;
    const auto* q = reinterpret_cast<const float*>(op.q.data + tile.first * op.q.stride[0] +
                                                   head * op.q.stride[1]);
    context.kernels.attention(AttentionTile{
        .q = q,
        .q_token_stride = op.q.stride[0] / static_cast<int64_t>(sizeof(float)),
        .num_tokens = tile.count,
        .heads_per_kv = heads_per_kv,
        .positions = positions + tile.first,
        .pages = reinterpret_cast<const int32_t*>(op.page_table.data +
                                                  tile.sequence * op.page_table.stride[0]),
        .k_cache =
            reinterpret_cast<const uint8_t*>(op.k_cache.data + kv_head * op.k_cache.stride[1]),
        .v_cache =
            reinterpret_cast<const uint8_t*>(op.v_cache.data + kv_head * op.v_cache.stride[1]),
        .k_page_stride = op.k_cache.stride[0],
        .v_page_stride = op.v_cache.stride[0],
        .k_dim = k_dim,
        .v_dim = v_dim,
        .values_in_keys = values_in_keys(op),
        .cache_type = cache_type_of(op.k_cache.dtype),
        .sinks = op.sinks.empty() ? nullptr : op.sinks.as<const float>() + head,
        .out = op.out.as<float>() + (tile.first * heads + head) * v_dim,
        .out_token_stride = heads * v_dim,
        .scale = op.scale,
        .soft_cap = op.soft_cap,
        .window = op.window,
        .split = kAttentionSplit,
        .scratch = reinterpret_cast<float*>(context.thread_scratch(thread, scratch_bytes)),
    });
  });
  return {};
}

}  // namespace realm::cpu
