// What the commands that administer tenants, keys and usage share: they ask in the admin API's
// terms (tenants/admin_api.h), of a store file or, with --server, of a running server; both answer
// alike.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "tenants/admin_api.h"

namespace realm {

// --store, or realm/realm.db in the user's folder of data. Errors: kInvalidArgument where neither
// is known.
Result<std::string> store_path(const Settings& settings);

class Administration {
 public:
  // A store that is not there yet is made where `create` says so.
  static Result<Administration> open(const Settings& settings, bool create);

  Result<boost::json::object> ask(const AdminRequest& request);

 private:
  std::unique_ptr<TenantStore> store_;  // null: the server is asked
  std::string server_, admin_key_;
};

// "2025-11-24 16:00" in UTC; "-" for null.
std::string shown_time(const boost::json::value& unix_ms);
// "30d", "12h", "90m" (counted from `now_ms`: forwards, or back where `past`) or a day or moment as
// "2026-01-31" or "2026-01-31T12:00:00Z". Errors: kInvalidArgument.
Result<int64_t> parse_time(const std::string& text, int64_t now_ms, bool past);

// Rows under a first one of titles, columns aligned.
std::string aligned(const std::vector<std::vector<std::string>>& rows);
// A JSON scalar as a person reads it.
std::string shown(const boost::json::value& value);

}  // namespace realm
