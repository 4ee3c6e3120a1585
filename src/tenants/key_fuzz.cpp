// What clients present as keys, and what administrators type as names and scopes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tenants/records.h"
#include "tenants/secret.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view prefix = realm::key_prefix(text);
  if (!prefix.empty() && !text.starts_with(prefix)) std::abort();
  if (!realm::equal_digests(realm::digest_of(text), realm::digest_of(text))) std::abort();
  const auto scopes = realm::Scopes::parse(text);
  if (scopes.ok() && realm::Scopes::parse(scopes->text()).value() != *scopes) std::abort();
  if (realm::check_tenant_name(text).ok() && text.find('/') != text.npos) std::abort();
  return 0;
}
