#include "ops/backend.h"

#include <sys/mman.h>

#include <algorithm>

namespace realm {
namespace {

// Of backends that gain nothing from knowing the ops beforehand.
class PlainProgram final : public PreparedProgram {
 public:
  PlainProgram(Backend& backend, std::span<const Op> ops)
      : backend_(backend), ops_(ops.begin(), ops.end()) {}
  Status run() override { return backend_.run(ops_); }

 private:
  Backend& backend_;
  std::vector<Op> ops_;
};

}  // namespace

Result<std::unique_ptr<PreparedProgram>> Backend::prepare(std::span<const Op> ops) {
  return std::unique_ptr<PreparedProgram>(std::make_unique<PlainProgram>(*this, ops));
}

Result<Buffer> Backend::allocate_cache(size_t size_bytes, int64_t) {
  return allocate(size_bytes);
}

Result<Buffer> Backend::allocate_pinned(size_t size_bytes) {
  void* memory = ::mmap(nullptr, std::max<size_t>(size_bytes, 1), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{ErrorCode::kExhausted,
                 "cannot allocate " + std::to_string(size_bytes) + " bytes of memory"};
  }
  return Buffer{std::shared_ptr<std::byte>(
                    static_cast<std::byte*>(memory),
                    [size_bytes](std::byte* p) { ::munmap(p, std::max<size_t>(size_bytes, 1)); }),
                size_bytes};
}

Status Backend::copy_out(std::byte* pinned, const std::byte* from, size_t size_bytes) {
  return download({pinned, size_bytes}, from);
}

Status Backend::copy_in(std::byte* to, const std::byte* pinned, size_t size_bytes) {
  return upload(to, {pinned, size_bytes});
}

bool Backend::layer_is_on_host(int64_t) const {
  return is_host();
}

Result<Backend::Memory> Backend::memory() const {
  return Error{ErrorCode::kUnsupported, name() + " has no memory of its own"};
}

}  // namespace realm
