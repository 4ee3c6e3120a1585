// Who asks, and what they may: the narrow seam between the server and the tenants' layer. Called on
// I/O threads, several at once; everything here must be quick.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/tenant_id.h"
#include "engine/finish_reason.h"
#include "scheduler/request.h"
#include "server/api/api_error.h"
#include "server/http/message.h"
#include "telemetry/metrics.h"
#include "telemetry/trace.h"

namespace realm::server {

// What a route asks of a key.
enum class Access { kOpen, kInference, kAdmin, kMetrics };
std::string_view access_name(Access access);

struct Principal {
  TenantId tenant = {};
  int64_t key_id = 0;           // 0: no key
  std::string key_prefix = {};  // its public part
  std::string tenant_name = {};
  // Models this key may use; empty: every one.
  std::vector<std::string> models = {};
  // The highest class that its requests may run in.
  Priority priority_max = Priority::kHigh;
  // Where spans of the request belong.
  std::optional<TraceContext> trace = {};

  bool may_use(const std::string& model) const;
};

// What a request will want, for quotas.
struct Demand {
  int64_t prompt_tokens = 0;
  int64_t max_tokens = -1;  // of each sequence; -1: the client named none
  int64_t context = 0;      // what a sequence can hold at the most
  int64_t sequences = 1;
};

// What one API request used, all its choices together: the ledger's row.
struct UsageRecord {
  Principal principal = {};
  std::string request_id = {};
  std::string model = {};
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  double queue_seconds = 0, run_seconds = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  TokenLatencies latencies = {};
  FinishReason finish = FinishReason::kStop;  // the least happy of the choices'
  std::chrono::system_clock::time_point arrived = {};
};

// Leave for one API request to run; gives back what it holds when it goes.
class Admission {
 public:
  virtual ~Admission() = default;
  // What a sequence may generate where the client named no maximum; -1: as much as it can hold.
  virtual int64_t max_tokens() const { return -1; }
  // Once, when all its sequences have ended; off the I/O threads. `done` is called, on any thread,
  // when the answer may end: at once, or once the ledger holds the row where that is asked for.
  virtual void record(UsageRecord record, std::function<void()> done) = 0;
};

class Authenticator {
 public:
  virtual ~Authenticator() = default;

  // Refuses with 401 for a missing or unknown key, 403 for one that lacks the access; kOpen is
  // always let in.
  virtual std::optional<ApiError> check(const HttpRequest& request, Access access,
                                        Principal& principal) = 0;
  // Refuses with 429 and Retry-After where a quota is used up.
  virtual std::optional<ApiError> admit(const Principal& principal, const Demand& demand,
                                        std::unique_ptr<Admission>& admission) = 0;
};

// Without any key configured: everyone who can reach the server is one tenant, which is why it then
// listens on loopback and unix sockets only (the command sees to that).
class OpenAuthenticator final : public Authenticator {
 public:
  std::optional<ApiError> check(const HttpRequest& request, Access access,
                                Principal& principal) override;
  std::optional<ApiError> admit(const Principal& principal, const Demand& demand,
                                std::unique_ptr<Admission>& admission) override;
};

}  // namespace realm::server
