#include "app/model_settings.h"

namespace realm {

ModelOptions model_options(const Settings& settings, const std::string& path) {
  const std::string isa = settings.find_text("cpu-isa").value_or("auto");
  return ModelOptions{.path = path,
                      .backend = settings.find_text("backend").value_or("auto"),
                      .threads = static_cast<int>(settings.find_int("threads").value_or(0)),
                      .cpu_isa = isa == "auto" ? "" : isa,
                      .context = settings.find_int("ctx").value_or(0),
                      .kv_type = settings.find_text("kv-type").value_or("f16"),
                      .lora = settings.get_list("lora"),
                      .gpu_layers = settings.find_text("gpu-layers").value_or("auto"),
                      .batch_invariant = settings.get_flag("batch-invariant"),
                      .compute = settings.find_text("compute").value_or("auto"),
                      .no_mmap = settings.get_flag("no-mmap"),
                      .mlock = settings.get_flag("mlock")};
}

}  // namespace realm
