#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace realm {

Status init_logging(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return Error{ErrorCode::kInvalidArgument,
                 "log level '" + level + "' is not one of trace, debug, info, warn, error, off"};
  }
  auto logger = spdlog::stderr_color_mt("realm");
  logger->set_pattern("%^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_level(parsed);
  return {};
}

}  // namespace realm
