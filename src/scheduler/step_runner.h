// The narrow seam between the scheduler and what runs its steps: the engine with its samplers
// (EngineRunner), or a fake with made-up tokens and costs (FakeRunner) under the simulator and the
// server's load tests. Sampling is on this side, so that a device may do it where the logits are.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/result.h"
#include "base/token.h"
#include "engine/page_pool.h"
#include "engine/pooler.h"
#include "engine/sampling/sampler.h"
#include "engine/sequence.h"
#include "scheduler/request.h"

namespace realm {

struct RunnerLimits {
  int64_t context;          // tokens of one sequence
  int64_t max_step_tokens;  // of one step
  int64_t max_sequences;    // of one step
  int64_t max_sampled;      // sequences of one step that want a token
  int64_t vocab_size;
  bool generates = true;         // makes tokens
  bool embeds = false;           // makes vectors of prompts
  bool whole_prompts = false;    // a prompt has to be run in one step
  int32_t host_pages = 0;        // that swap() has room for in the host's memory
  double swap_page_seconds = 0;  // to copy one there, or back, as measured
};

// Tokens of one sequence to run now; room for them is reserved.
struct StepWork {
  Sequence* sequence;
  std::span<const Token> tokens;
  AdapterId adapter;
  const Sampler* sampler;       // null: no token is wanted yet (more of the prompt follows)
  TokenConstraint* constraint;  // may be null
  Pooler* pooler = nullptr;     // takes the tokens' hidden states; then there is no sampler
  bool is_stream = false;       // one token after those that were generated
};

struct StepOutput {
  Status status;    // of this sequence alone
  Sampled sampled;  // where a token was wanted
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual const RunnerLimits& limits() const = 0;
  virtual PagePool& pages() = 0;
  virtual bool has_adapter(AdapterId adapter) const { return adapter == AdapterId::kNone; }

  // Whether the host has time of its own while a step runs, to be used by run()'s `meanwhile`.
  virtual bool runs_ahead() const { return false; }

  // Copies pages to the host's memory and back, one after the other. Errors: as run().
  virtual Status swap(std::span<const PageSwap> swaps) {
    CHECK(swaps.empty());  // without host_pages there are none
    return {};
  }

  // Runs the work and appends its tokens to its sequences; `out` has one entry each. Errors:
  // kUnavailable: the device is broken, nothing can run any more. Any other: this step failed as a
  // whole and what the sequences hold beyond their length before it is not valid. `meanwhile` as
  // Engine's: called once at most, when the sequences have their tokens, and always by a run that
  // succeeds; the work's spans of tokens may have moved then. May be empty.
  using Meanwhile = std::function<void()>;
  virtual Status run(std::span<const StepWork> work, std::span<StepOutput> out,
                     const Meanwhile& meanwhile) = 0;
};

}  // namespace realm
