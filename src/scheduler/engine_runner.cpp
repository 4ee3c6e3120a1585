#include "scheduler/engine_runner.h"

#include "base/check.h"

namespace realm {

EngineRunner::EngineRunner(std::unique_ptr<Engine> engine, ThreadPool* pool,
                           std::optional<bool> summaries)
    : engine_(std::move(engine)),
      pool_(pool),
      limits_{.context = engine_->options().context,
              .max_step_tokens = engine_->options().max_step_tokens,
              .max_sequences = engine_->options().max_sequences,
              .max_sampled = engine_->options().max_logit_rows,
              .vocab_size = engine_->model().info().vocab_size},
      sampler_(*engine_, pool, summaries) {}

Status EngineRunner::run(std::span<const StepWork> work, std::span<StepOutput> out) {
  CHECK(work.size() == out.size());
  items_.clear();
  sampled_.clear();
  for (size_t i = 0; i < work.size(); ++i) {
    const bool sampled = work[i].sampler != nullptr;
    items_.push_back({.sequence = work[i].sequence,
                      .tokens = work[i].tokens,
                      .logits = sampled ? WantLogits::kLast : WantLogits::kNone});
    if (sampled) sampled_.push_back(i);
    out[i].status = {};
  }
  rows_.assign(sampled_.size(), {});
  const auto prepare = [&](int64_t row, int) {
    const StepWork& item = work[sampled_[static_cast<size_t>(row)]];
    StepSampler::Row& wanted = rows_[static_cast<size_t>(row)];
    wanted.sampler = item.sampler;
    if (item.constraint == nullptr) return;
    const auto allowed = item.constraint->allowed();
    if (allowed.ok()) {
      wanted.allowed = *allowed;
    } else {
      wanted.status = allowed.error();
    }
  };
  const auto num_rows = static_cast<int64_t>(rows_.size());
  if (pool_ != nullptr) {
    pool_->parallel_for(num_rows, prepare);
  } else {
    for (int64_t row = 0; row < num_rows; ++row) prepare(row, 0);
  }
  TRY(sampler_.run(items_, rows_));
  for (size_t row = 0; row < rows_.size(); ++row) {
    StepOutput& output = out[sampled_[row]];
    output.status = std::move(rows_[row].status);
    output.sampled = std::move(rows_[row].sampled);
  }
  return {};
}

}  // namespace realm
