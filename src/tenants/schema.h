// The store's tables and how they came to be: a list of migrations, each applied once, in order and
// in one transaction. `PRAGMA user_version` counts those a file has seen.
#pragma once

#include "tenants/sqlite.h"

namespace realm {

// Brings the file to this program's schema. Errors: kUnavailable for a file that a newer Realm
// wrote, kIo for one that is no store.
Status migrate(SqliteDatabase& database);

}  // namespace realm
