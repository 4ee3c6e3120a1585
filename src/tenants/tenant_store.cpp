#include "tenants/tenant_store.h"

#include <algorithm>

#include "tenants/schema.h"

namespace realm {
namespace {

constexpr size_t kKeyNameMax = 200;
constexpr size_t kModelNameMax = 200;
constexpr size_t kModelsMax = 1000;

// "weight, priority, ..." in the table's order, which is how rows are read and written below.
std::string quota_columns(std::string_view before, std::string_view after) {
  std::string sql;
  for (const QuotaField& field : quota_fields()) {
    sql += (sql.empty() ? "" : ", ") + std::string(before) + std::string(field.name) +
           std::string(after);
  }
  return sql;
}

void bind_quotas(SqliteStatement& statement, const Quotas& quotas) {
  for (const QuotaField& field : quota_fields()) {
    std::visit([&](auto member) { statement.bind(quotas.*member); }, field.member);
  }
}

Digest digest_at(const SqliteStatement& row, int column) {
  Digest digest{};
  const auto bytes = row.blob(column);
  std::copy_n(bytes.begin(), std::min(bytes.size(), digest.size()), digest.begin());
  return digest;
}

Error unknown_tenant(const std::string& name) {
  return Error{ErrorCode::kNotFound, "there is no tenant '" + name + "'"};
}

Status check_key_request(const NewKeyRequest& request, int64_t now_ms) {
  const auto wrong = [](std::string problem) {
    return Error{ErrorCode::kInvalidArgument, std::move(problem)};
  };
  if (request.name.size() > kKeyNameMax) return wrong("a key's name has at most 200 bytes");
  if (request.scopes.bits() == 0) return wrong("a key needs at least one scope");
  if (request.models.size() > kModelsMax) return wrong("a key's list has at most 1000 models");
  for (const std::string& model : request.models) {
    if (model.empty() || model.size() > kModelNameMax) {
      return wrong("a model's name in a key's list has 1 to 200 bytes");
    }
  }
  if (request.expires_ms && *request.expires_ms <= now_ms) {
    return wrong("the key would have expired already: its expiry lies in the past");
  }
  return {};
}

// What cannot begin a prefix finds nothing, without asking.
bool is_prefix_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  });
}

}  // namespace

Result<std::unique_ptr<TenantStore>> TenantStore::open(const std::string& path, bool create) {
  auto database = TRY(SqliteDatabase::open(path, create));
  TRY(migrate(*database));
  return std::unique_ptr<TenantStore>(new TenantStore(std::move(database)));
}

Result<std::vector<TenantRecord>> read_tenants(SqliteDatabase& database) {
  const std::string sql = "SELECT id, name, created_ms, suspended, " + quota_columns("", "") +
                          " FROM tenants WHERE removed_ms IS NULL ORDER BY name";
  SqliteStatement query = TRY(database.prepare(sql));
  std::vector<TenantRecord> tenants;
  while (TRY(query.step())) {
    TenantRecord tenant;
    tenant.id = TenantId{query.integer(0)};
    tenant.name = query.text(1);
    tenant.created_ms = query.integer(2);
    tenant.suspended = query.integer(3) != 0;
    int column = 4;
    for (const QuotaField& field : quota_fields()) {
      TRY(set_quota(tenant.quotas, field, query.real(column++)));
    }
    tenants.push_back(std::move(tenant));
  }
  return tenants;
}

Result<std::vector<KeyRecord>> read_keys(SqliteDatabase& database, const KeyFilter& filter) {
  if (!is_prefix_text(filter.prefix)) return std::vector<KeyRecord>{};
  SqliteStatement query = TRY(database.prepare(
      "SELECT keys.id, tenant_id, tenants.name, prefix, keys.name, scopes, keys.created_ms, "
      "expires_ms, revoked_ms, digest FROM keys JOIN tenants ON tenants.id = tenant_id "
      "WHERE removed_ms IS NULL AND (?1 = '' OR tenants.name = ?1) "
      "AND substr(prefix, 1, length(?2)) = ?2 ORDER BY tenants.name, keys.id"));
  query.bind(std::string_view(filter.tenant)).bind(std::string_view(filter.prefix));
  std::vector<KeyRecord> keys;
  while (TRY(query.step())) {
    KeyRecord key;
    key.id = KeyId{query.integer(0)};
    key.tenant = TenantId{query.integer(1)};
    key.tenant_name = query.text(2);
    key.prefix = query.text(3);
    key.name = query.text(4);
    key.scopes = Scopes(static_cast<uint8_t>(query.integer(5)));
    key.created_ms = query.integer(6);
    key.expires_ms = query.optional_integer(7);
    key.revoked_ms = query.optional_integer(8);
    key.digest = digest_at(query, 9);
    keys.push_back(std::move(key));
  }
  SqliteStatement models =
      TRY(database.prepare("SELECT model FROM key_models WHERE key_id = ?1 ORDER BY model"));
  for (KeyRecord& key : keys) {
    models.reset();
    models.bind(static_cast<int64_t>(key.id));
    while (TRY(models.step())) key.models.push_back(models.text(0));
  }
  return keys;
}

Result<TenantRecord> TenantStore::create_tenant(const std::string& name, const Quotas& quotas,
                                                int64_t now_ms) {
  TRY(check_tenant_name(name));
  {
    const std::lock_guard lock(mutex_);
    std::string values;
    for (size_t i = 0; i < quota_fields().size(); ++i) values += ", ?";
    SqliteStatement insert =
        TRY(database_->prepare("INSERT INTO tenants(name, created_ms, " + quota_columns("", "") +
                               ") VALUES (?, ?" + values + ")"));
    insert.bind(std::string_view(name)).bind(now_ms);
    bind_quotas(insert, quotas);
    const Status inserted = insert.run();
    if (!inserted.ok()) {
      if (!database_->last_was_duplicate()) return inserted.error();
      return Error{ErrorCode::kInvalidArgument, "there is a tenant '" + name + "' already"};
    }
  }
  return find_tenant(name);
}

Result<std::vector<TenantRecord>> TenantStore::list_tenants() {
  const std::lock_guard lock(mutex_);
  return read_tenants(*database_);
}

Result<TenantRecord> TenantStore::find_tenant(const std::string& name) {
  for (TenantRecord& tenant : TRY(list_tenants())) {
    if (tenant.name == name) return std::move(tenant);
  }
  return unknown_tenant(name);
}

Result<TenantRecord> TenantStore::set_tenant(const std::string& name, const Quotas& quotas,
                                             bool suspended) {
  {
    const std::lock_guard lock(mutex_);
    SqliteStatement update =
        TRY(database_->prepare("UPDATE tenants SET suspended = ?, " + quota_columns("", " = ?") +
                               " WHERE name = ? AND removed_ms IS NULL"));
    update.bind(int64_t{suspended});
    bind_quotas(update, quotas);
    update.bind(std::string_view(name));
    TRY(update.run());
    if (database_->num_changed() == 0) return unknown_tenant(name);
  }
  return find_tenant(name);
}

Status TenantStore::remove_tenant(const std::string& name, int64_t now_ms) {
  const TenantRecord tenant = TRY(find_tenant(name));
  if (tenant.id == kDefaultTenant) {
    return Error{ErrorCode::kInvalidArgument,
                 "the tenant 'default' cannot be removed: requests without a key are its"};
  }
  const auto id = static_cast<int64_t>(tenant.id);
  const std::lock_guard lock(mutex_);
  SqliteTransaction transaction = TRY(SqliteTransaction::begin(*database_));
  {
    SqliteStatement revoke = TRY(database_->prepare(
        "UPDATE keys SET revoked_ms = ?1 WHERE tenant_id = ?2 AND revoked_ms IS NULL"));
    TRY(revoke.bind(now_ms).bind(id).run());
    SqliteStatement remove =
        TRY(database_->prepare("UPDATE tenants SET removed_ms = ?1 WHERE id = ?2"));
    TRY(remove.bind(now_ms).bind(id).run());
  }
  return transaction.commit();
}

Result<CreatedKey> TenantStore::create_key(const NewKeyRequest& request, int64_t now_ms) {
  TRY(check_key_request(request, now_ms));
  const TenantRecord tenant = TRY(find_tenant(request.tenant));
  const NewKey key = TRY(make_key());
  {
    const std::lock_guard lock(mutex_);
    SqliteTransaction transaction = TRY(SqliteTransaction::begin(*database_));
    {
      SqliteStatement insert = TRY(database_->prepare(
          "INSERT INTO keys(tenant_id, prefix, digest, name, scopes, created_ms, expires_ms) "
          "VALUES (?, ?, ?, ?, ?, ?, ?)"));
      insert.bind(static_cast<int64_t>(tenant.id)).bind(std::string_view(key.prefix));
      insert.bind(std::span<const uint8_t>(key.digest)).bind(std::string_view(request.name));
      insert.bind(int64_t{request.scopes.bits()}).bind(now_ms).bind(request.expires_ms);
      TRY(insert.run());
      const int64_t id = database_->last_row_id();
      SqliteStatement model =
          TRY(database_->prepare("INSERT OR IGNORE INTO key_models(key_id, model) VALUES (?, ?)"));
      for (const std::string& name : request.models) {
        model.reset();
        TRY(model.bind(id).bind(std::string_view(name)).run());
      }
    }
    TRY(transaction.commit());
  }
  const auto created = TRY(list_keys({.prefix = key.prefix}));
  CHECK(created.size() == 1);
  return CreatedKey{created.front(), key.text};
}

Result<std::vector<KeyRecord>> TenantStore::list_keys(const KeyFilter& filter) {
  if (!filter.tenant.empty()) TRY(find_tenant(filter.tenant));
  const std::lock_guard lock(mutex_);
  return read_keys(*database_, filter);
}

Result<KeyRecord> TenantStore::revoke_key(const std::string& prefix, int64_t now_ms) {
  // A whole key, pasted for its prefix, would stay in a shell's history; it is its prefix all the
  // same.
  const std::string wanted(key_prefix(prefix).empty() ? std::string_view(prefix)
                                                      : key_prefix(prefix));
  if (wanted.empty()) return Error{ErrorCode::kInvalidArgument, "say which key: its prefix"};
  auto found = TRY(list_keys({.prefix = wanted}));
  if (found.empty()) {
    return Error{ErrorCode::kNotFound, "there is no key whose prefix begins with '" + wanted + "'"};
  }
  if (found.size() > 1) {
    return Error{ErrorCode::kInvalidArgument, std::to_string(found.size()) + " keys begin with '" +
                                                  wanted + "'; give more of the prefix"};
  }
  KeyRecord key = std::move(found.front());
  if (key.revoked_ms) return key;
  const std::lock_guard lock(mutex_);
  SqliteStatement revoke = TRY(
      database_->prepare("UPDATE keys SET revoked_ms = ?1 WHERE id = ?2 AND revoked_ms IS NULL"));
  TRY(revoke.bind(now_ms).bind(static_cast<int64_t>(key.id)).run());
  key.revoked_ms = now_ms;
  return key;
}

Result<std::vector<UsageTotal>> TenantStore::usage(const UsageQuery& query) {
  const std::lock_guard lock(mutex_);
  return read_usage(*database_, query);
}

}  // namespace realm
