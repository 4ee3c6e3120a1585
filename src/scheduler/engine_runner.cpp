#include "scheduler/engine_runner.h"

#include "base/check.h"

namespace realm {

EngineRunner::EngineRunner(std::unique_ptr<Engine> engine, ThreadPool* pool)
    : engine_(std::move(engine)),
      pool_(pool),
      limits_{.context = engine_->options().context,
              .max_step_tokens = engine_->options().max_step_tokens,
              .max_sequences = engine_->options().max_sequences,
              .max_sampled = engine_->options().max_logit_rows,
              .vocab_size = engine_->model().info().vocab_size},
      scratch_(static_cast<size_t>(pool == nullptr ? 1 : pool->num_threads())) {}

Status EngineRunner::sample(const StepWork& work, std::span<const float> logits,
                            Candidates& scratch, Sampled& sampled) const {
  std::span<const uint32_t> allowed;
  if (work.constraint != nullptr) allowed = TRY(work.constraint->allowed());
  sampled = TRY(work.sampler->sample(logits, allowed, scratch));
  return {};
}

Status EngineRunner::run(std::span<const StepWork> work, std::span<StepOutput> out) {
  CHECK(work.size() == out.size());
  items_.clear();
  rows_.clear();
  for (size_t i = 0; i < work.size(); ++i) {
    const bool sampled = work[i].sampler != nullptr;
    items_.push_back({.sequence = work[i].sequence,
                      .tokens = work[i].tokens,
                      .logits = sampled ? WantLogits::kLast : WantLogits::kNone});
    if (sampled) rows_.push_back(i);
    out[i].status = {};
  }
  const StepLogits logits = TRY(engine_->step(items_));
  const auto sample_row = [&](int64_t row, int thread) {
    const size_t i = rows_[static_cast<size_t>(row)];
    out[i].status =
        sample(work[i], logits.row(row), scratch_[static_cast<size_t>(thread)], out[i].sampled);
  };
  const auto num_rows = static_cast<int64_t>(rows_.size());
  if (pool_ != nullptr) {
    pool_->parallel_for(num_rows, sample_row);
  } else {
    for (int64_t row = 0; row < num_rows; ++row) sample_row(row, 0);
  }
  return {};
}

}  // namespace realm
