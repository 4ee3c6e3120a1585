// Greedy answers to many prompts at once: the prompts that are there run as one batch of sequences,
// and as one ends the next takes its place. Each answer is the same, bit for bit, as if it had been
// alone. What `realm eval` runs on; a server's scheduler is another client of the same steps.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "engine/engine.h"
#include "engine/generation.h"

namespace realm {

struct BatchPrompt {
  std::vector<Token> tokens;
  int64_t max_tokens;  // of the answer, at least 1
};

struct BatchAnswer {
  std::vector<Token> tokens;  // without the stop token
  FinishReason finish = FinishReason::kStop;
};

// Calls on_answer(index of the prompt, answer) as each is complete, in no given order; an error it
// returns ends the work. An answer ends before one of `stop_tokens`, at max_tokens, or when the
// context is full (kContextFull).
// Errors: kInvalidArgument for an empty prompt, one longer than the engine's context or with an id
// out of range (prompts that came before may have been answered); kExhausted where one sequence
// alone does not fit the cache; kBadModel where logits are not finite; kCancelled.
Status generate_batch(Engine& engine, std::span<const BatchPrompt> prompts,
                      std::span<const Token> stop_tokens,
                      const std::function<Status(size_t, BatchAnswer)>& on_answer,
                      const std::atomic<bool>* cancel = nullptr);

}  // namespace realm
