#include "app/synth.h"

#include <algorithm>
#include <vector>

#include "app/nearest.h"
#include "formats/synth.h"

namespace realm {

Status run_synth(const SynthOptions& options) {
  std::vector<std::string> presets;
  for (const SynthPreset& preset : synth_presets()) presets.emplace_back(preset.name);
  if (std::find(presets.begin(), presets.end(), options.preset) == presets.end()) {
    const std::string hint = suggestion(options.preset, presets);
    if (!hint.empty()) {
      return Error{ErrorCode::kInvalidArgument,
                   "there is no preset '" + options.preset + "'" + hint};
    }
  }
  SynthSettings settings;
  settings.preset = options.preset;
  settings.type = options.type;
  settings.layers = options.layers;
  settings.seed = options.seed;
  settings.on_tensor = options.on_progress;
  return write_synthetic_model(options.output, settings);
}

}  // namespace realm
