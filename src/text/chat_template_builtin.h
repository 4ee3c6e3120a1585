// Named chat templates for model files that carry none (or to be chosen over the file's own).
// The names are those llama.cpp's users know; the sources are our own.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

// The Jinja source of a template. kNotFound lists the names there are.
Result<std::string> find_builtin_template(std::string_view name);

// All names, in the table's order.
std::span<const std::string_view> builtin_template_names();

}  // namespace realm
