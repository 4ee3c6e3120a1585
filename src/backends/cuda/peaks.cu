// What the card can do at most: how fast memory is read, how fast the matrix units multiply
// bfloat16. For `realm doctor` and `realm bench`; half a second and at most a gigabyte.
#include <algorithm>

#include "backends/cuda/async.cuh"
#include "backends/cuda/context.cuh"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/features.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {
namespace {

constexpr int kThreads = 512, kRepeats = 5;

__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* data, size_t count, uint32_t* out) {
  uint32_t seen = 0;
  const size_t step = static_cast<size_t>(gridDim.x) * kThreads;
#pragma unroll 8
  for (size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    const uint4 v = __ldcs(data + i);
    seen ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (seen == 0x12345678u) *out = seen;  // never, and the compiler does not know
}

constexpr int kProducts = 1024;  // of 64 x 256 x 16, a group of four warps
constexpr double kProductFlops = 2.0 * 64 * 256 * 16;
constexpr int kGroups = 2;

// Numbers of random mantissas: zeros would take less power, and so run faster than weights do.
struct RandomPairs {
  uint32_t state = threadIdx.x * 747796405u + 1u;

  __device__ uint32_t next() {
    state = state * 1664525u + 1013904223u;
    return 0x3f803f80u ^ (state >> 9 & 0x807f807fu);
  }
};

template <int kN>
__device__ __forceinline__ float multiply_by_wgmma() {
  extern __shared__ std::byte shared[];
  std::byte* b = shared + (1024 - shared_address(shared) % 1024) % 1024;
  RandomPairs random;
  for (int i = static_cast<int>(threadIdx.x); i < 256 * 128 / 4; i += 128 * kGroups) {
    reinterpret_cast<uint32_t*>(b)[i] = random.next();
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  uint32_t a[4];
  for (uint32_t& word : a) word = random.next();
  float sums[kN / 2] = {};
  const uint64_t descriptor = swizzled_descriptor(shared_address(b));
  for (int i = 0; i < kProducts / 4; ++i) {
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < 4; ++s) Wgmma<kN, WgmmaType::kBf16>::run(sums, a, descriptor + 2 * s);
    wgmma_commit();
    wgmma_wait<0>();
  }
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

// As many products by a warp of its own rows; the second operands stay in registers.
template <int kN>
__device__ __forceinline__ float multiply_by_mma() {
  constexpr int kTiles = 16;
  RandomPairs random;
  uint32_t a[4], b[2];
  for (uint32_t& word : a) word = random.next();
  for (uint32_t& word : b) word = random.next();
  float sums[kTiles][4] = {};
  for (int i = 0; i < kProducts * (kN / 8) / kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) mma_bf16(sums[j], a, b[0], b[1]);
  }
  float total = 0;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) total += sums[j][0] + sums[j][1] + sums[j][2] + sums[j][3];
  return total;
}

template <int kN>
__global__ void __launch_bounds__(128 * kGroups, 1) multiply_all(float* out) {
  float total;
  if constexpr (REALM_WGMMA) {
    total = multiply_by_wgmma<kN>();
  } else {
    total = multiply_by_mma<kN>();
  }
  if (total == 1.5f) *out = total;  // never, as above
}

struct Resources {
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  void* memory = nullptr;

  ~Resources() {
    cudaFree(memory);
    if (begin != nullptr) cudaEventDestroy(begin);
    if (end != nullptr) cudaEventDestroy(end);
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
};

// The shortest of some runs, in seconds.
template <typename Launch>
Result<double> fastest(const Resources& r, Launch&& launch) {
  float best = 1e9f;
  for (int i = 0; i < kRepeats; ++i) {
    TRY(check(cudaEventRecord(r.begin, r.stream), "measuring"));
    launch();
    TRY(check_launch("measuring"));
    TRY(check(cudaEventRecord(r.end, r.stream), "measuring"));
    TRY(check(cudaEventSynchronize(r.end), "measuring"));
    float ms = 0;
    TRY(check(cudaEventElapsedTime(&ms, r.begin, r.end), "measuring"));
    best = std::min(best, ms);
  }
  return best / 1e3;
}

}  // namespace

Result<DevicePeaks> measure_peaks(int device) {
  const DeviceInfo info = TRY(probe_device(device));
  const size_t bytes =
      std::min<size_t>(size_t{1} << 30, static_cast<size_t>(info.memory_free_bytes) / 4);
  Resources r;
  TRY(check(cudaStreamCreateWithFlags(&r.stream, cudaStreamNonBlocking), "a stream"));
  TRY(check(cudaEventCreate(&r.begin), "an event"));
  TRY(check(cudaEventCreate(&r.end), "an event"));
  TRY(check(cudaMalloc(&r.memory, bytes), "memory to read"));
  TRY(check(cudaMemsetAsync(r.memory, 0x5a, bytes, r.stream), "memory to read"));
  const auto blocks = static_cast<unsigned>(4 * info.num_sms);
  const double read = TRY(fastest(r, [&] {
    read_all<<<blocks, kThreads, 0, r.stream>>>(static_cast<const uint4*>(r.memory), bytes / 16,
                                                static_cast<uint32_t*>(r.memory));
  }));
  constexpr int kShared = 256 * 128 + 1024;
  const double multiply = TRY(fastest(r, [&] {
    multiply_all<256><<<static_cast<unsigned>(info.num_sms), 128 * kGroups, kShared, r.stream>>>(
        static_cast<float*>(r.memory));
  }));
  return DevicePeaks{
      .read_gb_per_s = static_cast<double>(bytes) / read / 1e9,
      .bf16_tflops = kProductFlops * kProducts * kGroups * info.num_sms / multiply / 1e12};
}

}  // namespace realm::cuda
