// "Did you mean ...?" for misspelt commands, options, setting values and model names.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace realm {

// Insertions, deletions, replacements and swaps of neighbouring characters that lead from one to
// the other, case ignored.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidates nearest to `name`, if any is near enough to be what was meant: at most three,
// those of equal distance in the order given.
std::vector<std::string> nearest(std::string_view name, std::span<const std::string> candidates);

// "; did you mean 'a' or 'b'?", or an empty string. Goes at the end of an error message.
std::string suggestion(std::string_view name, std::span<const std::string> candidates);

}  // namespace realm
