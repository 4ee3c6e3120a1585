// The CUDA backend: ops as kernels on one GPU, in order on one stream. Weights are rearranged once
// when they are imported and stay quantized; everything else lives where the engine puts it. This
// header names no CUDA type, so that its users are compiled by the host's compiler alone, and the
// driver is loaded when a backend is created: the same program runs on machines without a GPU.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ops/backend.h"

namespace realm::cuda {

// What matrix products multiply; sums are always in single precision. Weights stay as they are in
// memory and are turned into this on their way to the matrix units.
enum class Compute : uint8_t {
  kBf16,
  // Three more bits of precision than bfloat16, but numbers up to 65504 only: larger activations
  // are cut to that.
  kFp16,
  // E4M3, in products of many tokens of weights of most types, with a scale for each row of a
  // weight and for each token; bfloat16 in all other products.
  kFp8,
};

struct CudaOptions {
  int device = 0;  // as the driver counts them
  Compute compute = Compute::kBf16;
  // Every token's results are the same bits whatever else is in its batch: products and attention
  // of one order of sums for every number of tokens. Costs speed, of small batches above all.
  bool batch_invariant = false;
};

struct DeviceInfo {
  std::string name;  // "NVIDIA H200"
  int compute_major = 0, compute_minor = 0;
  int num_sms = 0;
  int64_t memory_bytes = 0, memory_free_bytes = 0;
  int64_t l2_bytes = 0;
  int driver_version = 0;  // 13000 is 13.0
};

// The device, or why it cannot be used: kUnsupported for a build without CUDA, kUnavailable where
// there is no driver or no such device, or it is of a kind that this build has no code for.
Result<DeviceInfo> probe_device(int device);

// Measured, by kernels that do nothing else.
struct DevicePeaks {
  double read_gb_per_s = 0, bf16_tflops = 0;
};
Result<DevicePeaks> measure_peaks(int device);

class CudaBackend final : public Backend {
 public:
  static Result<std::unique_ptr<CudaBackend>> create(const CudaOptions& options);
  ~CudaBackend() override;

  std::string name() const override;
  bool runs_ahead() const override { return true; }
  bool grows_when_run() const override { return true; }
  bool reads_shared_pages_once() const override;
  Result<Memory> memory() const override;
  Result<Buffer> allocate(size_t size_bytes) override;
  Status upload(std::byte* to, std::span<const std::byte> from) override;
  Status download(std::span<std::byte> to, const std::byte* from) override;
  Result<Buffer> allocate_pinned(size_t size_bytes) override;
  Status copy_out(std::byte* pinned, const std::byte* from, size_t size_bytes) override;
  Status copy_in(std::byte* to, const std::byte* pinned, size_t size_bytes) override;
  Result<TensorView> import_weight(const TensorView& host) override;
  Result<std::string> support(const Op& op) const override;
  // Enqueues; errors of the device are met by the next download.
  Status run(std::span<const Op> ops) override;
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override;

  // Waits for everything enqueued. Errors: kUnavailable for a device fault, from then on always.
  Status synchronize();

  struct Impl;

 private:
  explicit CudaBackend(std::unique_ptr<Impl> impl);
  Result<TensorView> import_strided(const TensorView& host);
  Result<TensorView> import_experts(const TensorView& host);
  std::unique_ptr<Impl> impl_;
};

}  // namespace realm::cuda
