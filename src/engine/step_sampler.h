// A step and the tokens that follow it: what generation, the scheduler's runner and batched answers
// share. On the host a sampler looks at the rows of logits themselves. Where those lie on a device
// it runs the chains of samplers, too, and what comes back are tokens and summaries of the rows. A
// row that something else has a say in, a grammar, is decided by its summary, and fetched only
// where the choice depends on more.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/shared_pool.h"
#include "engine/engine.h"
#include "engine/sampling/sampler.h"

namespace realm {

class StepSampler {
 public:
  // A row of logits that a step's items want, in their order. One whose status is an error already
  // is not sampled.
  struct Row {
    const Sampler* sampler = nullptr;
    bool constrained = false;                // `allowed` may be set while the step runs
    std::span<const uint32_t> allowed = {};  // Sampler::sample's
    Status status = {};                      // of this row alone
    Sampled sampled = {};
  };

  // `pool` may be null and may be the backend's own (it is used between steps only). `summaries`:
  // whether to go by them; unless given, as the engine prefers.
  explicit StepSampler(Engine& engine, std::shared_ptr<SharedPool> pool = nullptr,
                       std::optional<bool> summaries = {});

  // `meanwhile` may still set the rows' `status`, and `allowed` where they are constrained. Errors:
  // of the step as a whole, as Engine::step.
  Status run(std::span<const StepItem> items, std::span<Row> rows,
             const Engine::Meanwhile& meanwhile = {});

  // Rows that were fetched, of all those sampled by summaries.
  int64_t rows_fetched() const { return rows_fetched_; }

 private:
  Status run_with_rows(std::span<const StepItem> items, std::span<Row> rows,
                       const Engine::Meanwhile& meanwhile);
  Status run_with_best(std::span<const StepItem> items, std::span<Row> rows,
                       const Engine::Meanwhile& meanwhile);
  Status run_with_summaries(std::span<const StepItem> items, std::span<Row> rows,
                            const Engine::Meanwhile& meanwhile);
  DeviceChains plan_chains(std::span<Row> rows);
  template <typename Body>
  void for_rows(std::span<Row> rows, Body&& body);

  Engine& engine_;
  std::shared_ptr<SharedPool> pool_;
  bool summaries_;
  std::vector<Candidates> scratch_;  // one a thread
  std::vector<DeviceDraw> draws_;
  std::vector<SampleRow> chains_;
  std::vector<std::vector<LogitChange>> row_changes_;
  std::vector<LogitChange> changes_;  // of all of them
  std::vector<char> undecided_;       // of rows
  int64_t rows_fetched_ = 0;
};

}  // namespace realm
