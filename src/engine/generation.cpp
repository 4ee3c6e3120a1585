#include "engine/generation.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "engine/step_sampler.h"

namespace realm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool is_cancelled(const std::atomic<bool>* cancel) {
  return cancel != nullptr && cancel->load(std::memory_order_relaxed);
}

Result<StepItem> item_for(Engine& engine, Sequence& sequence, std::span<const Token> tokens) {
  std::vector<std::pair<PageId, PageId>> copies;
  TRY(sequence.reserve(static_cast<int64_t>(tokens.size()), copies));
  TRY(engine.copy_pages(copies));
  return StepItem{.sequence = &sequence, .tokens = tokens, .logits = WantLogits::kLast};
}

// Runs the tokens, in pieces, and chooses the one after them; none where it was cancelled.
Result<std::optional<Sampled>> next_token(StepSampler& steps, Engine& engine, Sequence& sequence,
                                          std::span<const Token> tokens, const Sampler& sampler,
                                          const std::atomic<bool>* cancel) {
  const auto step = static_cast<size_t>(engine.options().max_step_tokens);
  for (size_t begin = 0;; begin += step) {
    if (is_cancelled(cancel)) return std::optional<Sampled>();
    const auto piece = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    StepItem item = TRY(item_for(engine, sequence, piece));
    if (begin + step < tokens.size()) {
      item.logits = WantLogits::kNone;
      TRY(engine.step({&item, 1}));
      continue;
    }
    StepSampler::Row row{.sampler = &sampler};
    TRY(steps.run({&item, 1}, {&row, 1}));
    TRY(row.status);
    return std::optional<Sampled>(std::move(row.sampled));
  }
}

}  // namespace

Result<StepLogits> prefill(Engine& engine, Sequence& sequence, std::span<const Token> tokens,
                           const std::atomic<bool>* cancel) {
  const size_t step = static_cast<size_t>(engine.options().max_step_tokens);
  for (size_t begin = 0;; begin += step) {
    if (is_cancelled(cancel)) return Error{ErrorCode::kCancelled, "cancelled"};
    const auto piece = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    const StepItem item = TRY(item_for(engine, sequence, piece));
    StepLogits logits = TRY(engine.step({&item, 1}));
    if (begin + step >= tokens.size()) return logits;
  }
}

Result<GenerationResult> generate(Engine& engine, Sequence& sequence,
                                  const GenerationRequest& request,
                                  const std::function<bool(const Sampled&)>& on_token) {
  const int64_t context = engine.options().context;
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt.size());
  if (prompt_tokens == 0) return Error{ErrorCode::kInvalidArgument, "the prompt is empty"};
  if (prompt_tokens > context) {
    return Error{ErrorCode::kInvalidArgument, "the prompt has " + std::to_string(prompt_tokens) +
                                                  " tokens and the context holds " +
                                                  std::to_string(context) +
                                                  ": shorten it or raise --ctx"};
  }
  TRY(validate(request.sampling, engine.model().info().vocab_size));

  GenerationResult result;
  result.prompt_tokens = prompt_tokens;
  const auto& held = sequence.tokens();
  const auto common =
      std::mismatch(held.begin(), held.end(), request.prompt.begin(), request.prompt.end());
  // At least the last token runs again: its logits are needed.
  result.cached_tokens = std::min<int64_t>(common.first - held.begin(), prompt_tokens - 1);
  sequence.truncate(result.cached_tokens);

  Sampler sampler(request.sampling, request.token_text);
  for (Token token : request.prompt) sampler.accept_prompt(token);
  StepSampler steps(engine);
  const auto prefill_start = Clock::now();
  const std::span<const Token> prompt(request.prompt);
  std::optional<Sampled> next = TRY(
      next_token(steps, engine, sequence, prompt.subspan(static_cast<size_t>(result.cached_tokens)),
                 sampler, request.cancel));
  result.prefill_seconds = seconds_since(prefill_start);
  if (!next) {
    result.finish = FinishReason::kCancelled;
    return result;
  }
  const auto decode_start = Clock::now();
  for (;;) {
    result.decode_seconds = seconds_since(decode_start);
    if (request.max_tokens >= 0 && result.generated_tokens >= request.max_tokens) {
      result.finish = FinishReason::kLength;
      return result;
    }
    if (is_cancelled(request.cancel)) {
      result.finish = FinishReason::kCancelled;
      return result;
    }
    const Sampled sampled = *std::exchange(next, std::nullopt);
    sampler.accept(sampled);
    ++result.generated_tokens;
    const auto& stops = request.stop_tokens;
    if (std::find(stops.begin(), stops.end(), sampled.token) != stops.end() || !on_token(sampled)) {
      result.decode_seconds = seconds_since(decode_start);
      result.finish = FinishReason::kStop;
      return result;
    }
    if (sequence.length() >= context) {
      result.finish = FinishReason::kContextFull;
      return result;
    }
    if (request.max_tokens >= 0 && result.generated_tokens >= request.max_tokens) continue;
    next = TRY(next_token(steps, engine, sequence, {&sampled.token, 1}, sampler, nullptr));
  }
}

}  // namespace realm
