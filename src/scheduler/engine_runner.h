// Runs the scheduler's steps on an engine and samples their tokens, the rows spread over a thread
// pool: each row is a function of its own sampler alone, so the number of threads changes nothing.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "engine/engine.h"
#include "scheduler/step_runner.h"

namespace realm {

class EngineRunner final : public StepRunner {
 public:
  // `pool` may be null and may be the backend's own (it is used between steps only); it and the
  // engine's backend outlive this object.
  explicit EngineRunner(std::unique_ptr<Engine> engine, ThreadPool* pool = nullptr);

  const RunnerLimits& limits() const override { return limits_; }
  PagePool& pages() override { return engine_->pages(); }
  Status run(std::span<const StepWork> work, std::span<StepOutput> out) override;

 private:
  Status run_generating(std::span<const StepWork> work, std::span<StepOutput> out);
  Status run_embedding(std::span<const StepWork> work);
  Status sample(const StepWork& work, std::span<const float> logits, Candidates& scratch,
                Sampled& sampled) const;

  std::unique_ptr<Engine> engine_;
  ThreadPool* pool_;
  RunnerLimits limits_;
  std::vector<StepItem> items_;
  std::vector<size_t> rows_;         // the pieces of work that want a token, in order
  std::vector<size_t> embedded_;     // the pieces of work that want a vector
  std::vector<Candidates> scratch_;  // one a thread
};

}  // namespace realm
