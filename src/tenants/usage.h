// One request's line in the usage ledger: who asked, of which model, what it cost, how it ended.
#pragma once

#include <cstdint>
#include <string>

#include "base/tenant_id.h"
#include "tenants/records.h"

namespace realm {

struct UsageRow {
  std::string request_id =
      {};  // unique: a row with an id that is there already is not written again
  TenantId tenant = {};
  KeyId key = kNoKey;
  std::string model = {};
  std::string adapter = {};  // empty: none
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, found in the prefix cache
  int64_t generated_tokens = 0;
  int64_t queue_us = 0;
  int64_t run_us = 0;
  std::string outcome = {};  // the finish reason's name
  int64_t arrived_ms = 0;
};

}  // namespace realm
