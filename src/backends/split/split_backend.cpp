#include "backends/split/split_backend.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace realm::split {

// A prepared program's pieces in order: ops of one side, or bytes on their way to the other.
struct Piece {
  std::unique_ptr<PreparedProgram> program;
  bool to_device = false;
  std::byte *host = nullptr, *device = nullptr;
  size_t size = 0;
};

class SplitProgram final : public PreparedProgram {
 public:
  explicit SplitProgram(SplitBackend& backend) : backend_(backend) {}

  Status run() override {
    Crossings crossings;
    for (const Piece& piece : pieces) {
      if (piece.program != nullptr) {
        TRY(piece.program->run());
      } else if (piece.to_device) {
        TRY(backend_.device_->upload(piece.device, {piece.host, piece.size}));
        ++crossings.to_device;
        crossings.bytes_to_device += piece.size;
      } else {
        TRY(backend_.device_->download({piece.host, piece.size}, piece.device));
        ++crossings.to_host;
        crossings.bytes_to_host += piece.size;
      }
    }
    backend_.valid_ = after;
    backend_.crossings_ = crossings;
    return {};
  }

  std::vector<Piece> pieces;
  Validity after;

 private:
  SplitBackend& backend_;
};

// Gives each op of a list its side.
class Router {
 public:
  // `valid`: what is where when the program begins.
  Router(SplitBackend& backend, Validity valid)
      : backend_(backend),
        program_(std::make_unique<SplitProgram>(backend)),
        validity_(std::move(valid)) {}

  Status add(const Op& op) {
    bool host = true, device = true;  // may run there
    Op visited = op;                  // views are visited as things to change
    Status known;
    for_each_tensor(visited, [&](const TensorView& view, bool) {
      size_t offset = 0;
      const SplitBackend::Region* region = backend_.find(view.data, offset);
      if (region == nullptr) {
        known = Error{ErrorCode::kUnsupported, std::string(op_name(op)) +
                                                   ": a tensor lies in memory that neither side "
                                                   "gave out"};
        return;
      }
      host = host && region->host != nullptr;
      device = device && region->device != nullptr;
    });
    TRY(known);
    if (!host && !device) {
      return Error{ErrorCode::kUnsupported,
                   std::string(op_name(op)) +
                       " needs what lies on the GPU alone and what lies on "
                       "the host alone; --gpu-layers does not fit this "
                       "model"};
    }
    // What both can do from what both have costs little and saves a crossing: positions' rotations.
    if (host && device && is_valid_everywhere(op)) {
      for_each_tensor(visited, [&](const TensorView& view, bool written) {
        if (written) validity_.set(view.data, view.extent_bytes(), kBothSides);
      });
      append(op, true);
      append(op, false);
      return {};
    }
    if (host != device) on_host_ = host;
    return run_on(op, on_host_);
  }

  Result<std::unique_ptr<PreparedProgram>> finish() {
    TRY(flush());
    program_->after = std::move(validity_);
    return std::unique_ptr<PreparedProgram>(std::move(program_));
  }

 private:
  // A strided output leaves the bytes between its rows as they are: they count as read.
  static bool needs_bytes(const TensorView& view, bool written) {
    return !written || !view.is_contiguous();
  }

  bool is_valid_everywhere(const Op& op) const {
    Op visited = op;
    bool all = true;
    for_each_tensor(visited, [&](const TensorView& view, bool written) {
      if (!needs_bytes(view, written)) return;
      all = all && validity_.of(view.data, view.extent_bytes()) == kBothSides;
    });
    return all;
  }

  Status run_on(const Op& op, bool host) {
    const unsigned side = host ? kHostSide : kDeviceSide;
    Op visited = op;
    Status crossed;
    for_each_tensor(visited, [&](const TensorView& view, bool written) {
      if (crossed.ok() && needs_bytes(view, written)) crossed = bring(view, host);
    });
    TRY(crossed);
    for_each_tensor(visited, [&](const TensorView& view, bool written) {
      size_t offset = 0;
      const SplitBackend::Region& region = *backend_.find(view.data, offset);
      if (written && region.host != nullptr && region.device != nullptr) {
        validity_.set(view.data, view.extent_bytes(), side);
      }
    });
    append(op, host);
    return {};
  }

  void append(const Op& op, bool host) {
    Op& placed = open_[host ? 0 : 1].emplace_back(op);
    for_each_tensor(placed, [&](TensorView& view, bool) { translate(view, host); });
  }

  // A view that an op names twice is translated at its first visit.
  void translate(TensorView& view, bool host) const {
    size_t offset = 0;
    const SplitBackend::Region* region = backend_.find(view.data, offset);
    if (region != nullptr) view.data = (host ? region->host : region->device) + offset;
  }

  Status bring(const TensorView& view, bool to_host) {
    const unsigned side = to_host ? kHostSide : kDeviceSide;
    const size_t size = view.extent_bytes();
    if ((validity_.of(view.data, size) & side) != 0) return {};
    size_t offset = 0;
    const SplitBackend::Region& region = *backend_.find(view.data, offset);
    if (region.host == nullptr || region.device == nullptr) return {};
    // Both: one has what is brought, the other may yet read what is overwritten.
    TRY(flush());
    for (const Validity::Piece& piece : validity_.within(view.data, size)) {
      if ((piece.sides & side) != 0) continue;
      const auto length = static_cast<size_t>(piece.end - piece.begin);
      const size_t at = offset + static_cast<size_t>(piece.begin - view.data);
      program_->pieces.push_back({.program = nullptr,
                                  .to_device = !to_host,
                                  .host = region.host + at,
                                  .device = region.device + at,
                                  .size = length});
      validity_.set(piece.begin, length, kBothSides);
    }
    return {};
  }

  // The device first: it may work while the host does.
  Status flush() {
    for (const bool host : {false, true}) {
      std::vector<Op>& ops = open_[host ? 0 : 1];
      if (ops.empty()) continue;
      Backend& backend = host ? *backend_.host_ : *backend_.device_;
      program_->pieces.push_back({.program = TRY(backend.prepare(ops))});
      ops.clear();
    }
    return {};
  }

  SplitBackend& backend_;
  std::unique_ptr<SplitProgram> program_;
  Validity validity_;
  std::vector<Op> open_[2];  // the host's, the device's
  bool on_host_ = true;      // where the last op ran that had no choice
};

SplitBackend::SplitBackend(std::unique_ptr<Backend> host, std::unique_ptr<Backend> device,
                           SplitOptions options)
    : host_(std::move(host)), device_(std::move(device)), options_(std::move(options)) {
  CHECK(host_->is_host());
}

SplitBackend::~SplitBackend() = default;

std::string SplitBackend::name() const {
  return device_->name() + ", " + std::to_string(options_.num_layers - options_.host_layers) +
         " of " + std::to_string(options_.num_layers) + " layers; the others " + host_->name();
}

const SplitBackend::Region* SplitBackend::find(const std::byte* address, size_t& offset) const {
  const auto after = regions_.upper_bound(address);
  if (after == regions_.begin()) return nullptr;
  const auto& [base, region] = *std::prev(after);
  offset = static_cast<size_t>(address - base);
  return offset < std::max<size_t>(region.size, 1) ? &region : nullptr;
}

// The region is forgotten when the buffer goes, which is before this backend does.
Buffer SplitBackend::tracked(std::byte* address, Region region, std::vector<Buffer> owned) {
  const size_t size = region.size;
  regions_[address] = region;
  return Buffer{std::shared_ptr<std::byte>(address,
                                           [this, held = std::move(owned)](std::byte* p) mutable {
                                             regions_.erase(p);
                                             held.clear();
                                           }),
                size};
}

Result<Buffer> SplitBackend::allocate(size_t size_bytes) {
  Buffer host = TRY(host_->allocate(size_bytes)), device = TRY(device_->allocate(size_bytes));
  const Region region{.size = size_bytes, .host = host.data.get(), .device = device.data.get()};
  return tracked(region.host, region, {std::move(host), std::move(device)});
}

Result<Buffer> SplitBackend::allocate_cache(size_t size_bytes, int64_t layer) {
  const bool on_host = layer_is_on_host(layer);
  Buffer buffer = TRY((on_host ? *host_ : *device_).allocate(size_bytes));
  std::byte* const address = buffer.data.get();
  const Region region{.size = size_bytes,
                      .host = on_host ? address : nullptr,
                      .device = on_host ? nullptr : address};
  return tracked(address, region, {std::move(buffer)});
}

Status SplitBackend::upload(std::byte* to, std::span<const std::byte> from) {
  size_t offset = 0;
  const Region* region = find(to, offset);
  CHECK(region != nullptr);
  if (!valid_.within(to, from.size()).empty()) valid_.set(to, from.size(), kBothSides);
  if (region->host != nullptr) TRY(host_->upload(region->host + offset, from));
  if (region->device != nullptr) TRY(device_->upload(region->device + offset, from));
  return {};
}

Status SplitBackend::download(std::span<std::byte> to, const std::byte* from) {
  size_t offset = 0;
  const Region* region = find(from, offset);
  CHECK(region != nullptr);
  const bool on_host = region->device == nullptr || (valid_.of(from, to.size()) & kHostSide) != 0;
  return region->host != nullptr && on_host ? host_->download(to, region->host + offset)
                                            : device_->download(to, region->device + offset);
}

Result<TensorView> SplitBackend::import_weight(const TensorView& host) {
  const Place place = options_.place_of ? options_.place_of(host.data) : Place::kBoth;
  Region region{.size = host.extent_bytes()};
  if (place != Place::kDevice) region.host = TRY(host_->import_weight(host)).data;
  if (place != Place::kHost) region.device = TRY(device_->import_weight(host)).data;
  regions_[host.data] = region;
  return host;
}

Result<std::string> SplitBackend::support(const Op& op) const {
  return host_->support(op);
}

Status SplitBackend::run(std::span<const Op> ops) {
  // What earlier runs left is read by later ones.
  return TRY(route(ops, valid_))->run();
}

Result<std::unique_ptr<PreparedProgram>> SplitBackend::prepare(std::span<const Op> ops) {
  // A program that is run again and again reads its inputs and what it has written itself.
  return route(ops, {});
}

Result<std::unique_ptr<PreparedProgram>> SplitBackend::route(std::span<const Op> ops,
                                                             Validity valid) {
  Router router(*this, std::move(valid));
  for (const Op& op : ops) TRY(router.add(op));
  return router.finish();
}

}  // namespace realm::split
