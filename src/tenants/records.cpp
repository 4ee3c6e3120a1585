#include "tenants/records.h"

namespace realm {
namespace {

struct ScopeName {
  std::string_view name;
  Scope scope;
};
constexpr ScopeName kScopeNames[] = {
    {"inference", Scope::kInference}, {"admin", Scope::kAdmin}, {"metrics", Scope::kMetrics}};

}  // namespace

Result<Scopes> Scopes::parse(std::string_view text) {
  Scopes scopes;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view word = text.substr(0, comma);
    bool known = false;
    for (const ScopeName& entry : kScopeNames) {
      if (entry.name != word) continue;
      scopes = scopes | entry.scope;
      known = true;
    }
    if (!known) {
      return Error{ErrorCode::kInvalidArgument, "'" + std::string(word) +
                                                    "' is no scope; the scopes are inference, "
                                                    "admin and metrics, several with commas"};
    }
    if (comma == std::string_view::npos) return scopes;
    text.remove_prefix(comma + 1);
  }
}

std::string Scopes::text() const {
  std::string out;
  for (const ScopeName& entry : kScopeNames) {
    if (has(entry.scope)) out += (out.empty() ? "" : ",") + std::string(entry.name);
  }
  return out;
}

Status check_tenant_name(std::string_view name) {
  constexpr size_t kLengthMax = 64;
  const auto is_alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  };
  bool good = !name.empty() && name.size() <= kLengthMax && is_alphanumeric(name.front());
  for (const char c : name) good = good && (is_alphanumeric(c) || c == '-' || c == '_' || c == '.');
  if (good) return {};
  return Error{ErrorCode::kInvalidArgument,
               "a tenant's name is 1 to 64 of the characters a-z 0-9 - _ . and begins with a "
               "letter or digit"};
}

}  // namespace realm
