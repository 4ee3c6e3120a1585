// Attention's division of work: tiles of tokens and heads that share the reading of one KV head,
// each one piece for the pool; where tiles are fewer than threads can use (a long decode), the
// splits of their positions are pieces too, merged in order afterwards. Which way is taken changes
// no bit.
#include <algorithm>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "formats/quant/f8_e4m3.h"

namespace realm::cpu {
namespace {

CacheType cache_type_of(DType dtype) {
  if (dtype == DType::kF16) return CacheType::kF16;
  if (dtype == DType::kBF16) return CacheType::kBF16;
  if (dtype == DType::kQ8_0) return CacheType::kQ8_0;
  return dtype == kF8E4M3 ? CacheType::kE4M3 : CacheType::kF32;
}

// Consecutive tokens of one sequence and heads of one KV head.
struct Piece {
  int32_t sequence, first_token, num_tokens;
  int32_t kv_head, first_head, num_heads;
  int32_t first_split, num_splits;
  size_t state = 0;  // floats from the beginning of the shared states, where splits are pieces
};

class Plan {
 public:
  Plan(const Attention& op, const AttentionKernels& kernels) : op_(op), kernels_(kernels) {
    const int32_t heads_per_kv = static_cast<int32_t>(op.q.dim(1) / op.k_cache.dim(1));
    const int64_t rows = kernels.tile_rows(op.q.dim(2), op.v_cache.dim(3));
    const int32_t chunks = static_cast<int32_t>((heads_per_kv + rows - 1) / rows);
    const int32_t chunk_heads = (heads_per_kv + chunks - 1) / chunks;
    const int32_t tokens = std::max(1, static_cast<int32_t>(rows) / chunk_heads);
    const int32_t* seq_start = op.seq_start.as<const int32_t>();
    for (int32_t s = 0; s + 1 < op.seq_start.dim(0); ++s) {
      for (int32_t t = seq_start[s]; t < seq_start[s + 1]; t += tokens) {
        const int32_t count = std::min(tokens, seq_start[s + 1] - t);
        for (int32_t h = 0; h < heads_per_kv; h += chunk_heads) {
          add_tile(s, t, count, h, std::min(chunk_heads, heads_per_kv - h));
        }
      }
    }
    // Late tokens have the most to read; starting with them leaves the small pieces for the end.
    std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
      return a.num_splits * int64_t{a.num_tokens} > b.num_splits * int64_t{b.num_tokens};
    });
  }

  AttentionTile tile(const Piece& piece) const {
    const int64_t heads = op_.q.dim(1);
    const int64_t head = piece.kv_head * (heads / op_.k_cache.dim(1)) + piece.first_head;
    const auto bytes = [](const TensorView& cache, int64_t kv_head) {
      return reinterpret_cast<const uint8_t*>(cache.data + kv_head * cache.stride[1]);
    };
    const auto by_head = [head](const TensorView& view) {
      return view.empty() ? nullptr : view.as<const float>() + head;
    };
    constexpr int64_t kFloat = sizeof(float);
    const int64_t v_dim = op_.v_cache.dim(3);
    const bool capped = op_.soft_cap > 0.0f;
    return AttentionTile{
        .q = reinterpret_cast<const float*>(op_.q.data + piece.first_token * op_.q.stride[0] +
                                            head * op_.q.stride[1]),
        .q_token_stride = op_.q.stride[0] / kFloat,
        .q_head_stride = op_.q.stride[1] / kFloat,
        .num_tokens = piece.num_tokens,
        .num_heads = piece.num_heads,
        .positions = op_.positions.as<const int32_t>() + piece.first_token,
        .oldest = op_.oldest.empty() ? nullptr : op_.oldest.as<const int32_t>() + piece.first_token,
        .pages = reinterpret_cast<const int32_t*>(op_.page_table.data +
                                                  piece.sequence * op_.page_table.stride[0]),
        .k_cache = bytes(op_.k_cache, piece.kv_head),
        .v_cache = bytes(op_.v_cache, piece.kv_head),
        .k_page_stride = op_.k_cache.stride[0],
        .k_row_stride = op_.k_cache.stride[2],
        .v_page_stride = op_.v_cache.stride[0],
        .v_row_stride = op_.v_cache.stride[2],
        .k_dim = op_.q.dim(2),
        .v_dim = v_dim,
        .cache_type = cache_type_of(op_.k_cache.dtype),
        .sinks = by_head(op_.sinks),
        .slopes = by_head(op_.slopes),
        .out = op_.out.as<float>() + (piece.first_token * heads + head) * v_dim,
        .out_token_stride = heads * v_dim,
        .scale = capped ? op_.scale / op_.soft_cap : op_.scale * kLog2E,
        .cap = capped ? op_.soft_cap * kLog2E : 0.0f,
        .window = op_.window,
        .split_positions = kAttentionSplit,
    };
  }

  int64_t state_floats(const Piece& piece) const {
    return aligned(kernels_.state_floats(rows(piece), op_.v_cache.dim(3)));
  }
  int64_t scratch_floats(const Piece& piece) const {
    return aligned(kernels_.scratch_floats(rows(piece), op_.q.dim(2), op_.v_cache.dim(3)));
  }

  std::vector<Piece> pieces;

 private:
  static int64_t rows(const Piece& piece) { return int64_t{piece.num_tokens} * piece.num_heads; }
  // Floats up to the next multiple of 64 bytes.
  static int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

  void add_tile(int32_t sequence, int32_t token, int32_t count, int32_t head, int32_t num_heads) {
    const int32_t* positions = op_.positions.as<const int32_t>() + token;
    int64_t oldest = op_.window > 0 ? std::max<int64_t>(0, positions[0] - op_.window + 1) : 0;
    if (!op_.oldest.empty()) oldest = op_.oldest.as<const int32_t>()[token];
    const auto first = static_cast<int32_t>(oldest / kAttentionSplit);
    const auto last = static_cast<int32_t>(positions[count - 1] / kAttentionSplit);
    for (int32_t kv = 0; kv < op_.k_cache.dim(1); ++kv) {
      pieces.push_back({.sequence = sequence,
                        .first_token = token,
                        .num_tokens = count,
                        .kv_head = kv,
                        .first_head = head,
                        .num_heads = num_heads,
                        .first_split = first,
                        .num_splits = last - first + 1});
    }
  }

  const Attention& op_;
  const AttentionKernels& kernels_;
};

// Every tile by one thread, from its first split to its output.
void run_tiles(Context& context, const AttentionKernels& kernels, const Plan& plan) {
  context.pool.parallel_for(static_cast<int64_t>(plan.pieces.size()), [&](int64_t i, int thread) {
    const Piece& piece = plan.pieces[static_cast<size_t>(i)];
    const AttentionTile tile = plan.tile(piece);
    const int64_t scratch = plan.scratch_floats(piece), state = plan.state_floats(piece);
    auto* memory = reinterpret_cast<float*>(
        context.thread_scratch(thread, static_cast<size_t>(scratch + 2 * state) * sizeof(float)));
    float* total = memory + scratch;
    kernels.split(tile, piece.first_split, memory, total);
    for (int32_t s = 1; s < piece.num_splits; ++s) {
      kernels.split(tile, piece.first_split + s, memory, total + state);
      kernels.merge(tile, total + state, total);
    }
    kernels.finish(tile, total);
  });
}

// Every split of every tile by whichever thread is free, then the merging.
void run_splits(Context& context, const AttentionKernels& kernels, Plan& plan) {
  struct Part {
    uint32_t piece;
    int32_t split;
  };
  std::vector<Part> parts;
  size_t floats = 0;
  for (size_t i = 0; i < plan.pieces.size(); ++i) {
    Piece& piece = plan.pieces[i];
    piece.state = floats;
    floats += static_cast<size_t>(plan.state_floats(piece) * piece.num_splits);
    for (int32_t s = 0; s < piece.num_splits; ++s) parts.push_back({static_cast<uint32_t>(i), s});
  }
  auto* states = reinterpret_cast<float*>(context.shared_scratch(floats * sizeof(float)));
  context.pool.parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i, int thread) {
    const Part part = parts[static_cast<size_t>(i)];
    const Piece& piece = plan.pieces[part.piece];
    auto* scratch = reinterpret_cast<float*>(context.thread_scratch(
        thread, static_cast<size_t>(plan.scratch_floats(piece)) * sizeof(float)));
    kernels.split(plan.tile(piece), piece.first_split + part.split, scratch,
                  states + piece.state + part.split * plan.state_floats(piece));
  });
  context.pool.parallel_for(static_cast<int64_t>(plan.pieces.size()), [&](int64_t i, int) {
    const Piece& piece = plan.pieces[static_cast<size_t>(i)];
    const AttentionTile tile = plan.tile(piece);
    float* total = states + piece.state;
    for (int32_t s = 1; s < piece.num_splits; ++s) {
      kernels.merge(tile, total + s * plan.state_floats(piece), total);
    }
    kernels.finish(tile, total);
  });
}

}  // namespace

Status run(Context& context, const Attention& op) {
  const bool many_heads =
      attention_has_many_heads(op.q.dim(1) / op.k_cache.dim(1), op.q.dim(2), op.v_cache.dim(3));
  const AttentionKernels& kernels =
      many_heads ? context.kernels.attention_many_heads : context.kernels.attention;
  Plan plan(op, kernels);
  int64_t most_splits = 0;
  for (const Piece& piece : plan.pieces) {
    most_splits = std::max<int64_t>(most_splits, piece.num_splits);
  }
  const int64_t threads = context.pool.num_threads();
  const bool few = static_cast<int64_t>(plan.pieces.size()) < 8 * threads;
  if (threads > 1 && few && most_splits > 1) {
    run_splits(context, kernels, plan);
  } else {
    run_tiles(context, kernels, plan);
  }
  return {};
}

}  // namespace realm::cpu
