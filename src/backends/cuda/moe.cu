// Mixtures of experts: choosing, and the weighted sum. The products are in expert_matmul.cu.
#include "backends/cuda/context.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

struct Selection {
  const std::byte* logits;
  int64_t logits_stride;  // bytes
  const float* bias;      // or null
  int32_t* ids;
  float* weights;
  int experts, used, num_groups, num_groups_used;
  RouterScore score;
  GroupScore group_score;
  bool normalize;
  float scale;
};

// Keeps the experts of the best groups; those of the others become `taken`. One thread.
__device__ void choose_groups(const Selection& s, const float* choice, float* group_scores,
                              bool* taken) {
  const int size = s.experts / s.num_groups;
  for (int g = 0; g < s.num_groups; ++g) {
    const float* c = choice + g * size;
    float first = c[0], second = -INFINITY;
    for (int i = 1; i < size; ++i) {
      if (c[i] > first) {
        second = first;
        first = c[i];
      } else if (c[i] > second) {
        second = c[i];
      }
    }
    const bool sum = s.group_score == GroupScore::kSumOfTopTwo && size > 1;
    group_scores[g] = sum ? first + second : first;
  }
  for (int e = 0; e < s.experts; ++e) taken[e] = true;
  for (int n = 0; n < s.num_groups_used; ++n) {
    int best = -1;
    for (int g = 0; g < s.num_groups; ++g) {
      if (taken[g * size] && (best < 0 || group_scores[g] > group_scores[best])) best = g;
    }
    for (int i = 0; i < size; ++i) taken[best * size + i] = false;
  }
}

// Softmax by one warp; x and out may be the same.
__device__ void soften(const float* x, float* out, int n, int lane) {
  float largest = -INFINITY, sum = 0.0f;
  for (int i = lane; i < n; i += 32) largest = fmaxf(largest, x[i]);
  largest = warp_max(largest);
  for (int i = lane; i < n; i += 32) {
    const float e = expf(x[i] - largest);
    out[i] = e;
    sum += e;
  }
  sum = warp_sum(sum);
  for (int i = lane; i < n; i += 32) out[i] /= sum;
}

// Larger for larger floats, above 1; 1 for what is no number.
__device__ uint32_t key_of(float x) {
  if (isnan(x)) return 1;
  const uint32_t bits = __float_as_uint(x + 0.0f);  // both zeros are one
  return max((bits >> 31) != 0 ? ~bits : bits | 0x80000000u, 2u);
}

// A lane's best of its experts lane, lane + 32, ...; keys of 0 are taken.
struct LaneBest {
  uint32_t key;
  int expert;
  __device__ void find(const uint32_t* keys, int experts, int lane) {
    key = 0;
    expert = lane;
    for (int e = lane; e < experts; e += 32) {
      if (keys[e] > key) {
        key = keys[e];
        expert = e;
      }
    }
  }
};

// One warp a token.
__global__ void select_experts(const Selection s) {
  extern __shared__ float shared[];
  float* scores = shared;
  float* choice = scores + s.experts;
  float* group_scores = choice + s.experts;
  float* weights = group_scores + s.num_groups;  // of the chosen
  auto* keys = reinterpret_cast<uint32_t*>(weights + s.used);
  bool* taken = reinterpret_cast<bool*>(keys + s.experts);
  const int64_t token = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  const auto* logits = reinterpret_cast<const float*>(s.logits + token * s.logits_stride);
  may_start_next();
  wait_for_inputs();
  for (int e = lane; e < s.experts; e += 32) {
    const float x = logits[e];
    scores[e] = s.score == RouterScore::kSigmoid ? 1.0f / (1.0f + expf(-x)) : x;
  }
  __syncwarp();
  if (s.score == RouterScore::kSoftmax) soften(scores, scores, s.experts, lane);
  __syncwarp();
  for (int e = lane; e < s.experts; e += 32) {
    choice[e] = s.bias != nullptr ? scores[e] + s.bias[e] : scores[e];
    keys[e] = key_of(choice[e]);
  }
  __syncwarp();
  if (s.num_groups_used < s.num_groups) {
    if (lane == 0) choose_groups(s, choice, group_scores, taken);
    __syncwarp();
    for (int e = lane; e < s.experts; e += 32) {
      if (taken[e]) keys[e] = 0;
    }
  }
  LaneBest mine;
  mine.find(keys, s.experts, lane);
  int32_t* ids = s.ids + token * s.used;
  for (int j = 0; j < s.used; ++j) {
    const uint32_t best = __reduce_max_sync(0xffffffffu, mine.key);
    const int expert = __reduce_min_sync(0xffffffffu, mine.key == best ? mine.expert : 0x7fffffff);
    if (mine.key == best && mine.expert == expert) {
      keys[expert] = 0;
      mine.find(keys, s.experts, lane);
      ids[j] = expert;
      weights[j] = scores[expert];
    }
  }
  __syncwarp();
  if (s.score == RouterScore::kSoftmaxOfChosen) soften(weights, weights, s.used, lane);
  float divisor = 1.0f;
  if (s.normalize) {
    float sum = 0.0f;
    for (int j = lane; j < s.used; j += 32) sum += weights[j];
    sum = warp_sum(sum);
    if (sum > 0.0f) divisor = sum;
  }
  for (int j = lane; j < s.used; j += 32) {
    s.weights[token * s.used + j] = weights[j] / divisor * s.scale;
  }
}

constexpr int kCombineThreads = 128;

// A thread has kColumns columns of a token, in the order of arithmetic that the op defines.
template <int kColumns>
__global__ void __launch_bounds__(kCombineThreads)
    combine(const std::byte* x, int64_t x_stride, int64_t slot_stride, Rows weights, int slots,
            bool accumulate, Rows out, int64_t dim) {
  using Piece = std::conditional_t<kColumns == 4, float4, float>;
  may_start_next();
  wait_for_inputs();
  const int64_t d = kColumns * (static_cast<int64_t>(blockIdx.y) * kCombineThreads + threadIdx.x);
  if (d >= dim) return;
  const int64_t token = blockIdx.x;
  const float* weight = weights.row(token);
  const std::byte* row = x + token * x_stride + d * static_cast<int64_t>(sizeof(float));
  alignas(Piece) float sums[kColumns], values[kColumns];
  *reinterpret_cast<Piece*>(values) = *reinterpret_cast<const Piece*>(row);
#pragma unroll
  for (int i = 0; i < kColumns; ++i) sums[i] = values[i] * weight[0];
#pragma unroll 4
  for (int j = 1; j < slots; ++j) {
    *reinterpret_cast<Piece*>(values) = *reinterpret_cast<const Piece*>(row + j * slot_stride);
    const float w = weight[j];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) sums[i] = fmaf(values[i], w, sums[i]);
  }
  auto* to = reinterpret_cast<Piece*>(out.row(token) + d);
  if (accumulate) {
    *reinterpret_cast<Piece*>(values) = *to;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) sums[i] = values[i] + sums[i];
  }
  *to = *reinterpret_cast<const Piece*>(sums);
}

bool rows_of_16_bytes(const TensorView& view) {
  if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0) return false;
  for (int i = 0; i + 1 < view.rank; ++i) {
    if (view.stride[i] % 16 != 0) return false;
  }
  return true;
}

}  // namespace

Status run(Context& context, const SelectExperts& op) {
  const int64_t tokens = op.logits.dim(0);
  if (tokens == 0) return {};
  const Selection s{.logits = op.logits.data,
                    .logits_stride = op.logits.stride[0],
                    .bias = op.bias.empty() ? nullptr : op.bias.as<const float>(),
                    .ids = op.ids.as<int32_t>(),
                    .weights = op.weights.as<float>(),
                    .experts = static_cast<int>(op.logits.dim(1)),
                    .used = static_cast<int>(op.ids.dim(1)),
                    .num_groups = static_cast<int>(op.num_groups),
                    .num_groups_used = static_cast<int>(op.num_groups_used),
                    .score = op.score,
                    .group_score = op.group_score,
                    .normalize = op.normalize,
                    .scale = op.scale};
  const auto shared = static_cast<size_t>(3 * s.experts + s.num_groups + s.used) * sizeof(float) +
                      static_cast<size_t>(s.experts);
  if (shared > 48 * 1024) {
    return Error{ErrorCode::kUnsupported,
                 "select_experts: " + std::to_string(s.experts) + " experts are too many on CUDA"};
  }
  return launch("select_experts", select_experts, static_cast<unsigned>(tokens), 32, shared,
                context.stream, s);
}

Status run(Context& context, const CombineExperts& op) {
  const int64_t tokens = op.x.dim(0), dim = op.x.dim(2);
  if (tokens == 0 || dim == 0) return {};
  const bool wide = dim % 4 == 0 && rows_of_16_bytes(op.x) && rows_of_16_bytes(op.out);
  const int64_t of_block = kCombineThreads * (wide ? 4 : 1);
  const dim3 grid(static_cast<unsigned>(tokens),
                  static_cast<unsigned>((dim + of_block - 1) / of_block));
  return launch("combine_experts", wide ? combine<4> : combine<1>, grid, kCombineThreads, 0,
                context.stream, op.x.data, op.x.stride[0], op.x.stride[1], Rows(op.weights),
                static_cast<int>(op.x.dim(1)), op.accumulate, Rows(op.out), dim);
}

}  // namespace realm::cuda
