// Mixtures of experts: choosing, and the weighted sum. The products are in expert_matmul.cu.
#include "backends/cuda/context.cuh"

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

__device__ void soften(const float* x, float* out, int n) {
  float largest = -INFINITY, sum = 0.0f;
  for (int i = 0; i < n; ++i) largest = fmaxf(largest, x[i]);
  for (int i = 0; i < n; ++i) {
    out[i] = expf(x[i] - largest);
    sum += out[i];
  }
  for (int i = 0; i < n; ++i) out[i] /= sum;
}

// The best that is not taken, the lowest id among equals; numbers only count where all are.
__device__ int best_of(const float* choice, const bool* taken, int experts, int lane) {
  float value = -INFINITY;
  int index = 0x7fffffff;
  for (int e = lane; e < experts; e += 32) {
    if (!taken[e] && (index == 0x7fffffff || choice[e] > value)) {
      value = choice[e];
      index = e;
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, value, step);
    const int other_index = __shfl_xor_sync(0xffffffffu, index, step);
    const bool there = other_index != 0x7fffffff, mine = index != 0x7fffffff;
    if (there && (!mine || other > value || (!(value > other) && other_index < index))) {
      value = other;
      index = other_index;
    }
  }
  return index;
}

// One warp a token.
__global__ void select_experts(const Selection s) {
  extern __shared__ float shared[];
  float* scores = shared;
  float* choice = scores + s.experts;
  float* group_scores = choice + s.experts;
  bool* taken = reinterpret_cast<bool*>(group_scores + s.num_groups);
  const int64_t token = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  const auto* logits = reinterpret_cast<const float*>(s.logits + token * s.logits_stride);
  for (int e = lane; e < s.experts; e += 32) {
    const float x = logits[e];
    scores[e] = s.score == RouterScore::kSigmoid ? 1.0f / (1.0f + expf(-x)) : x;
    taken[e] = false;
  }
  __syncwarp();
  if (lane == 0 && s.score == RouterScore::kSoftmax) soften(scores, scores, s.experts);
  __syncwarp();
  for (int e = lane; e < s.experts; e += 32) {
    choice[e] = s.bias != nullptr ? scores[e] + s.bias[e] : scores[e];
  }
  __syncwarp();
  if (lane == 0 && s.num_groups_used < s.num_groups) {
    choose_groups(s, choice, group_scores, taken);
  }
  __syncwarp();
  int32_t* ids = s.ids + token * s.used;
  float* weights = s.weights + token * s.used;
  for (int j = 0; j < s.used; ++j) {
    const int best = best_of(choice, taken, s.experts, lane);
    if (lane == 0) {
      taken[best] = true;
      ids[j] = best;
      weights[j] = scores[best];
    }
    __syncwarp();
  }
  if (lane != 0) return;
  if (s.score == RouterScore::kSoftmaxOfChosen) soften(weights, weights, s.used);
  float divisor = 1.0f;
  if (s.normalize) {
    float sum = 0.0f;
    for (int j = 0; j < s.used; ++j) sum += weights[j];
    if (sum > 0.0f) divisor = sum;
  }
  for (int j = 0; j < s.used; ++j) weights[j] = weights[j] / divisor * s.scale;
}

__global__ void combine(const std::byte* x, int64_t x_stride, int64_t slot_stride, Rows weights,
                        int slots, bool accumulate, Rows out, int64_t dim) {
  const int64_t d = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (d >= dim) return;
  const int64_t token = blockIdx.x;
  const float* weight = weights.row(token);
  const std::byte* row = x + token * x_stride;
  float sum = reinterpret_cast<const float*>(row)[d] * weight[0];
  for (int j = 1; j < slots; ++j) {
    sum = fmaf(reinterpret_cast<const float*>(row + j * slot_stride)[d], weight[j], sum);
  }
  float* to = out.row(token) + d;
  *to = accumulate ? *to + sum : sum;
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
  const auto shared = static_cast<size_t>(2 * s.experts + s.num_groups) * sizeof(float) +
                      static_cast<size_t>(s.experts);
  if (shared > 48 * 1024) {
    return Error{ErrorCode::kUnsupported,
                 "select_experts: " + std::to_string(s.experts) + " experts are too many on CUDA"};
  }
  select_experts<<<static_cast<unsigned>(tokens), 32, shared, context.stream>>>(s);
  return check_launch("select_experts");
}

Status run(Context& context, const CombineExperts& op) {
  const int64_t tokens = op.x.dim(0), dim = op.x.dim(2);
  if (tokens == 0 || dim == 0) return {};
  constexpr int kThreads = 256;
  const dim3 grid(static_cast<unsigned>(tokens),
                  static_cast<unsigned>((dim + kThreads - 1) / kThreads));
  combine<<<grid, kThreads, 0, context.stream>>>(op.x.data, op.x.stride[0], op.x.stride[1],
                                                 Rows(op.weights), static_cast<int>(op.x.dim(1)),
                                                 op.accumulate, Rows(op.out), dim);
  return check_launch("combine_experts");
}

}  // namespace realm::cuda
