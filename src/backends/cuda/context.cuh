// What an op's run() works with, and the host's helpers around CUDA calls. Private to this folder.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/block_codes.cuh"
#include "base/result.h"
#include "ops/op.h"

namespace realm::cuda {

inline Status check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return {};
  const ErrorCode kind =
      code == cudaErrorMemoryAllocation ? ErrorCode::kExhausted : ErrorCode::kUnavailable;
  return Error{kind, std::string("cuda: ") + what + ": " + cudaGetErrorString(code)};
}

// After a launch: what was wrong with the launch itself.
inline Status check_launch(const char* op) {
  return check(cudaGetLastError(), op);
}

// Whether the current device lets a kernel start while the one before it still runs.
inline bool starts_early() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 9;
}

// Launches are programmatic dependents of the kernel before them where the device knows that: they
// may start while it still runs, so every kernel calls wait_for_inputs() before it touches what
// another has written, and may_start_next() as soon as its blocks are all running.
template <typename... Parameters, typename... Arguments>
Status launch(const char* what, void (*kernel)(Parameters...), dim3 grid, int threads,
              size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = starts_early() ? 1 : 0;
  return check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), what);
}

__device__ inline void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void may_start_next() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// An imported weight. `tiled` ones are rearranged for the matrix units (tiles.cuh) and padded;
// the others lie as in the file.
struct Weight {
  bool tiled = false;
  int64_t rows = 0, k = 0;
  int64_t file_bytes = 0;  // of all rows as in the file: views step through a weight by these
  // [rows], where products in FP8 may be asked for: what an element in FP8 is to be multiplied by.
  const float* row_scales = nullptr;
};

struct Located {
  const std::byte* base = nullptr;
  const Weight* weight = nullptr;  // null: no weight
  int64_t row_begin = 0;
};

// Device memory that grows to the largest op ever run. Areas that were outgrown stay until the
// end: a recorded graph may name them.
class Scratch {
 public:
  ~Scratch() {
    for (void* area : areas_) cudaFree(area);
  }
  Result<std::byte*> get(size_t bytes) {
    if (bytes > size_) {
      const size_t grown = std::max(bytes, 2 * size_);
      void* memory = nullptr;
      TRY(check(cudaMalloc(&memory, grown), "scratch memory"));
      areas_.push_back(memory);
      size_ = grown;
    }
    return static_cast<std::byte*>(areas_.back());
  }

 private:
  std::vector<void*> areas_;
  size_t size_ = 0;
};

struct DeviceInfo;
enum class Compute : uint8_t;

struct Context {
  cudaStream_t stream = nullptr;
  int num_sms = 0;
  // Whether each result is the same operations whatever else is in the batch.
  bool batch_invariant = false;
  Compute compute{};  // what products multiply
  // From the device: also what code was loaded for it.
  Status learn_device(const DeviceInfo& info, int device);
  bool has_wgmma = false;  // what was loaded is the code for sm_90a (features.cuh)
  int shared_max = 0;      // bytes of shared memory that a block can have
  int shared_per_sm = 0;
  const IqGrids* grids = nullptr;              // device memory
  std::map<const std::byte*, Weight> weights;  // by device address
  Scratch activations[2];                      // 16-bit copies of matmul inputs, in turn
  Scratch fp8_activations;                     // the same in 8 bits, and a scale for each token
  Scratch partials;                            // of split sums
  std::byte* counters = nullptr;               // zero between ops: kCounters ints
  static constexpr int kCounters = 65536;

  // Whether a product of so many tokens goes to the kernels that read weights at memory's speed,
  // and takes its activations in order (matvec.cuh), and not to those of many tokens.
  static constexpr int kFewTokens = 8;
  bool few_tokens(int64_t tokens) const { return !batch_invariant && tokens <= kFewTokens; }

  // A matmul input that the op before it has left in 16 bits already: [tokens, k_padded] in
  // activations[turn], for the MatMul whose x is `of`; or a norm left to that product.
  struct Ready {
    const std::byte* of = nullptr;
    const __nv_bfloat16* x = nullptr;
    const RmsNorm* norm = nullptr;
  } ready;
  int turn = 0;
  // Where to leave the next one.
  Result<__nv_bfloat16*> next_activations(int64_t tokens, int64_t k_padded) {
    turn ^= 1;
    return reinterpret_cast<__nv_bfloat16*>(
        TRY(activations[turn].get(static_cast<size_t>(tokens * k_padded * 2))));
  }

  // The imported weight that a view (of all its rows, or a slice of them) names.
  Located locate(const TensorView& view) const {
    const auto after = weights.upper_bound(view.data);
    if (after == weights.begin()) return {};
    const auto& [base, weight] = *std::prev(after);
    const int64_t offset = view.data - base;
    if (offset >= weight.file_bytes) return {};
    const int64_t row_bytes = weight.file_bytes / weight.rows;
    return {.base = base, .weight = &weight, .row_begin = offset / row_bytes};
  }
};

Status run(Context&, const GatherRows&);
Status run(Context&, const RmsNorm&);
Status run(Context&, const LayerNorm&);
Status run(Context&, const MatMul&);
Status run(Context&, const SelectExperts&);
Status run(Context&, const ExpertMatMul&);
Status run(Context&, const CombineExperts&);
Status run(Context&, const RopeTable&);
Status run(Context&, const Rope&);
Status run(Context&, const StoreKv&);
Status run(Context&, const Attention&);
Status run(Context&, const GatedActivation&);
Status run(Context&, const Add&);
Status run(Context&, const Scale&);
Status run(Context&, const Copy&);
Status run(Context&, const CopyPages&);
Status run(Context&, const ArgMax&);
Status run(Context&, const TopCandidates&);
Status run(Context&, const SampleTokens&);

// Runs the first ops of a list as one where that can be done, and says how many; 0: none. What only
// the ops of such a group read is then never written.
Result<size_t> run_fused(Context& context, std::span<const Op> ops);
// Attention whose output goes to the next product as its x; false where no kernel does that.
Result<bool> attend_into(Context& context, const Attention& op, __nv_bfloat16* out,
                         int64_t out_stride);

// The kernel that a product would get, for Backend::support.
std::string describe_matmul(const Context& context, const MatMul& op);

// Types whose matrices are imported in tiles.
bool has_tiles(DType type);
size_t tiled_bytes(DType type, int64_t rows, int64_t k);
// Rearranges rows [row, row + count), a multiple of 16 except at the end, from file layout.
Status make_tiles(cudaStream_t stream, DType type, const std::byte* rows_in, int64_t count,
                  int64_t k, std::byte* tiles);
Status gather_tiled(Context& context, const GatherRows& op, const Located& at);

// A strided float tensor as its rows of the innermost dimension.
struct Rows {
  std::byte* data;
  int64_t inner, inner_stride, outer_stride;

  explicit Rows(const TensorView& view) : data(view.data) {
    inner = view.rank >= 3 ? view.shape[view.rank - 2] : 1;
    inner_stride = view.rank >= 3 ? view.stride[view.rank - 2] : 0;
    outer_stride = view.rank >= 2 ? view.stride[view.rank >= 3 ? view.rank - 3 : 0] : 0;
  }
  __device__ float* row(int64_t i) const {
    return reinterpret_cast<float*>(data + i / inner * outer_stride + i % inner * inner_stride);
  }
};

}  // namespace realm::cuda
