// Stands in for the backend in builds without nvcc.
#include "backends/cuda/cuda_backend.h"

namespace realm::cuda {
namespace {

Error absent() {
  return Error{ErrorCode::kUnsupported,
               "this build has no CUDA: it was compiled without nvcc (tools/install_deps.sh cuda)"};
}

}  // namespace

struct CudaBackend::Impl {};

Result<DeviceInfo> probe_device(int) {
  return absent();
}

Result<DevicePeaks> measure_peaks(int) {
  return absent();
}

Result<std::unique_ptr<CudaBackend>> CudaBackend::create(const CudaOptions&) {
  return absent();
}

CudaBackend::CudaBackend(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CudaBackend::~CudaBackend() = default;

std::string CudaBackend::name() const {
  return "cuda";
}
bool CudaBackend::reads_shared_pages_once() const {
  return false;
}
Result<Backend::Memory> CudaBackend::memory() const {
  return absent();
}
Result<Buffer> CudaBackend::allocate(size_t) {
  return absent();
}
Status CudaBackend::upload(std::byte*, std::span<const std::byte>) {
  return absent();
}
Status CudaBackend::download(std::span<std::byte>, const std::byte*) {
  return absent();
}
Result<Buffer> CudaBackend::allocate_pinned(size_t) {
  return absent();
}
Status CudaBackend::copy_out(std::byte*, const std::byte*, size_t) {
  return absent();
}
Status CudaBackend::copy_in(std::byte*, const std::byte*, size_t) {
  return absent();
}
Result<TensorView> CudaBackend::import_weight(const TensorView&) {
  return absent();
}
Result<TensorView> CudaBackend::import_strided(const TensorView&) {
  return absent();
}
Result<std::string> CudaBackend::support(const Op&) const {
  return absent();
}
Status CudaBackend::run(std::span<const Op>) {
  return absent();
}
Result<std::unique_ptr<PreparedProgram>> CudaBackend::prepare(std::span<const Op>) {
  return absent();
}
Status CudaBackend::synchronize() {
  return absent();
}

}  // namespace realm::cuda
