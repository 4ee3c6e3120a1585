#include "tenants/schema.h"

#include <string>

namespace realm {
namespace {

// Marks the file as ours ("Rlm1"), so that another program's database is never written to.
constexpr int64_t kApplicationId = 0x526c6d31;

// A step, once released, never changes: a correction is a further step.
constexpr const char* kMigrations[] = {
    // 1. Tenants and keys are never deleted, since the ledger speaks of them: they are removed and
    // revoked. A removed tenant's name is free again.
    R"sql(
CREATE TABLE tenants (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  removed_ms INTEGER,
  suspended INTEGER NOT NULL DEFAULT 0,
  weight REAL NOT NULL DEFAULT 1.0,
  priority INTEGER NOT NULL DEFAULT 1,
  concurrent_requests INTEGER NOT NULL DEFAULT -1,
  queued_requests INTEGER NOT NULL DEFAULT -1,
  kv_pages INTEGER NOT NULL DEFAULT -1,
  requests_per_minute INTEGER NOT NULL DEFAULT -1,
  tokens_per_minute INTEGER NOT NULL DEFAULT -1,
  tokens_per_day INTEGER NOT NULL DEFAULT -1
) STRICT;
CREATE UNIQUE INDEX tenants_by_name ON tenants(name) WHERE removed_ms IS NULL;
INSERT INTO tenants(id, name, created_ms)
  VALUES (1, 'default', CAST(strftime('%s', 'now') AS INTEGER) * 1000);

CREATE TABLE keys (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant_id INTEGER NOT NULL REFERENCES tenants(id),
  prefix TEXT NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  name TEXT NOT NULL,
  scopes INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER
) STRICT;
CREATE INDEX keys_by_tenant ON keys(tenant_id);
CREATE TABLE key_models (
  key_id INTEGER NOT NULL REFERENCES keys(id),
  model TEXT NOT NULL,
  PRIMARY KEY (key_id, model)
) STRICT, WITHOUT ROWID;

-- Counts the changes to tenants and keys, for servers that hold them in memory.
CREATE TABLE revision (value INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (1);
CREATE TRIGGER tenant_added AFTER INSERT ON tenants BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER tenant_changed AFTER UPDATE ON tenants
  BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER key_added AFTER INSERT ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER key_changed AFTER UPDATE ON keys BEGIN UPDATE revision SET value = value + 1; END;

CREATE TABLE usage (
  id INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL UNIQUE,
  tenant_id INTEGER NOT NULL,
  key_id INTEGER NOT NULL,
  model TEXT NOT NULL,
  adapter TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  generated_tokens INTEGER NOT NULL,
  queue_us INTEGER NOT NULL,
  run_us INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  arrived_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_by_time ON usage(arrived_ms);
)sql",
};
constexpr int64_t kVersion = std::size(kMigrations);

// The schema's version, of a file that is ours or has nothing in it.
Result<int64_t> check_version(SqliteDatabase& database) {
  const int64_t version = TRY(database.query_integer("PRAGMA user_version"));
  const int64_t application = TRY(database.query_integer("PRAGMA application_id"));
  const int64_t num_objects = TRY(database.query_integer("SELECT count(*) FROM sqlite_schema"));
  const bool is_new = version == 0 && application == 0 && num_objects == 0;
  if (!is_new && application != kApplicationId) {
    return Error{ErrorCode::kIo, database.path() + ": this SQLite file is no store of Realm's"};
  }
  if (version > kVersion) {
    return Error{ErrorCode::kUnavailable, database.path() +
                                              ": a newer Realm wrote this store (schema " +
                                              std::to_string(version) + ", this one knows " +
                                              std::to_string(kVersion) + "); use that one"};
  }
  return version;
}

}  // namespace

Status migrate(SqliteDatabase& database) {
  int64_t version = TRY(check_version(database));
  if (version == kVersion) return {};
  // Kept by the file from then on. Not within a transaction, so not a migration.
  TRY(database.execute("PRAGMA journal_mode = WAL"));
  SqliteTransaction transaction = TRY(SqliteTransaction::begin(database));
  version = TRY(check_version(database));  // someone else may have been faster
  for (int64_t step = version; step < kVersion; ++step) TRY(database.execute(kMigrations[step]));
  TRY(database.execute("PRAGMA application_id = " + std::to_string(kApplicationId) +
                       "; PRAGMA user_version = " + std::to_string(kVersion)));
  return transaction.commit();
}

}  // namespace realm
