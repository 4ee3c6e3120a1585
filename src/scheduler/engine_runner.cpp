#include "scheduler/engine_runner.h"

#include <algorithm>

#include "base/check.h"

namespace realm {

EngineRunner::EngineRunner(std::unique_ptr<Engine> engine, std::shared_ptr<SharedPool> pool,
                           std::optional<bool> summaries)
    : engine_(std::move(engine)),
      pool_(std::move(pool)),
      limits_{.context = engine_->options().context,
              .max_step_tokens = engine_->options().max_step_tokens,
              .max_sequences = engine_->options().max_sequences,
              .max_sampled = engine_->options().max_logit_rows,
              .vocab_size = engine_->model().info().vocab_size,
              .generates = !engine_->model().info().is_encoder,
              .embeds = engine_->options().embeddings,
              .whole_prompts = engine_->model().info().is_encoder,
              .host_pages = engine_->options().host_pages,
              .swap_page_seconds = engine_->swap_page_seconds()},
      sampler_(*engine_, pool_, summaries) {}

Status EngineRunner::run(std::span<const StepWork> work, std::span<StepOutput> out,
                         const Meanwhile& meanwhile) {
  CHECK(work.size() == out.size());
  for (StepOutput& output : out) output.status = {};
  // All work is in its sequences only in the last pass.
  const bool embeds = std::any_of(work.begin(), work.end(),
                                  [](const StepWork& piece) { return piece.pooler != nullptr; });
  TRY(run_generating(work, out, embeds ? Meanwhile() : meanwhile));
  return embeds ? run_embedding(work, meanwhile) : Status();
}

Status EngineRunner::run_generating(std::span<const StepWork> work, std::span<StepOutput> out,
                                    const Meanwhile& meanwhile) {
  items_.clear();
  sampled_.clear();
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].pooler != nullptr) continue;
    const bool sampled = work[i].sampler != nullptr;
    items_.push_back({.sequence = work[i].sequence,
                      .tokens = work[i].tokens,
                      .logits = sampled ? WantLogits::kLast : WantLogits::kNone});
    if (sampled) sampled_.push_back(i);
  }
  if (items_.empty()) return {};
  rows_.assign(sampled_.size(), {});
  for (size_t row = 0; row < rows_.size(); ++row) {
    rows_[row].sampler = work[sampled_[row]].sampler;
    rows_[row].constrained = work[sampled_[row]].constraint != nullptr;
  }
  TRY(sampler_.run(items_, rows_, [&] {
    if (meanwhile) meanwhile();
    constrain_rows(work);
  }));
  for (size_t row = 0; row < rows_.size(); ++row) {
    StepOutput& output = out[sampled_[row]];
    output.status = std::move(rows_[row].status);
    output.sampled = std::move(rows_[row].sampled);
  }
  return {};
}

// What the rows' constraints allow.
void EngineRunner::constrain_rows(std::span<const StepWork> work) {
  const auto constrain = [&](int64_t row, int) {
    const StepWork& item = work[sampled_[static_cast<size_t>(row)]];
    StepSampler::Row& wanted = rows_[static_cast<size_t>(row)];
    if (item.constraint == nullptr) return;
    const auto allowed = item.constraint->allowed();
    if (allowed.ok()) {
      wanted.allowed = *allowed;
    } else {
      wanted.status = allowed.error();
    }
  };
  const auto num_rows = static_cast<int64_t>(rows_.size());
  if (pool_ != nullptr && num_rows > 1) {
    SharedPool::Turn(*pool_).pool().parallel_for(num_rows, constrain);
  } else {
    for (int64_t row = 0; row < num_rows; ++row) constrain(row, 0);
  }
}

// A pass of its own: its output is hidden states. Pieces whose rows are not wanted run along.
Status EngineRunner::run_embedding(std::span<const StepWork> work, const Meanwhile& meanwhile) {
  items_.clear();
  embedded_.clear();
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].pooler == nullptr) continue;
    items_.push_back({.sequence = work[i].sequence,
                      .tokens = work[i].tokens,
                      .logits = work[i].pooler->wants(work[i].sequence->length())});
    embedded_.push_back(i);
  }
  const StepHidden hidden = TRY(engine_->step_hidden(items_, meanwhile));
  size_t at = 0;
  for (size_t n = 0; n < items_.size(); ++n) {
    const auto count = static_cast<int64_t>(items_[n].tokens.size());
    const int64_t rows = items_[n].logits == WantLogits::kAll    ? count
                         : items_[n].logits == WantLogits::kLast ? 1
                                                                 : 0;
    const auto size = static_cast<size_t>(rows * hidden.size);
    work[embedded_[n]].pooler->add(items_[n].sequence->length() - count,
                                   hidden.values.subspan(at, size), hidden.size);
    at += size;
  }
  return {};
}

}  // namespace realm
