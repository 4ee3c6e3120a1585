// Running known tokens through an engine in steps: what logits, perplexity and imatrix share.
#pragma once

#include <atomic>
#include <functional>
#include <span>

#include "base/result.h"
#include "base/token.h"
#include "engine/engine.h"

namespace realm {

// Rows of logits of one step, and the index of the first one's token in `tokens`.
using OnLogits = std::function<Status(int64_t first, const StepLogits& logits)>;

// Appends `tokens` to the sequence in steps of at most `chunk` tokens; with `on_logits`, all their
// logits are computed and handed over step by step.
// Errors: those of Engine::step; kExhausted; kCancelled once *cancel is true.
Status feed(Engine& engine, Sequence& sequence, std::span<const Token> tokens, int64_t chunk,
            const OnLogits& on_logits = {}, const std::atomic<bool>* cancel = nullptr);

// Tokens a step such that its logits take at most 64 MB, and at most 512.
int64_t step_tokens_for(int64_t vocab_size);

// kBadModel where a row holds NaN or infinity; `first` is the first row's token index, `label` the
// model's.
Status check_finite(const StepLogits& logits, int64_t first, const std::string& label);

// kInvalidArgument naming the first id that is not in the vocabulary.
Status check_token_ids(std::span<const Token> tokens, int64_t vocab_size);

}  // namespace realm
