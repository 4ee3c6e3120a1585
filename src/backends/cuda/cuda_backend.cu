// Memory, transfers and the order of things; the ops are in a file each.
#include <algorithm>
#include <cstring>
#include <memory>

#include "backends/cuda/context.cuh"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/ranges.cuh"
#include "base/thread_pool.h"
#include "formats/quant/quant_table.h"

namespace realm::cuda {

struct CudaBackend::Impl {
  CudaOptions options;
  DeviceInfo info;
  Context context;
  void* grids = nullptr;
  std::vector<void*> weight_memory;
  // Pinned memory through which transfers go. Small uploads take their turn in a ring, so that the
  // host does not wait for the device to have read the one before.
  std::byte* ring = nullptr;
  size_t ring_used = 0;
  std::byte* landing = nullptr;
  size_t landing_size = 0;
  std::byte* chunk[2] = {};
  std::byte* chunk_device[2] = {};
  cudaEvent_t chunk_free[2] = {};
  std::unique_ptr<ThreadPool> copiers;
  // The first device fault; nothing works after it.
  Status fault;

  ~Impl();
  Status init();
  Status note(Status status) {
    if (!status.ok() && status.error().code == ErrorCode::kUnavailable && fault.ok()) {
      fault = status;
    }
    return status;
  }
  void copy_mapped(std::byte* to, const std::byte* from, size_t size);
  Status upload_chunks(const TensorView& host, int64_t bytes, int64_t chunk_rows, std::byte* to,
                       bool tiled);
  Status upload_experts(const TensorView& host, int64_t bytes, size_t tiled_size, std::byte* to);
  Status run_ops(std::span<const Op> ops, bool fuse);
};

namespace {

constexpr size_t kRingBytes = size_t{16} << 20;
constexpr size_t kChunkBytes = size_t{32} << 20;

Result<void*> device_memory(size_t bytes, const char* what) {
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    return Error{ErrorCode::kExhausted, "the GPU has " + std::to_string(free_bytes >> 20) +
                                            " MiB free and " + std::string(what) + " needs " +
                                            std::to_string((bytes >> 20) + 1)};
  }
  TRY(check(code, what));
  return memory;
}

// For sums that products and attention split among blocks, of which there are no more than
// multiprocessors then: a product's block leaves 128 KiB at most. Taken beforehand, since which
// steps split most cannot be told from their size.
constexpr size_t kPartialsBytesPerSm = size_t{256} << 10;

// A program that the device replays: recorded the second time it runs, when everything that its
// ops need has been allocated. Where there is no memory for the recording, it runs op by op.
class RecordedProgram final : public PreparedProgram {
 public:
  RecordedProgram(CudaBackend::Impl& impl, std::span<const Op> ops)
      : impl_(impl), ops_(ops.begin(), ops.end()) {}
  ~RecordedProgram() override {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  }

  Status run() override {
    TRY(impl_.fault);
    const Range range("step");
    if (graph_ == nullptr && is_recordable_ && runs_++ >= 1) {
      const Status recorded = record();
      is_recordable_ = recorded.ok();
      if (!recorded.ok() && recorded.error().code != ErrorCode::kExhausted) {
        return impl_.note(recorded);
      }
    }
    if (graph_ == nullptr) return impl_.note(impl_.run_ops(ops_, true));
    return impl_.note(check(cudaGraphLaunch(graph_, impl_.context.stream), "replaying a step"));
  }

 private:
  Status record() {
    const cudaStream_t stream = impl_.context.stream;
    TRY(check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording"));
    const Status status = impl_.run_ops(ops_, true);
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    TRY(status);
    TRY(check(ended, "recording a step"));
    const cudaError_t made = cudaGraphInstantiate(&graph_, graph, 0);
    cudaGraphDestroy(graph);
    return check(made, "recording a step");
  }

  CudaBackend::Impl& impl_;
  std::vector<Op> ops_;
  int runs_ = 0;
  bool is_recordable_ = true;
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace

CudaBackend::Impl::~Impl() {
  if (context.stream != nullptr) cudaStreamSynchronize(context.stream);
  for (void* memory : weight_memory) cudaFree(memory);
  cudaFree(grids);
  cudaFree(context.counters);
  cudaFreeHost(ring);
  cudaFreeHost(landing);
  for (int i = 0; i < 2; ++i) {
    cudaFreeHost(chunk[i]);
    cudaFree(chunk_device[i]);
    if (chunk_free[i] != nullptr) cudaEventDestroy(chunk_free[i]);
  }
  if (context.stream != nullptr) cudaStreamDestroy(context.stream);
}

Status CudaBackend::Impl::init() {
  TRY(check(cudaSetDevice(options.device), "choosing the device"));
  TRY(check(cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking), "a stream"));
  TRY(context.learn_device(info, options.device));
  if (options.compute == Compute::kFp8 && !context.has_wgmma) {
    return Error{ErrorCode::kUnsupported,
                 info.name +
                     " does not multiply FP8 here (that needs compute capability 9.0 and "
                     "code for it); --compute bf16 and fp16 do"};
  }
  if (options.compute == Compute::kFp8 && options.batch_invariant) {
    return Error{
        ErrorCode::kInvalidArgument,
        "--compute fp8 is of products of many tokens only, so that bits depend on the batch: "
        "it does not go with --batch-invariant"};
  }
  context.compute = options.compute;
  context.batch_invariant = options.batch_invariant;
  TRY(check(cudaMallocHost(&ring, kRingBytes), "pinned memory"));
  IqGrids host{kIq2XxsGrid, kIq2XsGrid, kIq2SGrid, kIq1Grid, kIq3XxsGrid, kIq3SGrid, {}, {}};
  std::copy(std::begin(kIq4Values), std::end(kIq4Values), host.iq4);
  std::copy(std::begin(kFp4Values), std::end(kFp4Values), host.fp4);
  grids = TRY(device_memory(sizeof host, "codebooks"));
  TRY(check(cudaMemcpy(grids, &host, sizeof host, cudaMemcpyHostToDevice), "codebooks"));
  context.grids = static_cast<const IqGrids*>(grids);
  constexpr size_t kCounterBytes = Context::kCounters * sizeof(int);
  context.counters = static_cast<std::byte*>(TRY(device_memory(kCounterBytes, "counters")));
  TRY(context.partials.get(kPartialsBytesPerSm * static_cast<size_t>(info.num_sms)));
  return check(cudaMemset(context.counters, 0, kCounterBytes), "counters");
}

Status CudaBackend::Impl::run_ops(std::span<const Op> ops, bool fuse) {
  context.ready = {};
  context.turn = 0;  // the same areas in every run, for what was allocated to do when recording
  while (!ops.empty()) {
    const Range range(op_name(ops.front()));
    size_t done = fuse ? TRY(run_fused(context, ops)) : 0;
    if (done == 0) {
      TRY(std::visit([&](const auto& x) { return cuda::run(context, x); }, ops.front()));
      done = 1;
    }
    ops = ops.subspan(done);
  }
  return {};
}

// Pages of a mapping are looked up as they are first read, which keeps one core busier than the
// copy.
void CudaBackend::Impl::copy_mapped(std::byte* to, const std::byte* from, size_t size) {
  constexpr size_t kPiece = size_t{1} << 20;
  constexpr int kThreads = 4;
  if (copiers == nullptr) {
    copiers = std::make_unique<ThreadPool>(std::min(kThreads, usable_cores()));
  }
  copiers->parallel_for(static_cast<int64_t>((size + kPiece - 1) / kPiece), [&](int64_t i, int) {
    const size_t begin = static_cast<size_t>(i) * kPiece;
    std::memcpy(to + begin, from + begin, std::min(kPiece, size - begin));
  });
}

// Rows from the mapping through pinned memory, two chunks in flight; tiled ones are rearranged on
// the device.
Status CudaBackend::Impl::upload_chunks(const TensorView& host, int64_t bytes, int64_t chunk_rows,
                                        std::byte* to, bool tiled) {
  const int64_t rows = host.num_rows(), row_bytes = bytes / rows, k = host.last_dim();
  for (int i = 0; i < 2 && chunk[i] == nullptr; ++i) {
    TRY(check(cudaMallocHost(&chunk[i], kChunkBytes), "pinned memory"));
    chunk_device[i] = static_cast<std::byte*>(TRY(device_memory(kChunkBytes, "staging")));
    TRY(check(cudaEventCreateWithFlags(&chunk_free[i], cudaEventDisableTiming), "an event"));
  }
  int turn = 0;
  for (int64_t row = 0; row < rows; row += chunk_rows, turn ^= 1) {
    const int64_t count = std::min(chunk_rows, rows - row);
    const auto size = static_cast<size_t>(count * row_bytes);
    TRY(check(cudaEventSynchronize(chunk_free[turn]), "importing a weight"));
    copy_mapped(chunk[turn], host.data + row * row_bytes, size);
    std::byte* const landed = tiled ? chunk_device[turn] : to + row * row_bytes;
    TRY(check(cudaMemcpyAsync(landed, chunk[turn], size, cudaMemcpyHostToDevice, context.stream),
              "importing a weight"));
    if (tiled) {
      TRY(make_tiles(context.stream, host.dtype, landed, count, k,
                     to + tiled_bytes(host.dtype, row, k)));
    }
    TRY(check(cudaEventRecord(chunk_free[turn], context.stream), "importing a weight"));
  }
  return {};
}

// Of each matrix `bytes` in the file, `tiled_size` in tiles. Where matrices follow each other in
// both they are one long one.
Status CudaBackend::Impl::upload_experts(const TensorView& host, int64_t bytes, size_t tiled_size,
                                         std::byte* to) {
  const int64_t experts = host.dim(0), rows = host.dim(1), k = host.dim(2);
  const bool one = host.is_contiguous() && rows % 16 == 0;
  const int64_t rows_fit = static_cast<int64_t>(kChunkBytes) / (bytes / rows) / 16 * 16;
  if (rows_fit == 0) {
    return Error{ErrorCode::kUnsupported, "a weight " + host.describe() + " has rows too long"};
  }
  if (one) {
    return upload_chunks(make_view(host.data, host.dtype, {experts * rows, k}), experts * bytes,
                         rows_fit, to, true);
  }
  for (int64_t e = 0; e < experts; ++e) {
    TRY(upload_chunks(make_view(host.data + e * host.stride[0], host.dtype, {rows, k}), bytes,
                      rows_fit, to + static_cast<size_t>(e) * tiled_size, true));
  }
  return {};
}

Result<std::unique_ptr<CudaBackend>> CudaBackend::create(const CudaOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->info = TRY(probe_device(options.device));
  TRY(impl->init());
  return std::unique_ptr<CudaBackend>(new CudaBackend(std::move(impl)));
}

CudaBackend::CudaBackend(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CudaBackend::~CudaBackend() = default;

std::string CudaBackend::name() const {
  return "cuda (" + impl_->info.name + ")";
}

bool CudaBackend::reads_shared_pages_once() const {
  return impl_->context.has_wgmma && !impl_->context.batch_invariant;
}

Result<Backend::Memory> CudaBackend::memory() const {
  TRY(impl_->fault);
  Memory memory;
  TRY(check(cudaMemGetInfo(&memory.free_bytes, &memory.total_bytes), "asking for free memory"));
  return memory;
}

Result<Buffer> CudaBackend::allocate(size_t size_bytes) {
  TRY(impl_->fault);
  void* memory = TRY(device_memory(size_bytes, "a buffer"));
  TRY(impl_->note(
      check(cudaMemsetAsync(memory, 0, std::max<size_t>(size_bytes, 1), impl_->context.stream),
            "clearing a buffer")));
  return Buffer{std::shared_ptr<std::byte>(static_cast<std::byte*>(memory),
                                           [](std::byte* p) { cudaFree(p); }),
                size_bytes};
}

Status CudaBackend::upload(std::byte* to, std::span<const std::byte> from) {
  TRY(impl_->fault);
  const cudaStream_t stream = impl_->context.stream;
  for (size_t done = 0; done < from.size();) {
    const size_t size = std::min(from.size() - done, kRingBytes / 4);
    if (impl_->ring_used + size > kRingBytes) {
      TRY(synchronize());
      impl_->ring_used = 0;
    }
    std::byte* pinned = impl_->ring + impl_->ring_used;
    impl_->ring_used += (size + 255) / 256 * 256;
    std::memcpy(pinned, from.data() + done, size);
    TRY(impl_->note(check(cudaMemcpyAsync(to + done, pinned, size, cudaMemcpyHostToDevice, stream),
                          "uploading")));
    done += size;
  }
  return {};
}

Status CudaBackend::download(std::span<std::byte> to, const std::byte* from) {
  TRY(impl_->fault);
  if (to.size() > impl_->landing_size) {
    cudaFreeHost(impl_->landing);
    impl_->landing = nullptr;
    impl_->landing_size = 0;
    TRY(impl_->note(check(cudaMallocHost(&impl_->landing, to.size()), "pinned memory")));
    impl_->landing_size = to.size();
  }
  if (!to.empty()) {
    TRY(impl_->note(check(cudaMemcpyAsync(impl_->landing, from, to.size(), cudaMemcpyDeviceToHost,
                                          impl_->context.stream),
                          "downloading")));
  }
  TRY(synchronize());
  impl_->ring_used = 0;
  if (!to.empty()) std::memcpy(to.data(), impl_->landing, to.size());
  return {};
}

Result<Buffer> CudaBackend::allocate_pinned(size_t size_bytes) {
  TRY(impl_->fault);
  void* memory = nullptr;
  const cudaError_t code = cudaMallocHost(&memory, std::max<size_t>(size_bytes, 1));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return Error{ErrorCode::kExhausted, "the machine cannot pin " +
                                            std::to_string(size_bytes >> 20) +
                                            " MiB of memory for the GPU"};
  }
  TRY(impl_->note(check(code, "pinned memory")));
  return Buffer{std::shared_ptr<std::byte>(static_cast<std::byte*>(memory),
                                           [](std::byte* p) { cudaFreeHost(p); }),
                size_bytes};
}

Status CudaBackend::copy_out(std::byte* pinned, const std::byte* from, size_t size_bytes) {
  TRY(impl_->fault);
  return impl_->note(check(
      cudaMemcpyAsync(pinned, from, size_bytes, cudaMemcpyDeviceToHost, impl_->context.stream),
      "copying a page out"));
}

Status CudaBackend::copy_in(std::byte* to, const std::byte* pinned, size_t size_bytes) {
  TRY(impl_->fault);
  return impl_->note(
      check(cudaMemcpyAsync(to, pinned, size_bytes, cudaMemcpyHostToDevice, impl_->context.stream),
            "copying a page in"));
}

Status CudaBackend::synchronize() {
  TRY(impl_->fault);
  return impl_->note(check(cudaStreamSynchronize(impl_->context.stream), "running ops"));
}

Result<TensorView> CudaBackend::import_weight(const TensorView& host) {
  TRY(impl_->fault);
  const BlockFormat* format = find_block_format(host.dtype);
  if (format == nullptr) {
    return Error{ErrorCode::kUnsupported, "a weight " + host.describe() + " cannot be imported"};
  }
  if (host.rank == 3 && has_tiles(host.dtype)) return import_experts(host);
  if (!host.is_contiguous()) return import_strided(host);
  const int64_t rows = host.num_rows(), k = host.last_dim();
  const auto bytes = static_cast<int64_t>(row_bytes(*format, k)) * rows;
  const bool tiled = host.rank == 2 && has_tiles(host.dtype) && rows > 0;
  const size_t size = tiled ? tiled_bytes(host.dtype, rows, k) : static_cast<size_t>(bytes);
  // Kernels may read whole 16-byte pieces at the end.
  void* memory = TRY(device_memory(std::max(size, static_cast<size_t>(bytes)) + 256, "a weight"));
  impl_->weight_memory.push_back(memory);
  auto* data = static_cast<std::byte*>(memory);
  if (bytes > 0) {
    const int64_t rows_fit = static_cast<int64_t>(kChunkBytes) / (bytes / rows) / 16 * 16;
    if (rows_fit == 0) {
      return Error{ErrorCode::kUnsupported, "a weight " + host.describe() + " has rows too long"};
    }
    TRY(impl_->note(impl_->upload_chunks(host, bytes, rows_fit, data, tiled)));
    Weight& weight = impl_->context.weights[data];
    weight = {.tiled = tiled, .rows = rows, .k = k, .file_bytes = bytes};
    if (tiled && impl_->options.compute == Compute::kFp8 &&
        find_fp8_kernels(host.dtype) != nullptr) {
      const size_t scales_bytes = static_cast<size_t>(rows) * sizeof(float);
      auto* scales = static_cast<float*>(TRY(device_memory(scales_bytes, "a weight's scales")));
      impl_->weight_memory.push_back(scales);
      TRY(scale_rows_for_fp8(impl_->context.stream, host.dtype, data, rows, k, scales));
      weight.row_scales = scales;
    }
  }
  TensorView view = host;
  view.data = data;
  return view;
}

// Slices of a larger tensor, such as the heads' matrices of latent attention: the bytes from the
// first to the last, gaps included.
Result<TensorView> CudaBackend::import_strided(const TensorView& host) {
  const size_t size = host.extent_bytes();
  void* memory = TRY(device_memory(size + 256, "a weight"));
  impl_->weight_memory.push_back(memory);
  auto* data = static_cast<std::byte*>(memory);
  TRY(upload(data, {host.data, size}));
  impl_->context.weights[data] = {
      .tiled = false, .rows = 1, .k = host.last_dim(), .file_bytes = static_cast<int64_t>(size)};
  TensorView view = host;
  view.data = data;
  return view;
}

// Matrices stacked, of experts or of heads: tiles of one matrix after the other, whatever lies
// between them in the file.
Result<TensorView> CudaBackend::import_experts(const TensorView& host) {
  const int64_t experts = host.dim(0), rows = host.dim(1), k = host.dim(2);
  const auto bytes = static_cast<int64_t>(row_bytes(*find_block_format(host.dtype), k)) * rows;
  if (bytes > 0 && host.stride[1] * rows != bytes) {
    return Error{ErrorCode::kUnsupported,
                 "a weight " + host.describe() + " has rows that do not follow each other"};
  }
  const size_t of_one = rows > 0 ? tiled_bytes(host.dtype, rows, k) : 0;
  const size_t size = of_one * static_cast<size_t>(experts);
  void* memory = TRY(device_memory(size + 256, "a weight"));
  impl_->weight_memory.push_back(memory);
  auto* data = static_cast<std::byte*>(memory);
  if (experts > 0 && bytes > 0) {
    TRY(impl_->note(impl_->upload_experts(host, bytes, of_one, data)));
    impl_->context.weights[data] = {
        .tiled = true, .rows = experts * rows, .k = k, .file_bytes = experts * bytes};
  }
  TensorView view = host;
  view.data = data;
  return view;
}

Result<std::string> CudaBackend::support(const Op& op) const {
  TRY(check_op(op));
  if (const auto* matmul = std::get_if<MatMul>(&op)) {
    return describe_matmul(impl_->context, *matmul);
  }
  return std::string("cuda");
}

Status CudaBackend::run(std::span<const Op> ops) {
  TRY(impl_->fault);
  return impl_->note(impl_->run_ops(ops, false));
}

Result<std::unique_ptr<PreparedProgram>> CudaBackend::prepare(std::span<const Op> ops) {
  return std::unique_ptr<PreparedProgram>(std::make_unique<RecordedProgram>(*impl_, ops));
}

}  // namespace realm::cuda
