// Generating from one sequence: prefill in steps, then sample, append, repeat. The command line's
// way to use the engine; the server's scheduler runs many sequences through the same steps.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/finish_reason.h"
#include "engine/sampling/sampler.h"

namespace realm {

struct GenerationRequest {
  std::vector<Token> prompt;  // the whole of it; what the sequence already holds is not run again
  SamplingParams sampling;
  TokenText token_text;
  int64_t max_tokens = -1;         // -1: until a stop token or the context is full
  std::vector<Token> stop_tokens;  // end of generation; not passed to on_token
  const std::atomic<bool>* cancel = nullptr;
};

struct GenerationResult {
  FinishReason finish = FinishReason::kStop;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, already in the sequence
  int64_t generated_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// Calls on_token for each sampled token as soon as it is known; false stops (a stop string was
// met). The sequence is first cut back to the longest prefix it shares with the prompt. Errors:
// kInvalidArgument where the prompt is empty, longer than the context or holds a token out of
// range; kBadModel where the model's logits are not numbers.
Result<GenerationResult> generate(Engine& engine, Sequence& sequence,
                                  const GenerationRequest& request,
                                  const std::function<bool(const Sampled&)>& on_token);

// Runs tokens through the sequence in steps of the engine's size; logits of the last one.
Result<StepLogits> prefill(Engine& engine, Sequence& sequence, std::span<const Token> tokens,
                           const std::atomic<bool>* cancel = nullptr);

}  // namespace realm
