#include "app/synth.h"

#include "formats/synth.h"

namespace realm {

Status run_synth(const SynthOptions& options) {
  SynthSettings settings;
  settings.preset = options.preset;
  settings.type = options.type;
  settings.layers = options.layers;
  settings.seed = options.seed;
  settings.on_tensor = options.on_progress;
  return write_synthetic_model(options.output, settings);
}

}  // namespace realm
