// A model's first layers on the host, the others on a device: for models larger than the device's
// memory. Made of two backends, of which it knows nothing but the interface. Each layer's weights
// and cache lie where the layer runs; scratch memory and inputs exist on both sides, and what one
// side wrote is copied to the other before it is read there, so that a step's hidden state crosses
// once. Which op runs where, and what crosses when, is settled when a program is prepared.
//
// The addresses that the engine and the ops hold are the host's, or where there is none (a cache on
// the device) the device's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/split/validity.h"
#include "ops/backend.h"

namespace realm::split {

// Where a weight is needed. What is needed on both sides runs on the side that has the ops before.
enum class Place { kHost, kDevice, kBoth };

struct SplitOptions {
  int64_t host_layers = 0;  // layers [0, host_layers) run on the host
  int64_t num_layers = 0;
  // By a weight's address in host memory.
  std::function<Place(const std::byte*)> place_of = {};
};

// Bytes that crossed and how often, of the last run program; for tests and the curious.
struct Crossings {
  int64_t to_device = 0, to_host = 0;
  size_t bytes_to_device = 0, bytes_to_host = 0;
};

class SplitBackend final : public Backend {
 public:
  // `host` has host memory (is_host()).
  SplitBackend(std::unique_ptr<Backend> host, std::unique_ptr<Backend> device,
               SplitOptions options);
  ~SplitBackend() override;

  std::string name() const override;
  // The device's: it is what runs out.
  Result<Memory> memory() const override { return device_->memory(); }
  Result<Buffer> allocate(size_t size_bytes) override;
  Result<Buffer> allocate_cache(size_t size_bytes, int64_t layer) override;
  bool reads_shared_pages_once() const override { return device_->reads_shared_pages_once(); }
  bool layer_is_on_host(int64_t layer) const override { return layer < options_.host_layers; }
  Status upload(std::byte* to, std::span<const std::byte> from) override;
  Status download(std::span<std::byte> to, const std::byte* from) override;
  Result<TensorView> import_weight(const TensorView& host) override;
  Result<std::string> support(const Op& op) const override;
  Status run(std::span<const Op> ops) override;
  // Errors: kUnsupported for an op with tensors that lie on one side alone, of both.
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override;

  const Crossings& crossings() const { return crossings_; }

 private:
  friend class SplitProgram;
  friend class Router;

  // Memory by the address that ops use; null where a side has none of it.
  struct Region {
    size_t size = 0;
    std::byte *host = nullptr, *device = nullptr;
  };
  // The region that an address lies in, null where there is none; and the place within.
  const Region* find(const std::byte* address, size_t& offset) const;
  Result<std::unique_ptr<PreparedProgram>> route(std::span<const Op> ops, Validity valid);
  Buffer tracked(std::byte* address, Region region, std::vector<Buffer> owned);

  std::unique_ptr<Backend> host_, device_;
  const SplitOptions options_;
  std::map<const std::byte*, Region> regions_;
  Validity valid_;  // of memory that both sides have, after the last program
  Crossings crossings_;
};

}  // namespace realm::split
