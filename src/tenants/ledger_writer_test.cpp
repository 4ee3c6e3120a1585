#include "tenants/ledger_writer.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <set>

#include "tenants/tenant_store_testing.h"

namespace realm {
namespace {

using namespace std::chrono_literals;

UsageRow row(const std::string& id, int64_t generated = 5) {
  UsageRow row;
  row.request_id = id;
  row.tenant = kDefaultTenant;
  row.model = "tiny";
  row.prompt_tokens = 10;
  row.cached_tokens = 3;
  row.generated_tokens = generated;
  row.queue_us = 100;
  row.run_us = 2000;
  row.outcome = "stop";
  row.arrived_ms = kTestNow;
  return row;
}

class Ledger : public TenantStoreTest {
 protected:
  void SetUp() override {
    TenantStoreTest::SetUp();
    store_ = open_store();
  }
  std::unique_ptr<LedgerWriter> open_ledger(const LedgerOptions& options) {
    auto ledger = LedgerWriter::open(path_, options);
    EXPECT_TRUE(ledger.ok());
    return std::move(ledger).value();
  }
  UsageTotal total() {
    const auto totals = store_->usage({});
    EXPECT_TRUE(totals.ok());
    return totals->front();
  }
  std::unique_ptr<TenantStore> store_;
};

TEST_F(Ledger, RowsArriveWhole) {
  const auto ledger = open_ledger({});
  ledger->append(row("a", 7));
  ledger->append(row("b", 8));
  ASSERT_TRUE(ledger->flush(10s));
  const UsageTotal sum = total();
  EXPECT_EQ(sum.requests, 2);
  EXPECT_EQ(sum.prompt_tokens, 20);
  EXPECT_EQ(sum.cached_tokens, 6);
  EXPECT_EQ(sum.generated_tokens, 15);
  EXPECT_EQ(sum.queue_us, 200);
  EXPECT_EQ(sum.run_us, 4000);
}

TEST_F(Ledger, StopWritesWhatWaits) {
  LedgerOptions options;
  options.flush_interval = 1h;
  const auto ledger = open_ledger(options);
  for (int i = 0; i < 12000; ++i) ledger->append(row("r" + std::to_string(i)));
  EXPECT_EQ(total().requests, 0);
  ASSERT_TRUE(ledger->stop().ok());
  EXPECT_TRUE(ledger->stop().ok());
  EXPECT_EQ(total().requests, 12000);
  EXPECT_EQ(ledger->stats().rows_written, 12000u);
  EXPECT_EQ(ledger->stats().rows_waiting, 0u);
}

TEST_F(Ledger, ARequestIsNeverCountedTwice) {
  {
    const auto ledger = open_ledger({});
    ledger->append(row("same", 1));
    ledger->append(row("same", 1));
    ASSERT_TRUE(ledger->flush(10s));
    EXPECT_EQ(ledger->stats().rows_known, 1u);
  }
  const auto ledger = open_ledger({});
  ledger->append(row("same", 1));
  ASSERT_TRUE(ledger->flush(10s));
  EXPECT_EQ(total().requests, 1);
  EXPECT_EQ(total().generated_tokens, 1);
}

TEST_F(Ledger, SynchronousRowsAreDurableBeforeTheyAreReported) {
  LedgerOptions options;
  options.flush_interval = 0ms;
  const auto ledger = open_ledger(options);
  EXPECT_TRUE(ledger->is_synchronous());
  std::atomic<int> num_durable = 0;
  for (int i = 0; i < 50; ++i) {
    ledger->append(row("r" + std::to_string(i)), [&] { ++num_durable; });
  }
  ASSERT_TRUE(ledger->flush(10s));
  ASSERT_TRUE(ledger->stop().ok());
  EXPECT_EQ(num_durable, 50);
  EXPECT_EQ(total().requests, 50);
}

TEST_F(Ledger, AStoreThatFailsIsTriedAgainUntilItWorks) {
  LedgerOptions options;
  options.flush_interval = 1ms;
  options.retry_interval = 1ms;
  options.waiting_rows_max = 2;
  const auto ledger = open_ledger(options);
  auto other = SqliteDatabase::open(path_, false);
  ASSERT_TRUE(other.ok());
  // As a full disk would: the rows cannot be written for a while.
  ASSERT_TRUE((*other)->execute("ALTER TABLE usage RENAME TO elsewhere").ok());
  ledger->append(row("a"));
  ledger->append(row("b"));
  EXPECT_FALSE(ledger->flush(100ms));
  EXPECT_TRUE(ledger->stats().fault.has_value());
  EXPECT_FALSE(ledger->accepting());
  ASSERT_TRUE((*other)->execute("ALTER TABLE elsewhere RENAME TO usage").ok());
  ASSERT_TRUE(ledger->flush(10s));
  EXPECT_TRUE(ledger->accepting());
  EXPECT_FALSE(ledger->stats().fault.has_value());
  EXPECT_EQ(total().requests, 2);
}

TEST_F(Ledger, RowsThatCannotBeWrittenAtTheEndAreReported) {
  const auto ledger = open_ledger({});
  auto other = SqliteDatabase::open(path_, false);
  ASSERT_TRUE((*other)->execute("ALTER TABLE usage RENAME TO elsewhere").ok());
  ledger->append(row("a"));
  const Status stopped = ledger->stop();
  ASSERT_FALSE(stopped.ok());
  EXPECT_NE(stopped.error().message.find("1 requests' rows"), std::string::npos);
}

TEST_F(Ledger, ManyThreadsAppendWhileItWrites) {
  LedgerOptions options;
  options.flush_interval = 1ms;
  const auto ledger = open_ledger(options);
  constexpr int kThreads = 4, kRows = 500;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kRows; ++i) {
        ledger->append(row(std::to_string(thread) + "-" + std::to_string(i)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(ledger->stop().ok());
  EXPECT_EQ(total().requests, kThreads * kRows);
}

// A process that is killed while it writes as fast as it can: what it had reported as durable is
// there, once, and the file is sound.
TEST_F(Ledger, KilledInTheMiddleItIsSoundAndKeepsWhatItReported) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a forked child cannot start threads under ThreadSanitizer";
#endif
  store_.reset();  // no connection may be carried over a fork
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(pipe[0]);
    LedgerOptions options;
    options.flush_interval = 0ms;
    auto ledger = LedgerWriter::open(path_, options);
    if (!ledger.ok()) ::_exit(1);
    for (uint32_t i = 0;; ++i) {
      std::atomic<bool> is_durable = false;
      (*ledger)->append(row("r" + std::to_string(i)), [&] {
        is_durable = true;
        is_durable.notify_one();
      });
      is_durable.wait(false);
      if (::write(pipe[1], &i, sizeof i) != sizeof i) ::_exit(1);
    }
  }
  ::close(pipe[1]);
  uint32_t last = 0;
  for (int i = 0; i < 40; ++i) ASSERT_EQ(::read(pipe[0], &last, sizeof last), sizeof last);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  while (::read(pipe[0], &last, sizeof last) == sizeof last) {
  }
  ::close(pipe[0]);

  auto database = SqliteDatabase::open(path_, false);
  ASSERT_TRUE(database.ok());
  auto check = (*database)->prepare("PRAGMA integrity_check");
  ASSERT_TRUE(check.ok() && check->step().ok());
  EXPECT_EQ(check->text(0), "ok");
  store_ = open_store();
  const UsageTotal sum = total();
  // One row may have become durable without the child's getting to say so.
  EXPECT_GE(sum.requests, last + 1);
  EXPECT_LE(sum.requests, last + 2);
  EXPECT_EQ(sum.generated_tokens, 5 * sum.requests);
}

}  // namespace
}  // namespace realm
