// What the store holds of tenants and keys, as plain data. Times are milliseconds since 1970 (UTC).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/tenant_id.h"
#include "tenants/quotas.h"
#include "tenants/secret.h"

namespace realm {

// The tenant that every store starts with. Requests to a server without keys are its requests.
inline constexpr TenantId kDefaultTenant{1};

enum class KeyId : int64_t {};
inline constexpr KeyId kNoKey{0};  // a request to a server that asks for none

// What a key lets its bearer do. Admin is the operator's: it reaches every tenant.
enum class Scope : uint8_t { kInference = 1, kAdmin = 2, kMetrics = 4 };

class Scopes {
 public:
  constexpr Scopes() = default;
  constexpr explicit Scopes(uint8_t bits) : bits_(bits) {}
  constexpr Scopes(Scope scope) : bits_(static_cast<uint8_t>(scope)) {}  // NOLINT: implicit

  // "inference,metrics", in any order. Errors: kInvalidArgument.
  static Result<Scopes> parse(std::string_view text);
  std::string text() const;

  constexpr bool has(Scope scope) const { return (bits_ & static_cast<uint8_t>(scope)) != 0; }
  constexpr uint8_t bits() const { return bits_; }
  constexpr Scopes operator|(Scopes other) const {
    return Scopes(static_cast<uint8_t>(bits_ | other.bits_));
  }
  constexpr bool operator==(const Scopes&) const = default;

 private:
  uint8_t bits_ = 0;
};

struct TenantRecord {
  TenantId id{};
  std::string name;
  int64_t created_ms = 0;
  bool suspended = false;  // its keys are refused until it is set again
  Quotas quotas;
};

struct KeyRecord {
  KeyId id{};
  TenantId tenant{};
  std::string tenant_name;
  std::string prefix;
  std::string name;  // the owner's note of what it is for; may be empty
  Scopes scopes;
  std::vector<std::string> models;  // the only ones it may use; empty: every one
  int64_t created_ms = 0;
  std::optional<int64_t> expires_ms;
  std::optional<int64_t> revoked_ms;
  Digest digest{};
};

// [a-z0-9] and inside also - _ . ; at most 64 characters. Errors: kInvalidArgument.
Status check_tenant_name(std::string_view name);

}  // namespace realm
