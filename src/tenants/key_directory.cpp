#include "tenants/key_directory.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "tenants/tenant_store.h"

namespace realm {

const TenantRecord* DirectorySnapshot::find_tenant(TenantId id) const {
  const auto found = tenant_places.find(static_cast<int64_t>(id));
  return found == tenant_places.end() ? nullptr : &tenants[found->second];
}

const TenantRecord* DirectorySnapshot::find_tenant(std::string_view name) const {
  const auto found = std::find_if(tenants.begin(), tenants.end(),
                                  [&](const TenantRecord& tenant) { return tenant.name == name; });
  return found == tenants.end() ? nullptr : &*found;
}

Result<std::unique_ptr<KeyDirectory>> KeyDirectory::open(const std::string& path, Options options) {
  auto database = TRY(SqliteDatabase::open(path, false));
  std::unique_ptr<KeyDirectory> directory(
      new KeyDirectory(std::move(database), std::move(options)));
  TRY(directory->refresh());
  directory->thread_ = std::thread([self = directory.get()] { self->watch(); });
  return directory;
}

KeyDirectory::KeyDirectory(std::unique_ptr<SqliteDatabase> database, Options options)
    : options_(std::move(options)), database_(std::move(database)) {}

KeyDirectory::~KeyDirectory() {
  {
    const std::lock_guard lock(stop_mutex_);
    stopping_ = true;
  }
  stop_wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Status KeyDirectory::load() {
  const int64_t revision = TRY(database_->query_integer("SELECT value FROM revision"));
  if (revision == revision_) return {};
  auto next = std::make_shared<DirectorySnapshot>();
  next->tenants = TRY(read_tenants(*database_));
  for (size_t i = 0; i < next->tenants.size(); ++i) {
    next->tenant_places.emplace(static_cast<int64_t>(next->tenants[i].id), i);
  }
  for (KeyRecord& key : TRY(read_keys(*database_, {}))) {
    std::string prefix = key.prefix;
    next->keys.emplace(std::move(prefix), std::move(key));
  }
  next->has_keys = TRY(database_->query_integer("SELECT EXISTS (SELECT 1 FROM keys)")) != 0;
  {
    const std::lock_guard lock(snapshot_mutex_);
    snapshot_ = next;
  }
  revision_ = revision;
  if (options_.on_change) options_.on_change(*next);
  return {};
}

Status KeyDirectory::refresh() {
  const std::lock_guard lock(store_mutex_);
  // Changes whenever another connection (every writer is one) has committed something; that is
  // asked without reading the file.
  const int64_t version = TRY(database_->query_integer("PRAGMA data_version"));
  if (version == version_) return {};
  // Tenants and keys must be of the same moment.
  TRY(database_->execute("BEGIN"));
  const Status loaded = load();
  TRY(database_->execute("COMMIT"));
  if (loaded.ok()) version_ = version;
  return loaded;
}

void KeyDirectory::watch() {
  bool failed = false;
  std::unique_lock lock(stop_mutex_);
  while (!stop_wake_.wait_for(lock, options_.poll_interval, [&] { return stopping_; })) {
    lock.unlock();
    const Status status = refresh();
    if (!status.ok() && !failed) {
      spdlog::error("keys and tenants stay as they were: {}", status.error().message);
    }
    failed = !status.ok();
    lock.lock();
  }
}

std::shared_ptr<const DirectorySnapshot> KeyDirectory::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return snapshot_;
}

KeyCheck KeyDirectory::check(std::string_view presented, int64_t now_ms) const {
  KeyCheck result;
  result.snapshot = snapshot();
  const Digest digest = digest_of(presented);
  const std::string prefix(key_prefix(presented));
  const auto found = result.snapshot->keys.find(prefix);
  const bool is_known = found != result.snapshot->keys.end();
  // Compared with something in any case. That a prefix exists may be seen in the look-up's time; it
  // is a name, shown in lists, and what the time says about it ends there.
  static constexpr Digest kNobody{};
  const bool is_equal = equal_digests(digest, is_known ? found->second.digest : kNobody);
  if (!is_known || !is_equal) return result;

  result.key = &found->second;
  result.tenant = result.snapshot->find_tenant(result.key->tenant);
  CHECK(result.tenant != nullptr);
  if (result.key->revoked_ms) {
    result.verdict = KeyVerdict::kRevoked;
  } else if (result.key->expires_ms && *result.key->expires_ms <= now_ms) {
    result.verdict = KeyVerdict::kExpired;
  } else if (result.tenant->suspended) {
    result.verdict = KeyVerdict::kSuspended;
  } else {
    result.verdict = KeyVerdict::kValid;
  }
  return result;
}

bool may_use_model(const KeyRecord& key, std::string_view model) {
  return key.models.empty() ||
         std::find(key.models.begin(), key.models.end(), model) != key.models.end();
}

}  // namespace realm
