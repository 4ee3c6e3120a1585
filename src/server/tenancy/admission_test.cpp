// Quotas before requests, ledger rows and reports after them.
#include <gtest/gtest.h>

#include "base/clock.h"
#include "server/tenancy/tenant_authenticator.h"
#include "tenants/tenant_store_testing.h"

namespace realm::server {
namespace {

class Admissions : public TenantStoreTest {
 protected:
  void SetUp() override {
    TenantStoreTest::SetUp();
    open(std::chrono::milliseconds(1000));
  }
  void open(std::chrono::milliseconds flush_interval) {
    authenticator_.reset();
    tenancy_.reset();
    TenancyOptions options;
    options.store_path = path_;
    options.ledger.flush_interval = flush_interval;
    auto tenancy = Tenancy::open(std::move(options));
    ASSERT_TRUE(tenancy.ok()) << tenancy.error().message;
    tenancy_ = std::move(tenancy).value();
    authenticator_ = std::make_unique<TenantAuthenticator>(tenancy_.get(), reports_);
  }
  void set(const Quotas& quotas) {
    ASSERT_TRUE(tenancy_->store().set_tenant("default", quotas, false).ok());
    ASSERT_TRUE(tenancy_->directory().refresh().ok());
  }
  std::optional<ApiError> admit(const Demand& demand) {
    return authenticator_->admit(principal_, demand, admission_);
  }
  UsageRecord record(const std::string& id, int64_t generated) const {
    UsageRecord out{.principal = principal_, .request_id = id, .model = "tiny"};
    out.prompt_tokens = 10;
    out.generated_tokens = generated;
    out.arrived = std::chrono::system_clock::now();
    return out;
  }
  int64_t num_rows() {
    EXPECT_TRUE(tenancy_->ledger().flush(std::chrono::seconds(10)));
    return tenancy_->store().usage({})->front().requests;
  }

  RequestReports reports_{10};
  std::unique_ptr<Tenancy> tenancy_;
  std::unique_ptr<TenantAuthenticator> authenticator_;
  std::unique_ptr<Admission> admission_;
  const Principal principal_{.tenant = kDefaultTenant, .tenant_name = "default"};
};

TEST_F(Admissions, ARowForEachRequestAndNoneForARefusedOne) {
  Quotas quotas;
  quotas.requests_per_minute = 1;
  set(quotas);
  ASSERT_FALSE(admit({.prompt_tokens = 10, .max_tokens = 5}).has_value());
  bool is_done = false;
  admission_->record(record("req_1", 5), [&] { is_done = true; });
  EXPECT_TRUE(is_done);
  const auto refused = admit({.prompt_tokens = 10, .max_tokens = 5});
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->code, "rate_limit_exceeded");
  EXPECT_NE(refused->message.find("requests_per_minute"), std::string::npos);
  EXPECT_GE(refused->retry_after_s.value_or(0), 1);
  EXPECT_LE(refused->retry_after_s.value_or(0), 61);
  EXPECT_EQ(num_rows(), 1);
  const std::string metrics = reports_.metrics().scrape({});
  EXPECT_NE(metrics.find("realm_quota_rejections_total{quota=\"requests_per_minute\",tenant="
                         "\"default\"} 1"),
            std::string::npos);
  EXPECT_NE(metrics.find("realm_requests_total{status=\"stop\",tenant=\"default\"} 1"),
            std::string::npos);
}

TEST_F(Admissions, ARequestThatNeverStartedCostsNothing) {
  Quotas quotas;
  quotas.requests_per_minute = 1;
  quotas.tokens_per_minute = 100;
  set(quotas);
  for (int i = 0; i < 5; ++i) {
    ASSERT_FALSE(admit({.prompt_tokens = 50, .max_tokens = 50}).has_value());
    admission_.reset();
  }
  EXPECT_EQ(num_rows(), 0);
}

TEST_F(Admissions, WhatIsReservedAndNotUsedComesBack) {
  Quotas quotas;
  quotas.tokens_per_minute = 100;
  set(quotas);
  ASSERT_FALSE(admit({.prompt_tokens = 10, .max_tokens = 40, .sequences = 2}).has_value());
  std::unique_ptr<Admission> first = std::move(admission_);
  EXPECT_EQ(admit({.prompt_tokens = 10, .max_tokens = 10})->status, 429);
  first->record(record("req_1", 5), [] {});
  EXPECT_FALSE(admit({.prompt_tokens = 10, .max_tokens = 10}).has_value());
}

TEST_F(Admissions, WithoutAMaximumTheQuotaIsOne) {
  Quotas quotas;
  quotas.tokens_per_minute = 100;
  set(quotas);
  ASSERT_FALSE(admit({.prompt_tokens = 20, .context = 4096, .sequences = 2}).has_value());
  EXPECT_EQ(admission_->max_tokens(), 40);
  admission_.reset();
  const auto refused = admit({.prompt_tokens = 20, .max_tokens = 81});
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status, 400);
  EXPECT_EQ(refused->code, "quota_too_small");
}

TEST_F(Admissions, CountersSurviveARestart) {
  Quotas quotas;
  quotas.tokens_per_day = 100;
  quotas.requests_per_minute = 2;
  set(quotas);
  ASSERT_FALSE(admit({.prompt_tokens = 10, .max_tokens = 70}).has_value());
  admission_->record(record("req_1", 70), [] {});
  admission_.reset();
  ASSERT_TRUE(tenancy_->ledger().stop().ok());
  open(std::chrono::milliseconds(1000));
  EXPECT_EQ(admit({.prompt_tokens = 10, .max_tokens = 11})->status, 429);
  EXPECT_FALSE(admit({.prompt_tokens = 10, .max_tokens = 10}).has_value());
  EXPECT_EQ(admit({.prompt_tokens = 0, .max_tokens = 0})->status, 429);
}

TEST_F(Admissions, SynchronousRowsAreThereBeforeTheAnswerEnds) {
  open(std::chrono::milliseconds(0));
  ASSERT_FALSE(admit({.prompt_tokens = 10, .max_tokens = 5}).has_value());
  std::atomic<bool> is_done = false;
  admission_->record(record("req_1", 5), [&] {
    is_done = true;
    is_done.notify_all();
  });
  is_done.wait(false);
  EXPECT_EQ(tenancy_->store().usage({})->front().requests, 1);
}

TEST_F(Admissions, PoliciesAreTheQuotas) {
  const TenantPolicy open = policy_of({});
  EXPECT_EQ(open.max_running, kUnlimited);
  EXPECT_EQ(open.max_pages, kUnlimited);
  Quotas quotas;
  quotas.weight = 2.5;
  quotas.concurrent_requests = 3;
  quotas.queued_requests = 0;
  quotas.kv_pages = 7;
  const TenantPolicy policy = policy_of(quotas);
  EXPECT_EQ(policy.weight, 2.5);
  EXPECT_EQ(policy.max_running, 3);
  EXPECT_EQ(policy.max_queued, 0);
  EXPECT_EQ(policy.max_pages, 7);
}

}  // namespace
}  // namespace realm::server
