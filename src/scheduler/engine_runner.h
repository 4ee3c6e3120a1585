// Runs the scheduler's steps on an engine and samples their tokens, the rows spread over a thread
// pool: each row is a function of its own sampler alone, so the number of threads changes nothing.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/shared_pool.h"
#include "engine/engine.h"
#include "engine/step_sampler.h"
#include "scheduler/step_runner.h"

namespace realm {

class EngineRunner final : public StepRunner {
 public:
  // `pool` may be null and may be the backend's own (it is used between steps only); the engine's
  // backend outlives this object. `summaries` as StepSampler's.
  explicit EngineRunner(std::unique_ptr<Engine> engine, std::shared_ptr<SharedPool> pool = nullptr,
                        std::optional<bool> summaries = {});

  const RunnerLimits& limits() const override { return limits_; }
  PagePool& pages() override { return engine_->pages(); }
  bool runs_ahead() const override { return engine_->runs_ahead(); }
  Status swap(std::span<const PageSwap> swaps) override { return engine_->swap_pages(swaps); }
  Status run(std::span<const StepWork> work, std::span<StepOutput> out,
             const Meanwhile& meanwhile) override;

 private:
  Status run_generating(std::span<const StepWork> work, std::span<StepOutput> out,
                        const Meanwhile& meanwhile);
  Status run_embedding(std::span<const StepWork> work, const Meanwhile& meanwhile);
  void constrain_rows(std::span<const StepWork> work);

  std::unique_ptr<Engine> engine_;
  std::shared_ptr<SharedPool> pool_;
  RunnerLimits limits_;
  StepSampler sampler_;
  std::vector<StepItem> items_;
  std::vector<size_t> sampled_;  // the pieces of work that want a token, in order
  std::vector<StepSampler::Row> rows_;
  std::vector<size_t> embedded_;  // the pieces of work that want a vector
};

}  // namespace realm
