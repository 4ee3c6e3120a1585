// An administration request: the first line is the method, the second the target, the rest the
// body.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "tenants/admin_api.h"

namespace {

realm::TenantStore& store() {
  static const std::unique_ptr<realm::TenantStore> made = [] {
    char folder[] = "/tmp/realm-fuzz-XXXXXX";
    if (::mkdtemp(folder) == nullptr) std::abort();
    auto opened = realm::TenantStore::open(std::string(folder) + "/realm.db", true);
    if (!opened.ok()) std::abort();
    return std::move(opened).value();
  }();
  return *made;
}

std::string take_line(std::string_view& text) {
  const std::string line(text.substr(0, text.find('\n')));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  realm::AdminRequest request;
  request.method = take_line(text);
  request.target = take_line(text);
  request.body = text;
  const auto answer = realm::administer(store(), request, 1'764'000'000'000);
  if (!answer.ok() && answer.error().message.empty()) std::abort();
  return 0;
}
