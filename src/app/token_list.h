// Token ids as users give them: "1,2,3" on the command line, a JSON list in a file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace realm {

// Ids separated by commas, spaces around them allowed; at least one, none negative. Errors:
// kInvalidArgument, starting with `label`.
Result<std::vector<Token>> parse_token_list(std::string_view text, const std::string& label);

// A JSON array of ids. Errors: kNotFound, kIo; kInvalidArgument for any other content.
Result<std::vector<Token>> read_token_file(const std::string& path);

}  // namespace realm
