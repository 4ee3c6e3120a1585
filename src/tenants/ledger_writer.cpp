#include "tenants/ledger_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace realm {
namespace {

// A transaction's size: a long backlog is written in pieces, so that administrators get their turn.
constexpr size_t kBatchRowsMax = 5000;

}  // namespace

Result<std::unique_ptr<LedgerWriter>> LedgerWriter::open(const std::string& path,
                                                         const LedgerOptions& options) {
  auto database = TRY(SqliteDatabase::open(path, false));
  return std::unique_ptr<LedgerWriter>(new LedgerWriter(std::move(database), options));
}

LedgerWriter::LedgerWriter(std::unique_ptr<SqliteDatabase> database, const LedgerOptions& options)
    : database_(std::move(database)), options_(options), thread_([this] { run(); }) {}

LedgerWriter::~LedgerWriter() {
  const Status stopped = stop();
  if (!stopped.ok()) spdlog::error("usage ledger: {}", stopped.error().message);
}

void LedgerWriter::append(UsageRow row, OnDurable on_durable) {
  {
    const std::lock_guard lock(mutex_);
    CHECK(!stopping_);
    waiting_.push_back({std::move(row), std::move(on_durable)});
    ++stats_.rows_appended;
    // Otherwise the writer wakes by its interval: a wake-up a row would cost more than the row.
    if (!is_synchronous() && waiting_.size() > 1) return;
  }
  wake_.notify_one();
}

bool LedgerWriter::flush(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const uint64_t goal = stats_.rows_appended;
  flush_wanted_ = true;
  wake_.notify_one();
  return written_.wait_for(lock, timeout,
                           [&] { return stats_.rows_written + stats_.rows_known >= goal; });
}

bool LedgerWriter::accepting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size() + num_in_batch_ < options_.waiting_rows_max;
}

LedgerStats LedgerWriter::stats() const {
  const std::lock_guard lock(mutex_);
  LedgerStats stats = stats_;
  stats.rows_waiting = waiting_.size() + num_in_batch_;
  return stats;
}

Status LedgerWriter::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) return {};
  const std::string lost = std::to_string(waiting_.size()) + " requests' rows could not be written";
  const Error why = stats_.fault.value_or(Error{ErrorCode::kIo, "the store failed"});
  waiting_.clear();
  return Error{why.code, lost + ": " + why.message};
}

bool LedgerWriter::next_batch(std::vector<Entry>& out) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return !waiting_.empty() || stopping_; });
  const auto now_or_never = [&] { return flush_wanted_ || stopping_; };
  // A first row waits for company; after a failure all of them wait for better times.
  const bool failed = stats_.fault.has_value();
  const auto pause = failed ? options_.retry_interval : options_.flush_interval;
  if (failed && stopping_ && std::exchange(failed_since_stop_, true)) return false;
  if (pause.count() > 0) wake_.wait_for(lock, pause, now_or_never);
  if (waiting_.empty()) return false;
  const size_t num_rows = std::min(waiting_.size(), kBatchRowsMax);
  const auto end = waiting_.begin() + static_cast<ptrdiff_t>(num_rows);
  out.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  num_in_batch_ = num_rows;
  if (waiting_.empty()) flush_wanted_ = false;
  return true;
}

Status LedgerWriter::write(const std::vector<Entry>& batch, uint64_t& num_written) {
  num_written = 0;
  SqliteTransaction transaction = TRY(SqliteTransaction::begin(*database_));
  {
    SqliteStatement insert = TRY(database_->prepare(
        "INSERT INTO usage(request_id, tenant_id, key_id, model, adapter, prompt_tokens, "
        "cached_tokens, generated_tokens, queue_us, run_us, outcome, arrived_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(request_id) DO NOTHING"));
    for (const Entry& entry : batch) {
      const UsageRow& row = entry.row;
      insert.reset();
      insert.bind(std::string_view(row.request_id)).bind(static_cast<int64_t>(row.tenant));
      insert.bind(static_cast<int64_t>(row.key)).bind(std::string_view(row.model));
      insert.bind(std::string_view(row.adapter)).bind(row.prompt_tokens).bind(row.cached_tokens);
      insert.bind(row.generated_tokens).bind(row.queue_us).bind(row.run_us);
      insert.bind(std::string_view(row.outcome)).bind(row.arrived_ms);
      TRY(insert.run());
      num_written += static_cast<uint64_t>(database_->num_changed());
    }
  }
  return transaction.commit();
}

void LedgerWriter::finish_batch(std::vector<Entry>& batch, const Status& status,
                                uint64_t num_written) {
  {
    const std::lock_guard lock(mutex_);
    num_in_batch_ = 0;
    if (!status.ok()) {
      if (!stats_.fault) spdlog::error("usage ledger: {}; trying on", status.error().message);
      stats_.fault = status.error();
      waiting_.insert(waiting_.begin(), std::make_move_iterator(batch.begin()),
                      std::make_move_iterator(batch.end()));
      return;
    }
    if (stats_.fault) spdlog::warn("usage ledger: the store can be written to again");
    stats_.fault.reset();
    stats_.rows_written += num_written;
    stats_.rows_known += batch.size() - num_written;
  }
  written_.notify_all();
  for (const Entry& entry : batch) {
    if (entry.on_durable) entry.on_durable();
  }
}

void LedgerWriter::run() {
  std::vector<Entry> batch;
  while (next_batch(batch)) {
    uint64_t num_written = 0;
    const Status status = write(batch, num_written);
    finish_batch(batch, status, num_written);
    batch.clear();
  }
}

}  // namespace realm
