#include "formats/open_model.h"

#include <filesystem>

#include "formats/gguf.h"
#include "formats/hf/checkpoint.h"

namespace realm {

Result<std::unique_ptr<TensorDirectory>> open_model(const std::string& path, FileAccess access) {
  std::error_code ignored;  // a path that cannot be looked at is open_gguf's to report
  if (std::filesystem::is_directory(path, ignored)) {
    return TRY(hf::Checkpoint::open(path, access)).into_directory();
  }
  if (path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json")) {
    return Error{ErrorCode::kInvalidArgument,
                 path + ": weights alone are not a model; give the checkpoint's folder"};
  }
  return open_gguf(path, access);
}

}  // namespace realm
