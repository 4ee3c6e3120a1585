#include "tenants/usage_report.h"

#include <gtest/gtest.h>

#include "tenants/ledger_writer.h"
#include "tenants/tenant_store_testing.h"

namespace realm {
namespace {

constexpr int64_t kDay = 86'400'000;

class Report : public TenantStoreTest {
 protected:
  void SetUp() override {
    TenantStoreTest::SetUp();
    store_ = open_store();
    const auto acme = store_->create_tenant("acme", {}, kTestNow);
    acme_ = acme->id;
    key_ = store_->create_key({.tenant = "acme"}, kTestNow)->record;
    auto ledger = LedgerWriter::open(path_, {});
    add(**ledger, {.request_id = "1", .tenant = kDefaultTenant, .generated_tokens = 1});
    add(**ledger, {.request_id = "2", .tenant = acme_, .key = key_.id, .generated_tokens = 10});
    add(**ledger, {.request_id = "3",
                   .tenant = acme_,
                   .key = key_.id,
                   .adapter = "style",
                   .generated_tokens = 100,
                   .outcome = "cancelled",
                   .arrived_ms = kTestNow + kDay});
    EXPECT_TRUE((*ledger)->stop().ok());
  }

  static void add(LedgerWriter& ledger, UsageRow row) {
    row.model = "tiny";
    row.prompt_tokens = 2;
    if (row.outcome.empty()) row.outcome = "stop";
    if (row.arrived_ms == 0) row.arrived_ms = kTestNow;
    ledger.append(std::move(row));
  }

  // "a/b:generated" for each group.
  std::vector<std::string> report(const UsageQuery& query) {
    std::vector<std::string> lines;
    const auto totals = store_->usage(query);
    EXPECT_TRUE(totals.ok());
    for (const UsageTotal& total : *totals) {
      std::string line;
      for (const std::string& part : total.group) line += (line.empty() ? "" : "/") + part;
      lines.push_back(line + ":" + std::to_string(total.generated_tokens));
    }
    return lines;
  }

  using Lines = std::vector<std::string>;
  std::unique_ptr<TenantStore> store_;
  TenantId acme_{};
  KeyRecord key_;
};

TEST_F(Report, GroupsByEachDimension) {
  using enum UsageDimension;
  EXPECT_EQ(report({}), (Lines{":111"}));
  EXPECT_EQ(report({.by = {kTenant}}), (Lines{"acme:110", "default:1"}));
  EXPECT_EQ(report({.by = {kKey}}), (Lines{":1", key_.prefix + ":110"}));
  EXPECT_EQ(report({.by = {kModel}}), (Lines{"tiny:111"}));
  EXPECT_EQ(report({.by = {kAdapter}}), (Lines{":11", "style:100"}));
  EXPECT_EQ(report({.by = {kOutcome}}), (Lines{"cancelled:100", "stop:11"}));
  EXPECT_EQ(report({.by = {kDay}}), (Lines{"2025-11-24:11", "2025-11-25:100"}));
  EXPECT_EQ(report({.by = {kDay, kTenant}}),
            (Lines{"2025-11-24/acme:10", "2025-11-24/default:1", "2025-11-25/acme:100"}));
}

TEST_F(Report, Filters) {
  EXPECT_EQ(report({.tenant = "acme"}), (Lines{":110"}));
  EXPECT_EQ(report({.key = key_.prefix}), (Lines{":110"}));
  EXPECT_EQ(report({.model = "other"}), (Lines{":0"}));
  EXPECT_EQ(report({.since_ms = kTestNow + 1}), (Lines{":100"}));
  EXPECT_EQ(report({.until_ms = kTestNow + 1}), (Lines{":11"}));
  EXPECT_EQ(report({.by = {UsageDimension::kTenant}, .tenant = "x' OR 1=1 --"}), Lines{});
}

TEST_F(Report, ARemovedTenantsUsageStays) {
  ASSERT_TRUE(store_->remove_tenant("acme", kTestNow).ok());
  EXPECT_EQ(report({.by = {UsageDimension::kTenant}}), (Lines{"acme:110", "default:1"}));
}

TEST_F(Report, DimensionsByName) {
  EXPECT_EQ(*parse_usage_dimension("day"), UsageDimension::kDay);
  EXPECT_EQ(usage_dimension_name(UsageDimension::kKey), "key");
  EXPECT_EQ(parse_usage_dimension("week").error().code, ErrorCode::kInvalidArgument);
}

TEST_F(Report, RecentUseBySecond) {
  auto database = SqliteDatabase::open(path_, false);
  std::vector<RecentUse> seen;
  ASSERT_TRUE(for_each_recent_use(**database, kTestNow, [&](const RecentUse& use) {
                seen.push_back(use);
              }).ok());
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[1].tenant, acme_);
  EXPECT_EQ(seen[1].arrived_ms, kTestNow);
  EXPECT_EQ(seen[1].requests, 1);
  EXPECT_EQ(seen[1].tokens, 12);
  EXPECT_EQ(seen[2].tokens, 102);
}

}  // namespace
}  // namespace realm
