// One place that configures logging: everything a person should see beside results goes to stderr
// through spdlog. Modules log with spdlog::info and friends; nothing logs prompt text.
//
// As text a line is "level message". As JSON it is one object with "time", "level" and "message";
// a message that is itself an object (a server's record of a request) is merged into it, so that
// its fields can be searched.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

enum class LogFormat { kText, kJson };

// Level by name: trace, debug, info, warn, error, off.
Status init_logging(const std::string& level, LogFormat format = LogFormat::kText);

// The JSON form of a line.
std::string json_log_line(std::string_view time, std::string_view level, std::string_view message);

}  // namespace realm
