// The whole program from arguments to exit status: declares the commands, parses, resolves the
// settings, runs the one that was named, and prints at most one error. main() and the tests call
// it.
#pragma once

#include <string>
#include <vector>

namespace realm {

// `arguments` without the program's name. Results go to stdout, everything else to stderr.
int run_cli(std::vector<std::string> arguments);

}  // namespace realm
