// What runs ops. One instance per device; it owns device memory and executes lists of ops in order.
// Models and the engine see only this; app/ is the only place that names a concrete backend.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "ops/op.h"

namespace realm {

// Device memory; freed when the last owner lets go. Zero-filled when allocated.
struct Buffer {
  std::shared_ptr<std::byte> data;  // device address; only backends dereference it
  size_t size_bytes = 0;
};

// A list of ops that will run many times: a backend may fuse them, or record them once and replay.
class PreparedProgram {
 public:
  virtual ~PreparedProgram() = default;
  // As Backend::run of the ops it was prepared from.
  virtual Status run() = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu (avx512)"

  // Whether its memory is the host's, so that reading results costs nothing and a step its own work
  // alone. Elsewhere rows of logits had better stay, and steps be of few different shapes.
  virtual bool is_host() const { return false; }

  // Of a device with memory of its own.
  struct Memory {
    size_t total_bytes = 0, free_bytes = 0;
  };
  virtual Result<Memory> memory() const;

  virtual Result<Buffer> allocate(size_t size_bytes) = 0;
  virtual Status upload(std::byte* to, std::span<const std::byte> from) = 0;
  virtual Status download(std::span<std::byte> to, const std::byte* from) = 0;

  // Makes a weight's bytes (which outlive the backend's use) addressable by ops. On a host backend
  // this is the mapping itself, nothing is copied.
  virtual Result<TensorView> import_weight(const TensorView& host) = 0;

  // Whether this backend has a way to run the op at all, and which ("avx512 vnni 32x6").
  virtual Result<std::string> support(const Op& op) const = 0;

  // Runs the ops in order; returns when their results are visible to download().
  virtual Status run(std::span<const Op> ops) = 0;

  // The same for a list that is run again and again; the backend outlives the result.
  virtual Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops);
};

}  // namespace realm
