// The administrator's side of the store: tenants, their quotas, their keys. The command line works
// on it offline, the server through its admin API; both at once is fine (SQLite's locks). Every
// method may be called from any thread. Requests never come here: they are served from a
// KeyDirectory (key_directory.h), and usage is written by a LedgerWriter (ledger_writer.h).
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tenants/records.h"
#include "tenants/sqlite.h"
#include "tenants/usage_report.h"

namespace realm {

struct NewKeyRequest {
  std::string tenant = "default";
  std::string name = {};
  Scopes scopes = Scope::kInference;
  std::vector<std::string> models = {};    // empty: every one
  std::optional<int64_t> expires_ms = {};  // empty: never
};

struct CreatedKey {
  KeyRecord record;
  std::string text;  // the key itself: the only time it is ever seen
};

// Empty: all.
struct KeyFilter {
  std::string tenant = {};
  std::string prefix = {};  // or the beginning of one
};

class TenantStore {
 public:
  // Opens the file, makes it where `create` says so, and brings it to this program's schema.
  static Result<std::unique_ptr<TenantStore>> open(const std::string& path, bool create);

  // Errors: kInvalidArgument for a wrong name or one that is taken.
  Result<TenantRecord> create_tenant(const std::string& name, const Quotas& quotas, int64_t now_ms);
  Result<std::vector<TenantRecord>> list_tenants();
  // Errors: kNotFound.
  Result<TenantRecord> find_tenant(const std::string& name);
  Result<TenantRecord> set_tenant(const std::string& name, const Quotas& quotas, bool suspended);
  // Revokes its keys; its usage stays. The default tenant cannot be removed.
  Status remove_tenant(const std::string& name, int64_t now_ms);

  Result<CreatedKey> create_key(const NewKeyRequest& request, int64_t now_ms);
  Result<std::vector<KeyRecord>> list_keys(const KeyFilter& filter);
  // `prefix` is a key's prefix or the beginning of one, if it fits one key alone. A key that was
  // revoked before stays as it is.
  Result<KeyRecord> revoke_key(const std::string& prefix, int64_t now_ms);

  Result<std::vector<UsageTotal>> usage(const UsageQuery& query);

  const std::string& path() const { return database_->path(); }

 private:
  explicit TenantStore(std::unique_ptr<SqliteDatabase> database) : database_(std::move(database)) {}

  std::mutex mutex_;
  std::unique_ptr<SqliteDatabase> database_;
};

// For whoever reads the same tables through a connection of its own.
Result<std::vector<TenantRecord>> read_tenants(SqliteDatabase& database);
Result<std::vector<KeyRecord>> read_keys(SqliteDatabase& database, const KeyFilter& filter);

}  // namespace realm
