#include "app/convert.h"

#include <filesystem>

#include "formats/hf/convert.h"

namespace realm {

Status run_convert(const ConvertOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(options.input, ignored)) {
    return Error{ErrorCode::kNotFound, options.input +
                                           ": not a folder; convert takes the folder "
                                           "of a Hugging Face checkpoint or adapter"};
  }
  const hf::ConvertSettings settings{options.type, options.on_progress};
  if (!hf::is_adapter(options.input)) {
    if (!options.base.empty()) {
      return Error{ErrorCode::kInvalidArgument,
                   options.input + ": has no adapter_config.json; --base is for adapters"};
    }
    return hf::convert_checkpoint(options.input, options.output, settings);
  }
  if (options.base.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 options.input + ": is an adapter; name its base model with --base"};
  }
  return hf::convert_adapter(options.input, options.base, options.output, settings);
}

}  // namespace realm
