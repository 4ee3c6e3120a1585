// How the program ends: the one mapping from error codes to exit statuses, and the one way errors
// are printed. Statuses: 0 done, 1 the work failed, 2 wrong usage, 3 a model or adapter file is not
// acceptable, 130 interrupted.
#pragma once

#include <cstdio>
#include <string>

#include "base/result.h"

namespace realm {

enum ExitStatus : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitBadModel = 3,
  kExitInterrupted = 130,
};

ExitStatus exit_status(ErrorCode code);

// "realm: message" and a line feed. The message becomes one line: control characters, which may
// come from a file's content, are shown as '?'.
void print_error(std::FILE* to, const std::string& message);

}  // namespace realm
