// Names that are given to clients: unguessable, so that one who knows his own learns nothing of
// another's.
#pragma once

#include <string>
#include <string_view>

namespace realm::server {

// `prefix` and 24 letters and digits of 142 random bits ("chatcmpl-..."), from the operating
// system's generator.
std::string random_id(std::string_view prefix);

}  // namespace realm::server
