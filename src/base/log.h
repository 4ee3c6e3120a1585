// One place that configures logging: everything a person should see beside results goes to stderr
// through spdlog. Modules log with spdlog::info and friends; nothing logs prompt text.
#pragma once

#include <string>

#include "base/result.h"

namespace realm {

// Level by name: trace, debug, info, warn, error, off.
Status init_logging(const std::string& level);

}  // namespace realm
