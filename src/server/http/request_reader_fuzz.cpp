// Any bytes as a request: read whole and read byte by byte they must come to the same.
#include <cstdlib>

#include "server/http/request_reader.h"

namespace {

using namespace realm::server;

struct Outcome {
  int status = 0;
  bool done = false;
  size_t consumed = 0;
  std::string path, body;
  bool operator==(const Outcome&) const = default;
};

Outcome read(std::string_view bytes, size_t step) {
  HttpLimits limits;
  limits.header_bytes_max = 2048;
  limits.headers_max = 16;
  limits.body_bytes_max = 4096;
  RequestReader reader(limits);
  Outcome outcome;
  std::string in;
  while (!bytes.empty() && !reader.is_done()) {
    const size_t n = std::min(step, bytes.size());
    in += bytes.substr(0, n);
    bytes.remove_prefix(n);
    for (size_t consumed = 1; consumed > 0 && !in.empty() && !reader.is_done();) {
      if (const auto problem = reader.feed(in, consumed)) {
        outcome.status = problem->status;
        return outcome;
      }
      in.erase(0, consumed);
      outcome.consumed += consumed;
    }
  }
  outcome.done = reader.is_done();
  if (!outcome.done) return outcome;
  const HttpRequest request = reader.take();
  outcome.path = request.path;
  outcome.body = request.body;
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 8192) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = read(bytes, size + 1), single = read(bytes, 1);
  // Where a request is wrong in two ways the one met first may differ, and what is wrong with a
  // head that has not come whole may be seen later; but what is wrong for one is never right for
  // the other.
  if (whole.status != 0 || single.status != 0) {
    if (whole.done || single.done) std::abort();
    return 0;
  }
  if (whole.done != single.done) std::abort();
  if (whole.done && !(whole == single)) std::abort();
  return 0;
}
