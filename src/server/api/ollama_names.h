// How ollama's clients call models.
#pragma once

#include <string>
#include <string_view>

namespace realm::server {

// "name:latest" is "name".
inline std::string plain_name(std::string name) {
  constexpr std::string_view kLatest = ":latest";
  if (name.ends_with(kLatest)) name.resize(name.size() - kLatest.size());
  return name;
}

}  // namespace realm::server
