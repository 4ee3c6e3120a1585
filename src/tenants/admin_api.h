// Administration as requests and JSON: the same whether the command line works on a store file or a
// server's admin routes answer it, so that both can do the same and say the same.
//
//   GET    /admin/tenants                 {"tenants": [TENANT, ...]}
//   POST   /admin/tenants                 {"name": ..., QUOTA: ..., ...} -> TENANT
//   GET    /admin/tenants/NAME            TENANT
//   PATCH  /admin/tenants/NAME            {QUOTA: ..., "suspended": ...} -> TENANT
//   DELETE /admin/tenants/NAME            {"removed": NAME}
//   GET    /admin/keys?tenant=&prefix=    {"keys": [KEY, ...]}
//   POST   /admin/keys                    {"tenant", "name", "scopes", "models", "expires_ms"}
//                                         -> KEY, and "key": the key itself, this once
//   DELETE /admin/keys/PREFIX             KEY, revoked
//   GET    /admin/usage?by=tenant,day&tenant=&key=&model=&since_ms=&until_ms=
//                                         {"by": [...], "usage": [{...}, ...]}
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "tenants/tenant_store.h"

namespace realm {

struct AdminRequest {
  std::string method;  // "GET"
  std::string target;  // path and query, percent-encoded
  std::string body = {};
};

// The JSON of the answer. Errors: kNotFound for a path or a thing that is not there,
// kInvalidArgument naming the field that is wrong, and those of the store.
Result<std::string> administer(TenantStore& store, const AdminRequest& request, int64_t now_ms);

// "a b/c" -> "a%20b%2Fc", for a part of a target.
std::string percent_encoded(std::string_view text);

}  // namespace realm
