// The configuration file: lines "name = value", '#' starts a comment, a value may stand in double
// quotes with the escapes \n \t \" \\. Names are those of the settings table; what they mean and
// whether they exist is the caller's affair.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace realm {

struct ConfigLine {
  std::string name;  // with dashes, also where the file has underscores
  std::string value;
  int line;
};

// `label` names the file in errors (kInvalidArgument with line number).
Result<std::vector<ConfigLine>> parse_config(std::string_view text, const std::string& label);

// $XDG_CONFIG_HOME/realm/realm.conf or $HOME/.config/realm/realm.conf; empty where neither is set.
std::string default_config_path(const char* xdg_config_home, const char* home);

}  // namespace realm
