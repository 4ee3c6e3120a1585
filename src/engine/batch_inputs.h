// The inputs of a step as one flat batch: where each stands in the input buffer, and the host's
// copy of it, filled from the step's items and uploaded in as few pieces as it has uses. The
// engine owns one; programs name its views.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/sampling/sampler.h"
#include "engine/shared_pages.h"
#include "models/model.h"
#include "ops/backend.h"
#include "ops/sample_row.h"

namespace realm {

struct EngineOptions;
struct StepItem;

// What comes out of a step: rows of logits, the best token of each, summaries of them, these and
// tokens chosen by chains of samplers, or rows of hidden states.
enum class StepResult : uint8_t { kLogits, kTokens, kSummaries, kSampled, kHidden };

// A program depends on nothing else of a step.
struct StepShape {
  int64_t tokens, sequences, rows;
  StepResult result;
  bool shares = false;  // sequences share pages that are read once for all of them

  auto operator<=>(const StepShape&) const = default;
};

// How a device chooses the tokens of a step's rows.
struct DeviceChains {
  std::span<const SampleRow> rows;
  std::span<const LogitChange> changes;
};

class BatchInputs {
 public:
  // `pads`: steps are padded to few shapes, by tokens of a sequence that nobody reads, with pages
  // past the `num_pages` of the pool. `page_bytes` of one layer, 0 where the backend does not read
  // shared pages once. What is referred to outlives this object.
  BatchInputs(const ModelInfo& info, const EngineOptions& options, int32_t num_pages, bool pads,
              int64_t page_bytes);

  // Pages past those of the pool that padding writes to, and rows of the table with padding's.
  int32_t padding_pages() const;
  int64_t max_sequences() const;
  // Changes of logits that a chain has room for whatever the others want, and what those of one
  // step may have beyond that together.
  static constexpr int64_t kChangesPerRow = 256, kChangesBesides = 8192;
  int64_t max_changes() const;  // of all chains of a step

  // On the device. Errors: as Backend::allocate.
  Status allocate(Backend& backend);
  const std::byte* device() const { return buffer_.data.get(); }
  // Views of the device's buffer.
  StepInputs views(const StepShape& shape) const;
  TensorView draws(int64_t rows) const;
  TensorView settings(int64_t rows) const;
  TensorView changes() const;

  // The shape that the items' step has then. Rows come in the order of the items, whatever that of
  // the batch is.
  StepShape fill(std::span<const StepItem> items, StepResult result);
  // Of the step just filled; rows past those given ask for nothing.
  void set_draws(std::span<const DeviceDraw> draws);
  void set_chains(const StepShape& shape, const DeviceChains& chains);
  Status upload(Backend& backend, const StepShape& shape);

 private:
  // Where each input stands, for the largest step. What is not part of every step comes last: of
  // the table of pages its rows in use are uploaded, and what chains need where there are any.
  struct Layout {
    size_t tokens, positions, slots, seq_start, logit_rows, draws, seq_last, near_first, near_last,
        shared, page_table, settings, changes, total;
  };

  Layout lay_out() const;
  template <typename T>
  T* at(size_t offset) {
    return reinterpret_cast<T*>(staging_.data() + offset);
  }
  TensorView view(size_t offset, DType type, std::initializer_list<int64_t> shape) const {
    return make_view(buffer_.data.get() + offset, type, shape);
  }
  StepShape padded(const StepShape& shape) const;
  void fill_padding(const StepShape& shape, int64_t num_tokens, int64_t num_sequences);
  bool find_shared(std::span<const StepItem> items);
  void fill_reach(std::span<const StepItem> items);

  const ModelInfo& info_;
  const EngineOptions& options_;
  int32_t num_pages_;
  bool pads_;
  int64_t page_bytes_;
  int64_t max_pages_;  // of one sequence
  Layout layout_;
  Buffer buffer_;
  std::vector<std::byte> staging_;  // the host's copy
  size_t num_changes_ = 0;
  SharedPages shared_;  // of the step that is being made
  std::vector<std::span<const PageId>> whole_pages_;
  std::vector<int32_t> first_tokens_;  // of each item, in the batch
};

// Rows that an item wants.
int64_t rows_wanted(const StepItem& item);

}  // namespace realm
