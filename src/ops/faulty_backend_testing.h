// A backend whose device fails or has little memory when a test says so. Nothing outside tests can
// make one.
#pragma once

#include <atomic>
#include <memory>

#include "ops/backend_wrapper.h"

namespace realm {

// What a test does to a device; shared, for the backend goes where the engine is.
struct DeviceTrouble {
  std::atomic<int64_t> runs_left{-1};   // programs that still run before the device fails; -1: all
  std::atomic<int64_t> bytes_left{-1};  // of memory that can still be had; -1: any amount
  std::atomic<int64_t> runs{0};
  std::atomic<bool> failed{false};
};

class FaultyBackend final : public BackendWrapper {
 public:
  // `is_device`: shown as a device with memory of its own, of `total_bytes`.
  FaultyBackend(std::unique_ptr<Backend> inner, std::shared_ptr<DeviceTrouble> trouble,
                bool is_device = false, size_t total_bytes = size_t{80} << 30)
      : BackendWrapper(std::move(inner)),
        trouble_(std::move(trouble)),
        is_device_(is_device),
        total_bytes_(total_bytes) {}

  bool is_host() const override { return !is_device_ && inner_->is_host(); }
  bool grows_when_run() const override { return is_device_; }
  Result<Memory> memory() const override {
    TRY(fault());
    if (!is_device_) return inner_->memory();
    const int64_t left = trouble_->bytes_left;
    return Memory{.total_bytes = total_bytes_,
                  .free_bytes = left < 0 ? total_bytes_ : static_cast<size_t>(left)};
  }
  Result<Buffer> allocate(size_t size_bytes) override {
    TRY(take(size_bytes));
    return inner_->allocate(size_bytes);
  }
  Status upload(std::byte* to, std::span<const std::byte> from) override {
    TRY(fault());
    return inner_->upload(to, from);
  }
  Status download(std::span<std::byte> to, const std::byte* from) override {
    TRY(fault());
    return inner_->download(to, from);
  }
  Result<TensorView> import_weight(const TensorView& host) override {
    TRY(take(host.extent_bytes()));
    return inner_->import_weight(host);
  }
  Status run(std::span<const Op> ops) override {
    if (trouble_->runs_left == 0) trouble_->failed = true;
    TRY(fault());
    if (trouble_->runs_left > 0) --trouble_->runs_left;
    ++trouble_->runs;
    return inner_->run(ops);
  }

 private:
  Status fault() const {
    if (!trouble_->failed) return {};
    return Error{ErrorCode::kUnavailable, "an illegal memory access was encountered"};
  }
  Status take(size_t bytes) {
    TRY(fault());
    if (trouble_->bytes_left < 0) return {};
    if (trouble_->bytes_left < static_cast<int64_t>(bytes)) {
      return Error{ErrorCode::kExhausted, "the device has no memory left"};
    }
    trouble_->bytes_left -= static_cast<int64_t>(bytes);
    return {};
  }

  std::shared_ptr<DeviceTrouble> trouble_;
  bool is_device_;
  size_t total_bytes_;
};

}  // namespace realm
