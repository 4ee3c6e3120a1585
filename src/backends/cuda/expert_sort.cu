// Brings the rows of one expert together: sorts a step's pairs by expert, on the device and without
// a word to the host, and gathers their activations.
#include "backends/cuda/experts.cuh"

namespace realm::cuda {
namespace {

constexpr int kSortThreads = 1024, kGatherThreads = 256;

// The sum of `value` over threads before this one; `total`: over all.
__device__ int sum_before(int value, int* warp_sums, int& total) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int sum = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();
  int before = sum - value;
  total = 0;
  for (int w = 0; w < kSortThreads / 32; ++w) {
    if (w < warp) before += warp_sums[w];
    total += warp_sums[w];
  }
  return before;
}

// A block counts the experts of kSortThreads pairs and takes places for them among those of all
// blocks; the last to come lays out the experts. In which order an expert's pairs come does not
// change their sums. `counts` [experts] and `done` are zero before and after.
__global__ void __launch_bounds__(kSortThreads)
    sort(const ExpertProduct p, const ExpertLists lists, int n, int* counts, int* done) {
  extern __shared__ int own[];  // of experts: how many here; then where they begin
  __shared__ int warp_sums[kSortThreads / 32];
  __shared__ bool is_last;
  may_start_next();
  for (int e = static_cast<int>(threadIdx.x); e < p.experts; e += kSortThreads) own[e] = 0;
  __syncthreads();
  wait_for_inputs();
  const int pair = static_cast<int>(blockIdx.x) * kSortThreads + static_cast<int>(threadIdx.x);
  const bool there = pair < p.pairs();
  const int expert = there ? p.expert_of(pair) : 0;
  const int rank = there ? atomicAdd(own + expert, 1) : 0;
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < p.experts; e += kSortThreads) {
    if (own[e] > 0) own[e] = atomicAdd(counts + e, own[e]);
  }
  __syncthreads();
  if (there) lists.ranks[pair] = own[expert] + rank;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(done, 1) == static_cast<int>(gridDim.x) - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  int first_place = 0, first_tile = 0;
  for (int base = 0; base < p.experts; base += kSortThreads) {
    const int e = base + static_cast<int>(threadIdx.x);
    const int count = e < p.experts ? __ldcg(counts + e) : 0, num_tiles = (count + n - 1) / n;
    int total_places = 0, total_tiles = 0;
    const int place = first_place + sum_before(count, warp_sums, total_places);
    const int tile = first_tile + sum_before(num_tiles, warp_sums, total_tiles);
    if (e < p.experts) {
      counts[e] = 0;
      lists.offsets[e] = place;
      for (int i = 0; i < num_tiles; ++i) {
        lists.tiles[tile + i] = make_int4(e, tile, num_tiles, place);
      }
    }
    first_place += total_places;
    first_tile += total_tiles;
  }
  if (threadIdx.x == 0) {
    lists.offsets[p.experts] = p.pairs();
    *lists.num_tiles = first_tile;
    *done = 0;
  }
}

// A block has some columns of one row of the result, a thread eight of them: in permuted order
// those at place 16 s + 8 h are columns 4 s + 2 h + {0, 1} of each run of 32 of a unit.
__global__ void __launch_bounds__(kGatherThreads)
    gather(const ExpertProduct p, const ExpertLists lists, bool sorts, __nv_bfloat16* out) {
  may_start_next();
  wait_for_inputs();
  const auto index = static_cast<int>(blockIdx.x);
  const int pair = sorts || p.x_of_pairs ? index : index * p.slots;
  const int64_t row = sorts ? lists.offsets[p.expert_of(pair)] + lists.ranks[pair] : index;
  const float* from = p.x_row(pair);
  const int piece = static_cast<int>(blockIdx.y) * kGatherThreads + static_cast<int>(threadIdx.x);
  const int64_t place = 8 * static_cast<int64_t>(piece);
  if (place < p.k_padded) {
    const int64_t unit = place / kUnitColumns * kUnitColumns;
    uint32_t words[4];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const int64_t column =
          sorts ? unit + 32 * t + 4 * (piece % 16 / 2) + 2 * (piece % 2) : place + 2 * t;
      words[t] =
          pack_pair(column < p.k ? from[column] : 0.0f, column + 1 < p.k ? from[column + 1] : 0.0f);
    }
    *reinterpret_cast<uint4*>(out + row * p.k_padded + place) = {words[0], words[1], words[2],
                                                                 words[3]};
  }
  if (!sorts || blockIdx.y > 0) return;
  if (threadIdx.x == 0) lists.order[row] = pair;
  if (!p.is_gated) return;
  for (int64_t column = p.weight.rows + static_cast<int64_t>(threadIdx.x); column < p.gated_stride;
       column += kGatherThreads) {
    p.gated_out[row * p.gated_stride + permuted_place(column)] = __float2bfloat16_rn(0.0f);
  }
}

}  // namespace

Result<ExpertLists> sort_pairs(Context& context, const ExpertProduct& p, int n) {
  const auto shared = static_cast<size_t>(p.experts) * sizeof(int);
  if (shared > 40 * 1024) {
    return Error{ErrorCode::kUnsupported,
                 "expert_matmul: " + std::to_string(p.experts) + " experts are too many on CUDA"};
  }
  const auto tiles = static_cast<size_t>(most_expert_tiles(p, n));
  const auto pairs = static_cast<size_t>(p.pairs()), experts = static_cast<size_t>(p.experts);
  std::byte* memory =
      TRY(context.partials.get(tiles * sizeof(int4) + (2 * pairs + experts + 2) * sizeof(int)));
  ExpertLists lists{};
  lists.tiles = reinterpret_cast<int4*>(memory);
  lists.order = reinterpret_cast<int*>(lists.tiles + tiles);
  lists.ranks = lists.order + pairs;
  lists.offsets = lists.ranks + pairs;
  lists.num_tiles = lists.offsets + experts + 1;
  auto* counts = reinterpret_cast<int*>(context.counters);
  const auto grid = static_cast<unsigned>((pairs + kSortThreads - 1) / kSortThreads);
  TRY(launch("expert_matmul: sorting", sort, grid, kSortThreads, shared, context.stream, p, lists,
             n, counts, counts + p.experts));
  return lists;
}

Result<const __nv_bfloat16*> gather_pairs(Context& context, const ExpertProduct& p,
                                          const ExpertLists* lists) {
  const int64_t rows = lists != nullptr || p.x_of_pairs ? p.pairs() : p.tokens;
  __nv_bfloat16* out = TRY(context.next_activations(rows, p.k_padded));
  const dim3 grid(static_cast<unsigned>(rows),
                  static_cast<unsigned>((p.k_padded / 8 + kGatherThreads - 1) / kGatherThreads));
  TRY(launch("expert_matmul: gathering", gather, grid, kGatherThreads, 0, context.stream, p,
             lists != nullptr ? *lists : ExpertLists{}, lists != nullptr, out));
  return static_cast<const __nv_bfloat16*>(out);
}

}  // namespace realm::cuda
