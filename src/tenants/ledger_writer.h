// Writes usage rows off the serving path: whoever ends a request appends its row and goes on; the
// writer's own thread puts what has gathered into the store in one transaction, every
// `flush_interval` or at once where that is zero. stop() (SIGTERM) writes all that was appended; a
// process that is killed loses at most the rows of its last interval. A row is told apart by its
// request id, so that a batch tried again after a failure never counts twice.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "tenants/sqlite.h"
#include "tenants/usage.h"

namespace realm {

struct LedgerOptions {
  std::chrono::milliseconds flush_interval{1000};  // 0: a response ends after its row is durable
  // Rows that may wait while the store cannot be written to (a full disk). Beyond it accepting()
  // turns false: a server that cannot account takes no more work.
  size_t waiting_rows_max = 100000;
  std::chrono::milliseconds retry_interval{500};
};

struct LedgerStats {
  uint64_t rows_appended = 0;
  uint64_t rows_written = 0;
  uint64_t rows_known = 0;  // left out, their request id being there already
  size_t rows_waiting = 0;
  std::optional<Error> fault;  // why the last try failed; empty when all is well
};

class LedgerWriter {
 public:
  // Called on the writer's thread once the row is durable.
  using OnDurable = std::function<void()>;

  // `path` is a store that TenantStore has opened (and so migrated) before.
  static Result<std::unique_ptr<LedgerWriter>> open(const std::string& path,
                                                    const LedgerOptions& options);
  // As stop().
  ~LedgerWriter();

  // Whether a request's end must wait for its row (flush_interval is 0).
  bool is_synchronous() const { return options_.flush_interval.count() == 0; }
  // Never blocks. Not after stop().
  void append(UsageRow row, OnDurable on_durable = {});
  // Waits until all that was appended before is durable, for at most `timeout`; false: it is not.
  bool flush(std::chrono::milliseconds timeout);
  // False while the store has failed for so long that too many rows wait.
  bool accepting() const;
  LedgerStats stats() const;

  // Writes what is left and ends the thread. Errors: why some rows could not be written. Calls
  // after the first do nothing.
  Status stop();

 private:
  struct Entry {
    UsageRow row;
    OnDurable on_durable;
  };

  LedgerWriter(std::unique_ptr<SqliteDatabase> database, const LedgerOptions& options);
  void run();
  // The thread's wait for something to do; false: stop, there is nothing left.
  bool next_batch(std::vector<Entry>& out);
  Status write(const std::vector<Entry>& batch, uint64_t& num_written);
  void finish_batch(std::vector<Entry>& batch, const Status& status, uint64_t num_written);

  std::unique_ptr<SqliteDatabase> database_;
  const LedgerOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;     // the writer: rows, a flush or the end
  std::condition_variable written_;  // those in flush()
  std::vector<Entry> waiting_;
  size_t num_in_batch_ = 0;
  bool flush_wanted_ = false;
  bool stopping_ = false;
  bool failed_since_stop_ = false;
  LedgerStats stats_;
  std::thread thread_;
};

}  // namespace realm
