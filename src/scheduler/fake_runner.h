// A runner without a model: a token is a digest of all that came before it and the seed, so that
// the same prompt gives the same answer whatever runs beside it, and a step costs what the options
// say. The digests lie in the pages, as keys and values would: a page that is shared or reused
// wrongly gives wrong tokens. For the simulator, for load tests of the server, and for measuring
// the scheduler itself.
#pragma once

#include <chrono>
#include <functional>

#include "scheduler/step_runner.h"

namespace realm {

struct FakeOptions {
  RunnerLimits limits = {.context = 4096,
                         .max_step_tokens = 512,
                         .max_sequences = 256,
                         .max_sampled = 256,
                         .vocab_size = 1024};
  int32_t num_pages = 8192;
  // The step sleeps base + per_token * tokens; 0: none.
  std::chrono::nanoseconds step_cost_base{0};
  std::chrono::nanoseconds step_cost_per_token{0};
  // What generated tokens are drawn from: [first_token, vocab_size).
  Token first_token = 0;
  bool runs_ahead = false;  // as a device's runner says; the sleep is what it has time in
  // Called before each step; an error is the step's (fault injection).
  std::function<Status(std::span<const StepWork>)> before_step = {};
  // The same, called when the step's results are read, after the host's time beside it.
  std::function<Status(std::span<const StepWork>)> after_step = {};
};

class FakeRunner final : public StepRunner {
 public:
  explicit FakeRunner(FakeOptions options);

  const RunnerLimits& limits() const override { return options_.limits; }
  PagePool& pages() override { return pool_; }
  bool runs_ahead() const override { return options_.runs_ahead; }
  Status swap(std::span<const PageSwap> swaps) override;
  Status run(std::span<const StepWork> work, std::span<StepOutput> out,
             const Meanwhile& meanwhile) override;

  // The token this runner gives after `tokens` under `sampler`'s seed.
  Token next_token(std::span<const Token> tokens, const Sampler& sampler) const;

 private:
  static uint64_t digest_after(uint64_t before, Token token);
  Sampled sample(uint64_t digest, const Sampler& sampler) const;
  Status constrain(TokenConstraint& constraint, Sampled& sampled) const;

  FakeOptions options_;
  PagePool pool_;
  std::vector<uint64_t> cache_;  // [pages, kPageTokens]
  std::vector<uint64_t> host_;   // [host pages, kPageTokens]
};

}  // namespace realm
