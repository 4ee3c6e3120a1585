// Runs steps: one flat batch of mixed prefill and decode tokens through the model, over the paged
// KV cache. The scheduler, the command line and the tests are its callers, one thread at a time.
// All memory (cache, inputs, scratch for the largest step) is taken when the engine is made.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "engine/batch_inputs.h"
#include "engine/page_pool.h"
#include "engine/sampling/sampler.h"
#include "engine/sequence.h"
#include "models/model.h"
#include "ops/backend.h"

namespace realm {

struct EngineOptions {
  int64_t context = 4096;         // tokens one sequence may have
  int64_t cache_tokens = 0;       // tokens the cache holds in all; 0: one context
  int64_t max_step_tokens = 512;  // tokens of one step
  int64_t max_sequences = 16;     // sequences of one step
  int64_t max_logit_rows = 16;    // rows of logits of one step
  DType kv_type = DType::kF16;    // one of kv_types()
  int32_t host_pages = 0;         // pages of KV cache that the host's memory holds besides
  // Bytes that a layer has to read less for pages in common to be read once for all
  // (shared_pages.h, where the backend does that). What is read again mostly comes from a GPU's L2
  // cache, and reading it once takes a kernel more: docs/performance.md.
  int64_t shared_bytes_min = 192 << 20;
  bool embeddings = false;  // step_hidden() will be called; without it no encoder is taken
};

enum class WantLogits { kNone, kLast, kAll };

// A run of tokens of one sequence to process now; the sequence has room reserved for them.
struct StepItem {
  Sequence* sequence;
  std::span<const Token> tokens;
  WantLogits logits = WantLogits::kLast;
};

// Summaries of rows of logits in the order of the items; valid until the next step.
struct StepSummaries {
  std::span<const float> logits, sums;  // [rows, best], [rows, 2]: as ops/top_candidates.h has them
  std::span<const Token> tokens;        // [rows, 1 + best]
  // [rows], [rows, 2]: as ops/sample_tokens.h has them; empty where no chains were given.
  std::span<const Token> chosen;
  std::span<const float> facts;
  int64_t rows = 0, best = 0, vocab = 0;
  RowSummary row(int64_t i) const;
};

// Rows of logits in the order of the items; valid until the next step.
struct StepLogits {
  std::span<const float> values;
  int64_t rows = 0, vocab = 0;
  std::span<const float> row(int64_t i) const {
    return values.subspan(static_cast<size_t>(i * vocab), static_cast<size_t>(vocab));
  }
};

// Rows of final hidden states, in the same way.
struct StepHidden {
  std::span<const float> values;
  int64_t rows = 0, size = 0;
  std::span<const float> row(int64_t i) const {
    return values.subspan(static_cast<size_t>(i * size), static_cast<size_t>(size));
  }
};

class Engine {
 public:
  // `backend` outlives the engine. Errors: kInvalidArgument for options out of range, kExhausted
  // where the memory cannot be had (with what a first run takes, where the backend takes any then),
  // kBadModel where tensors do not fit together, kUnsupported for
  // an encoder without `embeddings`. An encoder's steps hold a whole context at least.
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model,
                                                Backend& backend, const EngineOptions& options);

  // What the caller has to do besides: a step calls it before it waits for its results, which the
  // device is computing then if the backend runs ahead. A step that fails may not have called it.
  using Meanwhile = std::function<void()>;

  // Runs the items (at least one token in all) and appends their tokens to their sequences.
  // Errors: kInvalidArgument for a token id out of range (nothing has been changed then).
  Result<StepLogits> step(std::span<const StepItem> items, const Meanwhile& meanwhile = {});
  // The same, giving the likeliest token of each row that `items` want: greedy decoding, without
  // the rows' leaving the device.
  Result<std::vector<Token>> step_greedy(std::span<const StepItem> items,
                                         const Meanwhile& meanwhile = {});
  // The same, giving of each row what sampling mostly needs; the rows stay on the device. `draws`
  // has one entry for each, and so has `chains`, if there are any, with max_changes() in all.
  Result<StepSummaries> step_summaries(std::span<const StepItem> items,
                                       std::span<const DeviceDraw> draws,
                                       const Meanwhile& meanwhile = {},
                                       const DeviceChains& chains = {});
  int64_t max_changes() const { return inputs_.max_changes(); }
  // Row `i` of the last step_summaries, whole; valid until the next call.
  Result<std::span<const float>> logits_row(int64_t i);
  // Whether a step has something to wait for.
  bool runs_ahead() const { return backend_.runs_ahead(); }
  // Whether summaries are the cheaper way to a token.
  bool prefers_summaries() const { return !backend_.is_host(); }
  // The same, giving the normalized hidden states of the rows that `items` want, any number of
  // them, and not finite ones as kBadModel. An encoder's items are whole texts.
  Result<StepHidden> step_hidden(std::span<const StepItem> items, const Meanwhile& meanwhile = {});
  Status copy_pages(std::span<const std::pair<PageId, PageId>> pairs);
  // Copies pages to host_pages' memory and back, in this order; done by the time the next step
  // runs.
  Status swap_pages(std::span<const PageSwap> swaps);
  // How long one takes, either way, as measured when the engine was made; 0 without host_pages.
  double swap_page_seconds() const { return swap_page_seconds_; }
  // Bytes of one page, of all layers.
  static size_t page_bytes(const ModelInfo& info, DType kv_type);

  const Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }
  PagePool& pages() { return pool_; }
  Backend& backend() { return backend_; }
  size_t cache_bytes() const { return cache_bytes_; }
  size_t scratch_bytes() const { return scratch_.size_bytes; }

 private:
  struct StepProgram {
    Program program;
    TensorView output;  // logits, tokens, hidden states, the first of summaries
    TensorView logits;  // where those are summarized
    std::unique_ptr<PreparedProgram> prepared;  // of placed programs
    uint64_t last_use = 0;
  };
  // A step that has been run; of `rows` rows its output can be downloaded.
  struct Done {
    const StepProgram* program;
    int64_t rows;
  };

  Engine(std::shared_ptr<const Model> model, Backend& backend, const EngineOptions& options,
         int32_t num_pages);
  int64_t shared_page_bytes() const;
  Status allocate(int32_t num_pages);
  Status rehearse();
  Status take_host_pages();
  Result<StepProgram> build(const StepShape& shape) const;
  void add_sampling(ProgramBuilder& builder, const TensorView& logits, StepResult result) const;
  Result<const StepProgram*> program_for(const StepShape& shape);
  Status check(std::span<const StepItem> items, StepResult result) const;
  int64_t num_best() const;
  Result<Done> run(std::span<const StepItem> items, StepResult result,
                   std::span<const DeviceDraw> draws = {}, const Meanwhile& meanwhile = {},
                   const DeviceChains& chains = {});
  Error not_finite();

  std::shared_ptr<const Model> model_;
  Backend& backend_;
  EngineOptions options_;
  // Steps are padded to few shapes: a device's backend replays what it has recorded for a shape.
  const bool pads_;
  PagePool pool_;
  std::vector<KvLayer> cache_;
  std::vector<Buffer> cache_buffers_;
  size_t cache_bytes_ = 0;
  Buffer host_pages_;  // [host pages, bytes of a page]
  double swap_page_seconds_ = 0;
  BatchInputs inputs_;
  Buffer scratch_;
  std::map<StepShape, StepProgram> programs_;
  uint64_t num_runs_ = 0;
  std::vector<float> logits_, hidden_;
  std::vector<std::byte> summaries_;
  TensorView summarized_;                  // the rows of the last step_summaries
  std::optional<Status> weights_checked_;  // once logits were not finite
};

}  // namespace realm
