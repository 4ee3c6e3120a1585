// Who a key belongs to, answered on the serving path: an immutable picture of the store's tenants
// and keys in memory, replaced whole when the store changes, by this process or by another one (a
// watcher asks SQLite's change counter). A request therefore never waits for the disk, and a key
// revoked on the command line is dead on a running server within the poll interval.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "tenants/records.h"
#include "tenants/sqlite.h"

namespace realm {

// All that the store says at one moment.
struct DirectorySnapshot {
  std::vector<TenantRecord> tenants;
  std::unordered_map<std::string, KeyRecord> keys;    // by prefix
  std::unordered_map<int64_t, size_t> tenant_places;  // by id, in `tenants`
  // Whether a key was ever made. Without any the server is open to whoever reaches it; revoking the
  // last one must not make it so.
  bool has_keys = false;
  const TenantRecord* find_tenant(TenantId id) const;
  const TenantRecord* find_tenant(std::string_view name) const;
};

enum class KeyVerdict {
  kValid,
  kUnknown,  // no such key; also: not of a key's form
  kExpired,  // these three are said only to who presents the whole key
  kRevoked,
  kSuspended,  // its tenant is
};

struct KeyCheck {
  KeyVerdict verdict = KeyVerdict::kUnknown;
  std::shared_ptr<const DirectorySnapshot> snapshot;  // keeps what the pointers name
  const KeyRecord* key = nullptr;                     // null where unknown
  const TenantRecord* tenant = nullptr;
};

class KeyDirectory {
 public:
  struct Options {
    std::chrono::milliseconds poll_interval{500};
    // Called after each change, on the thread that found it, with the new picture.
    std::function<void(const DirectorySnapshot&)> on_change = {};
  };

  static Result<std::unique_ptr<KeyDirectory>> open(const std::string& path, Options options);
  ~KeyDirectory();
  KeyDirectory(const KeyDirectory&) = delete;
  KeyDirectory& operator=(const KeyDirectory&) = delete;

  // The same work and the same answer for a wrong secret as for a prefix that nobody has.
  KeyCheck check(std::string_view presented, int64_t now_ms) const;
  std::shared_ptr<const DirectorySnapshot> snapshot() const;

  // Takes over what has changed now, so that whoever changed the store sees it in effect.
  Status refresh();

 private:
  KeyDirectory(std::unique_ptr<SqliteDatabase> database, Options options);
  Status load();
  void watch();

  const Options options_;
  std::mutex store_mutex_;  // the connection and the loading of pictures
  std::unique_ptr<SqliteDatabase> database_;
  int64_t version_ = -1;   // of the file's content
  int64_t revision_ = -1;  // of tenants and keys

  mutable std::mutex snapshot_mutex_;
  std::shared_ptr<const DirectorySnapshot> snapshot_;

  std::mutex stop_mutex_;
  std::condition_variable stop_wake_;
  bool stopping_ = false;
  std::thread thread_;
};

// Whether the key lets its bearer use this model.
bool may_use_model(const KeyRecord& key, std::string_view model);

}  // namespace realm
