#include <cstdint>
#include <cstdlib>

#include "telemetry/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto context = realm::parse_traceparent(text);
  // What was read stands in the text, digit for digit.
  if (context && text.substr(3, 32) != realm::hex(context->trace)) std::abort();
  if (context && text.substr(36, 16) != realm::hex(context->parent)) std::abort();
  return 0;
}
