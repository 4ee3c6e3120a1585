#include "engine/step_sampler.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace realm {

StepSampler::StepSampler(Engine& engine, std::shared_ptr<SharedPool> pool,
                         std::optional<bool> summaries)
    : engine_(engine),
      pool_(std::move(pool)),
      summaries_(summaries.value_or(engine.prefers_summaries())),
      scratch_(static_cast<size_t>(pool_ == nullptr ? 1 : pool_->num_threads())) {}

Status StepSampler::run(std::span<const StepItem> items, std::span<Row> rows,
                        const Engine::Meanwhile& meanwhile) {
  // A step that nobody samples has nothing to summarize.
  if (!summaries_ || rows.empty()) return run_with_rows(items, rows, meanwhile);
  const bool only_best = std::all_of(rows.begin(), rows.end(), [](const Row& row) {
    return !row.constrained && row.sampler->takes_best();
  });
  return only_best ? run_with_best(items, rows, meanwhile)
                   : run_with_summaries(items, rows, meanwhile);
}

// The best token of a row is found in a third of the time of a summary.
Status StepSampler::run_with_best(std::span<const StepItem> items, std::span<Row> rows,
                                  const Engine::Meanwhile& meanwhile) {
  const std::vector<Token> best = TRY(engine_.step_greedy(items, meanwhile));
  CHECK(best.size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].sampled = {};
    rows[i].sampled.token = best[i];
  }
  return {};
}

template <typename Body>
void StepSampler::for_rows(std::span<Row> rows, Body&& body) {
  const auto one = [&](int64_t i, int thread) {
    Row& row = rows[static_cast<size_t>(i)];
    if (row.status.ok()) row.status = body(row, i, scratch_[static_cast<size_t>(thread)]);
  };
  const auto count = static_cast<int64_t>(rows.size());
  if (pool_ != nullptr && count > 1) {
    SharedPool::Turn(*pool_).pool().parallel_for(count, one);
  } else {
    for (int64_t i = 0; i < count; ++i) one(i, 0);
  }
}

Status StepSampler::run_with_rows(std::span<const StepItem> items, std::span<Row> rows,
                                  const Engine::Meanwhile& meanwhile) {
  const StepLogits logits = TRY(engine_.step(items, meanwhile));
  for_rows(rows, [&](Row& row, int64_t i, Candidates& scratch) -> Status {
    row.sampled = TRY(row.sampler->sample(logits.row(i), row.allowed, scratch));
    return {};
  });
  return {};
}

// What the device chooses itself; nothing at all where it is no row. Rows are looked at side by
// side: DRY goes through all of a text. Rows with many changes take room from each other alone.
DeviceChains StepSampler::plan_chains(std::span<Row> rows) {
  const auto wants = [](const Row& row) { return !row.constrained && row.sampler->needs_chain(); };
  if (std::none_of(rows.begin(), rows.end(), wants)) return {};
  chains_.assign(rows.size(), {});
  if (row_changes_.size() < rows.size()) row_changes_.resize(rows.size());
  constexpr int64_t kOwn = BatchInputs::kChangesPerRow;
  constexpr int64_t kMost = kOwn + BatchInputs::kChangesBesides;
  for_rows(rows, [&](Row& row, int64_t i, Candidates&) -> Status {
    const auto at = static_cast<size_t>(i);
    row_changes_[at].clear();
    if (wants(row)) row.sampler->device_row(chains_[at], row_changes_[at], kMost);
    return {};
  });
  changes_.clear();
  int64_t besides = BatchInputs::kChangesBesides;
  bool any = false;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (chains_[i].chooses == 0) continue;
    const int64_t more = std::max<int64_t>(std::ssize(row_changes_[i]) - kOwn, 0);
    if (more > besides) {
      chains_[i] = {};
      continue;
    }
    besides -= more;
    any = true;
    chains_[i].first_change = static_cast<int32_t>(changes_.size());
    changes_.insert(changes_.end(), row_changes_[i].begin(), row_changes_[i].end());
  }
  return any ? DeviceChains{chains_, changes_} : DeviceChains{};
}

Status StepSampler::run_with_summaries(std::span<const StepItem> items, std::span<Row> rows,
                                       const Engine::Meanwhile& meanwhile) {
  draws_.clear();
  for (const Row& row : rows) draws_.push_back(row.sampler->device_draw());
  const StepSummaries summaries =
      TRY(engine_.step_summaries(items, draws_, meanwhile, plan_chains(rows)));
  undecided_.assign(rows.size(), 0);
  for_rows(rows, [&](Row& row, int64_t i, Candidates& scratch) -> Status {
    auto sampled = TRY(row.sampler->sample(summaries.row(i), row.allowed, scratch));
    if (sampled) {
      row.sampled = *std::move(sampled);
    } else {
      undecided_[static_cast<size_t>(i)] = 1;
    }
    return {};
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    if (undecided_[i] == 0) continue;
    ++rows_fetched_;
    const std::span<const float> logits = TRY(engine_.logits_row(static_cast<int64_t>(i)));
    auto sampled = rows[i].sampler->sample(logits, rows[i].allowed, scratch_[0]);
    if (sampled.ok()) {
      rows[i].sampled = *std::move(sampled);
    } else {
      rows[i].status = sampled.error();
    }
  }
  return {};
}

}  // namespace realm
