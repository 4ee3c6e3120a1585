// What runs ops. One instance per device; it owns device memory and executes lists of ops in order.
// Models and the engine see only this; app/ is the only place that names a concrete backend.
#pragma once

#include <cstddef>
#include <cstdint>
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

  // Whether runs return while the device still computes, so that the host has time of its own until
  // it downloads what came out.
  virtual bool runs_ahead() const { return false; }

  // Of a device with memory of its own.
  struct Memory {
    size_t total_bytes = 0, free_bytes = 0;
  };
  virtual Result<Memory> memory() const;

  // Whether attention reads pages that sequences have in common once for all of them
  // (Attention::shared): an engine then puts such sequences side by side and says which they are.
  virtual bool reads_shared_pages_once() const { return false; }

  // Whether ops take memory of their own the first time they run at a size: an engine runs its
  // largest steps once before it serves, so that what cannot be had is found out then.
  virtual bool grows_when_run() const { return false; }

  virtual Result<Buffer> allocate(size_t size_bytes) = 0;
  // Memory for the KV cache of a layer of the model, and whether that is the host's: a backend of
  // several devices keeps each layer's where the layer runs.
  virtual Result<Buffer> allocate_cache(size_t size_bytes, int64_t layer);
  virtual bool layer_is_on_host(int64_t layer) const;
  virtual Status upload(std::byte* to, std::span<const std::byte> from) = 0;
  virtual Status download(std::span<std::byte> to, const std::byte* from) = 0;

  // Host memory that a device copies from and to at full speed and while it works; the two copies
  // take their turn among uploads and runs, and a download waits for them.
  virtual Result<Buffer> allocate_pinned(size_t size_bytes);
  virtual Status copy_out(std::byte* pinned, const std::byte* from, size_t size_bytes);
  virtual Status copy_in(std::byte* to, const std::byte* pinned, size_t size_bytes);

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
