// The best of each row of logits, its softmax's sum and one draw from it: a block a row, which it
// reads three times, from the second on out of the L2 cache. What bounds the best from below is the
// k-th largest of the threads' maxima: k values reach it, and seldom many more, so that all which
// do fit in shared memory and are sorted there. Limited by latency for few rows, by reading for
// many.
#include <climits>

#include "backends/cuda/context.cuh"
#include "backends/cuda/ordered_keys.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32, kCapacity = 2048;
constexpr int kMost = static_cast<int>(TopCandidates::kMost);

__device__ double warp_sum_double(double value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

struct Shared {
  uint32_t maxima[kThreads];
  uint64_t found[kCapacity];
  double sums[kWarps], scaled_sums[kWarps], run_sums[kWarps];
  int warp_counts[kWarps];
  int num_found;
  int drawn, last;
};

struct Row {
  const float* x;
  int n;

  // Each warp's part of the row, a whole run of it.
  __device__ int run() const { return ((n + kWarps - 1) / kWarps + 31) / 32 * 32; }

  __device__ int count_from(Shared& s, uint32_t least) const {
    int count = 0;
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
      count += key_of(x[i]) >= least ? 1 : 0;
    }
    count = __reduce_add_sync(0xffffffffu, count);
    __syncthreads();
    if (threadIdx.x % 32 == 0) s.warp_counts[threadIdx.x / 32] = count;
    __syncthreads();
    int total = 0;
    for (int w = 0; w < kWarps; ++w) total += s.warp_counts[w];
    return total;
  }

  __device__ void collect(Shared& s, uint32_t least) const {
    if (threadIdx.x == 0) s.num_found = 0;
    __syncthreads();
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
      const uint32_t key = key_of(x[i]);
      if (key < least) continue;
      const int place = atomicAdd(&s.num_found, 1);
      // The lower index is the larger key of equal values.
      if (place < kCapacity) s.found[place] = (uint64_t{key} << 32) | ~static_cast<uint32_t>(i);
    }
    __syncthreads();
  }

  // Where too many reach `least`, most of them equal: the k-th largest by halving, those above it,
  // and of those equal to it the first.
  __device__ void collect_few(Shared& s, uint32_t least, uint32_t most, int k) const {
    uint32_t low = least, high = most;  // count(low) >= k; count(high + 1) == 0
    while (low < high) {
      const uint32_t middle = high - (high - low) / 2;
      if (count_from(s, middle) >= k) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    if (low < most) {
      collect(s, low + 1);
    } else {
      __syncthreads();
      if (threadIdx.x == 0) s.num_found = 0;
      __syncthreads();
    }
    if (threadIdx.x < 32) {
      int have = s.num_found;
      __syncwarp();
      for (int base = 0; base < n && have < k; base += 32) {
        const int i = base + static_cast<int>(threadIdx.x);
        const bool equal = i < n && key_of(x[i]) == low;
        const uint32_t all = __ballot_sync(0xffffffffu, equal);
        const int place = have + __popc(all & ((1u << threadIdx.x) - 1));
        if (equal && place < k) s.found[place] = (uint64_t{low} << 32) | ~static_cast<uint32_t>(i);
        have += __popc(all);
      }
      if (threadIdx.x == 0) s.num_found = min(have, k);
    }
    __syncthreads();
  }
};

__device__ float weight_of(float x, float largest, float scale) {
  return __expf((x - largest) * scale);
}

// The index that the share falls on: first the warp's run, then a few values a thread.
__device__ int draw(Shared& s, const Row& row, float largest, float scale, float share) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  constexpr int kEach = 4;
  double total = 0;
  for (int w = 0; w < kWarps; ++w) total += s.scaled_sums[w];
  double left = share * total;
  int run = 0;
  while (run + 1 < kWarps && left >= s.scaled_sums[run]) left -= s.scaled_sums[run++];
  while (run > 0 && s.scaled_sums[run] == 0.0) --run;
  const int begin = run * row.run(), end = min(begin + row.run(), row.n);
  if (thread == 0) {
    s.drawn = INT_MAX;
    s.last = begin;  // with any weight: rounding may carry the search past it
  }
  for (int base = begin; base < end; base += kEach * kThreads) {
    const int at = base + kEach * thread;
    float weights[kEach];
    double own = 0;
    int last = -1;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      weights[i] = at + i < end ? weight_of(row.x[at + i], largest, scale) : 0.0f;
      own += weights[i];
      if (weights[i] > 0.0f) last = at + i;
    }
    double up_to = own;  // of the warp, and including this thread's
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const double before = __shfl_up_sync(0xffffffffu, up_to, step);
      if (lane >= step) up_to += before;
    }
    last = __reduce_max_sync(0xffffffffu, last);
    __syncthreads();
    if (lane == 31) {
      s.run_sums[warp] = up_to;
      atomicMax(&s.last, last);
    }
    __syncthreads();
    double passed = up_to - own, all = 0;
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) passed += s.run_sums[w];
      all += s.run_sums[w];
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      passed += weights[i];
      if (weights[i] > 0.0f && left < passed) {
        atomicMin(&s.drawn, at + i);
        break;
      }
    }
    __syncthreads();
    if (s.drawn != INT_MAX) return s.drawn;
    left -= all;
  }
  return s.last;
}

struct Out {
  float *values, *sums;
  int32_t* tokens;
  int64_t values_stride, sums_stride, tokens_stride;  // elements
};

__global__ void __launch_bounds__(kThreads)
    top_candidates(Rows x, int n, int k, Rows draws, const Out out) {
  __shared__ Shared s;
  may_start_next();
  wait_for_inputs();
  const Row row{x.row(blockIdx.x), n};
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  int32_t* tokens = out.tokens + blockIdx.x * out.tokens_stride;
  float* values = out.values + blockIdx.x * out.values_stride;
  float* sums = out.sums + blockIdx.x * out.sums_stride;

  float mine = -INFINITY;
  bool finite = true;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
    const float value = row.x[i];
    mine = fmaxf(mine, value);
    finite = finite && isfinite(value);
  }
  s.maxima[threadIdx.x] = key_of(mine);
  if (__syncthreads_and(finite) == 0) {
    for (int i = static_cast<int>(threadIdx.x); i <= k; i += kThreads) tokens[i] = -1;
    for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) values[i] = 0.0f;
    if (threadIdx.x < 2) sums[threadIdx.x] = 0.0f;
    return;
  }
  sort_descending<kThreads>(s.maxima, kThreads);
  const uint32_t most = s.maxima[0];
  const float largest = value_of(most), scale = draws.row(blockIdx.x)[0];

  float sum = 0.0f, scaled_sum = 0.0f;
  const int begin = warp * row.run(), end = min(begin + row.run(), n);
#pragma unroll 8
  for (int i = begin + lane; i < end; i += 32) {
    const float value = row.x[i];
    sum += weight_of(value, largest, 1.0f);
    if (scale != 1.0f) scaled_sum += weight_of(value, largest, scale);
  }
  if (scale == 1.0f) scaled_sum = sum;
  const double warp_total = warp_sum_double(sum), warp_scaled = warp_sum_double(scaled_sum);
  if (lane == 0) {
    s.sums[warp] = warp_total;
    s.scaled_sums[warp] = warp_scaled;
  }
  row.collect(s, s.maxima[k - 1]);
  if (s.num_found > kCapacity) row.collect_few(s, s.maxima[k - 1], most, k);

  const int count = s.num_found;
  int padded = 2;
  while (padded < count) padded *= 2;
  for (int i = count + static_cast<int>(threadIdx.x); i < padded; i += kThreads) s.found[i] = 0;
  sort_descending<kThreads>(s.found, padded);
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
    tokens[1 + i] = static_cast<int32_t>(~static_cast<uint32_t>(s.found[i]));
    values[i] = value_of(static_cast<uint32_t>(s.found[i] >> 32));
  }
  const int drawn = draw(s, row, largest, scale, draws.row(blockIdx.x)[1]);
  if (threadIdx.x != 0) return;
  double total = 0;
  for (int w = 0; w < kWarps; ++w) total += s.sums[w];
  tokens[0] = drawn;
  sums[0] = static_cast<float>(total);
  sums[1] = row.x[drawn];
}

}  // namespace

Status run(Context& context, const TopCandidates& op) {
  if (op.x.dim(0) == 0) return {};
  const Out out{.values = op.values.as<float>(),
                .sums = op.sums.as<float>(),
                .tokens = op.tokens.as<int32_t>(),
                .values_stride = op.values.stride[0] / 4,
                .sums_stride = op.sums.stride[0] / 4,
                .tokens_stride = op.tokens.stride[0] / 4};
  static_assert(kMost <= kThreads);
  return launch("top_candidates", top_candidates, static_cast<unsigned>(op.x.dim(0)), kThreads, 0,
                context.stream, Rows(op.x), static_cast<int>(op.x.dim(1)),
                static_cast<int>(op.values.dim(1)), Rows(op.draws), out);
}

}  // namespace realm::cuda
