#include "backends/cpu/cpu_backend.h"

#include <sys/mman.h>

#include <cstring>

#include "backends/cpu/attention_amx.h"
#include "base/check.h"
#include "formats/quant/quant_table.h"

namespace realm::cpu {
namespace {

constexpr size_t kAlignment = 64;

#if defined(__x86_64__)
// Attention of many heads by tiles, the rest by AVX-512.
const Kernels& amx_kernels() {
  static const Kernels kernels = [] {
    Kernels k = *avx512_kernels();
    k.attention_many_heads.tile_rows = amx::tile_rows;
    k.attention_many_heads.state_floats = amx::state_floats;
    k.attention_many_heads.scratch_floats = amx::scratch_floats;
    k.attention_many_heads.split = amx::attention_split;
    return k;
  }();
  return kernels;
}
#endif

const Kernels& kernels_of(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAmx:
      if (has_bf16_tiles()) return amx_kernels();
      [[fallthrough]];
    case Isa::kAvx512:
      return *avx512_kernels();
    case Isa::kAvx2:
      return *avx2_kernels();
#elif defined(__aarch64__)
    case Isa::kNeon:
      return *neon_kernels();
#endif
    default:
      return *scalar_kernels();
  }
}

}  // namespace

std::byte* Context::Area::get(size_t bytes) {
  if (bytes > size) {
    memory.reset(new std::byte[bytes + kAlignment]);
    size = bytes;
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory.get());
  return memory.get() + (kAlignment - address % kAlignment) % kAlignment;
}

std::byte* Context::shared_scratch(size_t bytes) {
  return shared.get(bytes);
}

std::byte* Context::thread_scratch(int thread, size_t bytes) {
  return per_thread[static_cast<size_t>(thread)].get(bytes);
}

CpuBackend::CpuBackend(const CpuOptions& options)
    : pool_(options.pool != nullptr
                ? options.pool
                : std::make_shared<SharedPool>(options.num_threads > 0 ? options.num_threads
                                                                       : usable_cores())),
      context_{.pool = pool_->pool(),
               .kernels = kernels_of(options.isa),
               .matmul = matmul_kernels(options.isa),
               .isa = options.isa,
               .shared = {},
               .outer = {},
               .per_thread = {},
               .pieces = PieceRanges(pool_->pool().num_threads())} {
  context_.per_thread.resize(static_cast<size_t>(pool_->num_threads()));
}

Result<std::unique_ptr<CpuBackend>> CpuBackend::create(const CpuOptions& options) {
  if (options.num_threads < 0 || options.num_threads > 1024) {
    return Error{ErrorCode::kInvalidArgument,
                 "threads: " + std::to_string(options.num_threads) + " is not in 1..1024"};
  }
  if (!has_isa(options.isa)) {
    return Error{ErrorCode::kUnsupported,
                 std::string("this processor does not have ") + isa_name(options.isa)};
  }
  return std::unique_ptr<CpuBackend>(new CpuBackend(options));
}

std::string CpuBackend::name() const {
  return std::string("cpu (") + isa_name(context_.isa) + ")";
}

Result<Buffer> CpuBackend::allocate(size_t size_bytes) {
  const size_t size = std::max<size_t>(size_bytes, 1);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{ErrorCode::kExhausted,
                 "cannot allocate " + std::to_string(size_bytes) + " bytes of memory"};
  }
  ::madvise(memory, size, MADV_HUGEPAGE);
  return Buffer{std::shared_ptr<std::byte>(static_cast<std::byte*>(memory),
                                           [size](std::byte* p) { ::munmap(p, size); }),
                size_bytes};
}

Status CpuBackend::upload(std::byte* to, std::span<const std::byte> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
  return {};
}

Status CpuBackend::download(std::span<std::byte> to, const std::byte* from) {
  if (!to.empty()) std::memcpy(to.data(), from, to.size());
  return {};
}

Result<TensorView> CpuBackend::import_weight(const TensorView& host) {
  return host;
}

Result<std::string> CpuBackend::support(const Op& op) const {
  TRY(check_op(op));
  if (const auto* matmul = std::get_if<MatMul>(&op)) {
    return std::string(isa_name(context_.isa)) + " " +
           context_.matmul.describe(matmul->parts[0].weight.dtype, matmul->x.dim(0));
  }
  if (const auto* matmul = std::get_if<ExpertMatMul>(&op)) {
    return std::string(isa_name(context_.isa)) + " " +
           context_.matmul.describe(matmul->parts[0].weight.dtype, matmul->x.dim(0));
  }
  return std::string(isa_name(context_.isa));
}

Status CpuBackend::run(std::span<const Op> ops) {
  const SharedPool::Turn turn(*pool_);
  for (const Op& op : ops) {
    if (trace_) trace_(op_name(op));
    TRY(std::visit([&](const auto& x) { return cpu::run(context_, x); }, op));
  }
  if (trace_) trace_("end");
  return {};
}

}  // namespace realm::cpu
