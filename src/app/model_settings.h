// The settings of group kModel as the options of the model loader.
#pragma once

#include <string>

#include "app/model_loader.h"
#include "app/settings.h"

namespace realm {

// `path` is the MODEL argument, empty where it was left out.
ModelOptions model_options(const Settings& settings, const std::string& path);

}  // namespace realm
