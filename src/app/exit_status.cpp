#include "app/exit_status.h"

namespace realm {

ExitStatus exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    // What a build does not support is, on the command line, something about the model's file:
    // its architecture, tokenizer or block format.
    case ErrorCode::kBadModel:
    case ErrorCode::kUnsupported:
      return kExitBadModel;
    case ErrorCode::kCancelled:
      return kExitInterrupted;
    case ErrorCode::kNotFound:
    case ErrorCode::kExhausted:
    case ErrorCode::kUnavailable:
    case ErrorCode::kIo:
      return kExitFailed;
  }
  return kExitFailed;
}

void print_error(std::FILE* to, const std::string& message) {
  std::string line = "realm: " + message;
  for (char& c : line) {
    if (c == '\n' || c == '\t' || c == '\r') {
      c = ' ';
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      c = '?';
    }
  }
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), to);
  std::fflush(to);
}

}  // namespace realm
