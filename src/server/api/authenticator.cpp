#include "server/api/authenticator.h"

#include <algorithm>

namespace realm::server {
namespace {

class FreeAdmission final : public Admission {
 public:
  void record(UsageRecord, std::function<void()> done) override { done(); }
};

}  // namespace

std::string_view access_name(Access access) {
  switch (access) {
    case Access::kOpen:
      return "open";
    case Access::kInference:
      return "inference";
    case Access::kAdmin:
      return "admin";
    case Access::kMetrics:
      return "metrics";
  }
  return "?";
}

bool Principal::may_use(const std::string& model) const {
  return models.empty() || std::find(models.begin(), models.end(), model) != models.end();
}

std::optional<ApiError> OpenAuthenticator::check(const HttpRequest&, Access, Principal& principal) {
  principal = {.tenant = TenantId{1}, .key_id = 0, .tenant_name = "default", .models = {}};
  return std::nullopt;
}

std::optional<ApiError> OpenAuthenticator::admit(const Principal&, const Demand&,
                                                 std::unique_ptr<Admission>& admission) {
  admission = std::make_unique<FreeAdmission>();
  return std::nullopt;
}

}  // namespace realm::server
