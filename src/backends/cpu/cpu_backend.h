// The CPU backend: ops run on a thread pool straight from mapped weights. Each op has one file; the
// instruction set is chosen at run time, and Isa::kScalar is the plain reference that the others
// (and other backends) are compared with.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/matmul_kernels.h"
#include "backends/cpu/piece_ranges.h"
#include "base/shared_pool.h"
#include "ops/backend.h"

namespace realm::cpu {

struct CpuOptions {
  int num_threads = 0;  // 0: every usable core
  Isa isa = best_isa();
  std::shared_ptr<SharedPool> pool = {};  // null: one of its own, of num_threads
};

// What an op's run() works with.
struct Context {
  ThreadPool& pool;
  const Kernels& kernels;
  const MatMulKernels& matmul;
  Isa isa;
  // Memory that lives until the end of the op, one area for the op and one for each thread; grows
  // to the largest op ever run and stays. An op that runs others inside itself uses `outer`.
  std::byte* shared_scratch(size_t bytes);
  std::byte* thread_scratch(int thread, size_t bytes);

  struct Area {
    std::unique_ptr<std::byte[]> memory;
    size_t size = 0;
    std::byte* get(size_t bytes);
  };
  Area shared, outer;
  std::vector<Area> per_thread;
  PieceRanges pieces;  // of the op that runs
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

class CpuBackend final : public Backend {
 public:
  static Result<std::unique_ptr<CpuBackend>> create(const CpuOptions& options);

  bool is_host() const override { return true; }
  std::string name() const override;
  Result<Buffer> allocate(size_t size_bytes) override;
  Status upload(std::byte* to, std::span<const std::byte> from) override;
  Status download(std::span<std::byte> to, const std::byte* from) override;
  Result<TensorView> import_weight(const TensorView& host) override;
  Result<std::string> support(const Op& op) const override;
  Status run(std::span<const Op> ops) override;
  // Called before each op and after the last with its name, to find out where time goes; null: off.
  void set_trace(std::function<void(const char*)> trace) { trace_ = std::move(trace); }

  const std::shared_ptr<SharedPool>& pool() const { return pool_; }
  Isa isa() const { return context_.isa; }

 private:
  explicit CpuBackend(const CpuOptions& options);
  std::shared_ptr<SharedPool> pool_;
  Context context_;
  std::function<void(const char*)> trace_;
};

}  // namespace realm::cpu
