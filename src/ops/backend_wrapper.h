// A backend that passes everything on to another, for those that look at, count or disturb what
// goes by. Programs run through run(), op by op, unless prepare() is overridden, too.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "ops/backend.h"

namespace realm {

class BackendWrapper : public Backend {
 public:
  explicit BackendWrapper(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string name() const override { return inner_->name(); }
  bool is_host() const override { return inner_->is_host(); }
  bool runs_ahead() const override { return inner_->runs_ahead(); }
  bool reads_shared_pages_once() const override { return inner_->reads_shared_pages_once(); }
  bool grows_when_run() const override { return inner_->grows_when_run(); }
  Result<Memory> memory() const override { return inner_->memory(); }
  Result<Buffer> allocate(size_t size_bytes) override { return inner_->allocate(size_bytes); }
  Result<Buffer> allocate_cache(size_t size_bytes, int64_t layer) override {
    return inner_->allocate_cache(size_bytes, layer);
  }
  bool layer_is_on_host(int64_t layer) const override { return inner_->layer_is_on_host(layer); }
  Status upload(std::byte* to, std::span<const std::byte> from) override {
    return inner_->upload(to, from);
  }
  Status download(std::span<std::byte> to, const std::byte* from) override {
    return inner_->download(to, from);
  }
  Result<Buffer> allocate_pinned(size_t size_bytes) override {
    return inner_->allocate_pinned(size_bytes);
  }
  Status copy_out(std::byte* pinned, const std::byte* from, size_t size_bytes) override {
    return inner_->copy_out(pinned, from, size_bytes);
  }
  Status copy_in(std::byte* to, const std::byte* pinned, size_t size_bytes) override {
    return inner_->copy_in(to, pinned, size_bytes);
  }
  Result<TensorView> import_weight(const TensorView& host) override {
    return inner_->import_weight(host);
  }
  Result<std::string> support(const Op& op) const override { return inner_->support(op); }
  Status run(std::span<const Op> ops) override { return inner_->run(ops); }

 protected:
  std::unique_ptr<Backend> inner_;
};

}  // namespace realm
