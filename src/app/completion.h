// Completion scripts for the shells, generated from the tree of commands and options itself, so
// that they cannot lag behind it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace CLI {
class App;
}

namespace realm {

// `shell` is bash, zsh or fish; anything else is kInvalidArgument.
Result<std::string> completion_script(const CLI::App& root, std::string_view shell);

}  // namespace realm
