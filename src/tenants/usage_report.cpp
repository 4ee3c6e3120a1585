#include "tenants/usage_report.h"

#include <algorithm>

namespace realm {
namespace {

struct DimensionRow {
  UsageDimension dimension;
  std::string_view name;
  std::string_view sql;
};
// Rows of removed tenants keep their name; rows of a server without keys have none.
constexpr DimensionRow kDimensions[] = {
    {UsageDimension::kTenant, "tenant", "coalesce(tenants.name, '')"},
    {UsageDimension::kKey, "key", "coalesce(keys.prefix, '')"},
    {UsageDimension::kModel, "model", "usage.model"},
    {UsageDimension::kAdapter, "adapter", "usage.adapter"},
    {UsageDimension::kOutcome, "outcome", "usage.outcome"},
    {UsageDimension::kDay, "day", "strftime('%Y-%m-%d', usage.arrived_ms / 1000, 'unixepoch')"},
};

const DimensionRow& row_of(UsageDimension dimension) {
  const auto* found =
      std::find_if(std::begin(kDimensions), std::end(kDimensions),
                   [&](const DimensionRow& row) { return row.dimension == dimension; });
  CHECK(found != std::end(kDimensions));
  return *found;
}

}  // namespace

Result<UsageDimension> parse_usage_dimension(std::string_view name) {
  std::string known;
  for (const DimensionRow& row : kDimensions) {
    if (row.name == name) return row.dimension;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  return Error{ErrorCode::kInvalidArgument,
               "usage cannot be summed by '" + std::string(name) + "', only by " + known};
}

std::string_view usage_dimension_name(UsageDimension dimension) {
  return row_of(dimension).name;
}

Result<std::vector<UsageTotal>> read_usage(SqliteDatabase& database, const UsageQuery& query) {
  std::string columns, order;
  int num_columns = 0;
  for (const UsageDimension dimension : query.by) {
    columns += std::string(row_of(dimension).sql) + ", ";
    order += (order.empty() ? "" : ", ") + std::to_string(++num_columns);
  }
  std::string sql =
      "SELECT " + columns +
      "count(*), total(prompt_tokens), total(cached_tokens), total(generated_tokens), "
      "total(queue_us), total(run_us) FROM usage "
      "LEFT JOIN tenants ON tenants.id = usage.tenant_id LEFT JOIN keys ON keys.id = usage.key_id "
      "WHERE (?1 = '' OR tenants.name = ?1) AND (?2 = '' OR keys.prefix = ?2) "
      "AND (?3 = '' OR usage.model = ?3) AND usage.arrived_ms >= ?4 AND usage.arrived_ms < ?5";
  if (!order.empty()) sql += " GROUP BY " + order + " ORDER BY " + order;
  SqliteStatement statement = TRY(database.prepare(sql));
  statement.bind(std::string_view(query.tenant)).bind(std::string_view(query.key));
  statement.bind(std::string_view(query.model));
  statement.bind(query.since_ms.value_or(INT64_MIN)).bind(query.until_ms.value_or(INT64_MAX));
  std::vector<UsageTotal> totals;
  while (TRY(statement.step())) {
    UsageTotal total;
    int column = 0;
    for (size_t i = 0; i < query.by.size(); ++i) total.group.push_back(statement.text(column++));
    for (int64_t UsageTotal::*member :
         {&UsageTotal::requests, &UsageTotal::prompt_tokens, &UsageTotal::cached_tokens,
          &UsageTotal::generated_tokens, &UsageTotal::queue_us, &UsageTotal::run_us}) {
      total.*member = statement.integer(column++);
    }
    totals.push_back(std::move(total));
  }
  return totals;
}

Status for_each_recent_use(SqliteDatabase& database, int64_t since_ms,
                           const std::function<void(const RecentUse&)>& visit) {
  SqliteStatement query = TRY(
      database.prepare("SELECT tenant_id, arrived_ms / 1000 AS second, count(*), "
                       "sum(prompt_tokens + generated_tokens) FROM usage WHERE arrived_ms >= ?1 "
                       "GROUP BY second, tenant_id ORDER BY second"));
  query.bind(since_ms);
  while (TRY(query.step())) {
    visit(
        {TenantId{query.integer(0)}, query.integer(1) * 1000, query.integer(2), query.integer(3)});
  }
  return {};
}

}  // namespace realm
