#include "app/batch_generation.h"

#include <algorithm>
#include <list>
#include <string>

#include "engine/sampling/sampler.h"
#include "engine/step_sampler.h"

namespace realm {
namespace {

struct Running {
  size_t index;
  const BatchPrompt* prompt;
  Sequence sequence;
  BatchAnswer answer = {};
  int64_t prefilled = 0;  // of the prompt
  Token next = 0;         // to run once the prompt is done

  bool in_prefill() const { return prefilled < static_cast<int64_t>(prompt->tokens.size()); }
};

class Batch {
 public:
  Batch(Engine& engine, std::span<const BatchPrompt> prompts, std::span<const Token> stop_tokens)
      : engine_(engine), prompts_(prompts), stop_tokens_(stop_tokens) {}

  bool done() const { return running_.empty() && waiting_ == prompts_.size(); }

  // Lets prompts in while there is room for all that they may grow to.
  Status admit() {
    const EngineOptions& options = engine_.options();
    while (waiting_ < prompts_.size() &&
           static_cast<int64_t>(running_.size()) <
               std::min(options.max_sequences, options.max_logit_rows)) {
      const BatchPrompt& prompt = prompts_[waiting_];
      const auto length = static_cast<int64_t>(prompt.tokens.size());
      if (length == 0 || length > options.context) {
        return Error{ErrorCode::kInvalidArgument,
                     "prompt " + std::to_string(waiting_) + " has " + std::to_string(length) +
                         " tokens, and the context holds 1 to " + std::to_string(options.context)};
      }
      Sequence sequence(engine_.pages());
      std::vector<std::pair<PageId, PageId>> copies;
      const Status room =
          sequence.reserve(std::min(options.context, length + prompt.max_tokens), copies);
      if (!room.ok()) {
        if (running_.empty()) return room;
        return {};  // when another has ended
      }
      running_.push_back({waiting_++, &prompt, std::move(sequence)});
    }
    return {};
  }

  // One step: a token of each that decodes, and prompts with what is left of the step.
  Status step(const std::function<Status(size_t, BatchAnswer)>& on_answer) {
    std::vector<StepItem> items;
    std::vector<std::list<Running>::iterator> order;
    int64_t budget = engine_.options().max_step_tokens;
    for (const bool prefill : {false, true}) {
      for (auto it = running_.begin(); it != running_.end() && budget > 0; ++it) {
        if (it->in_prefill() != prefill) continue;
        std::span<const Token> tokens(&it->next, 1);
        if (prefill) {
          tokens = std::span(it->prompt->tokens).subspan(static_cast<size_t>(it->prefilled));
          tokens = tokens.first(std::min(tokens.size(), static_cast<size_t>(budget)));
          it->prefilled += static_cast<int64_t>(tokens.size());
        }
        budget -= static_cast<int64_t>(tokens.size());
        items.push_back({.sequence = &it->sequence,
                         .tokens = tokens,
                         .logits = it->in_prefill() ? WantLogits::kNone : WantLogits::kLast});
        order.push_back(it);
      }
    }
    const auto wanted = [](const StepItem& item) { return item.logits == WantLogits::kLast; };
    std::vector<StepSampler::Row> rows(
        static_cast<size_t>(std::count_if(items.begin(), items.end(), wanted)),
        {.sampler = &greedy_});
    TRY(steps_.run(items, rows));
    size_t row = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      if (!wanted(items[i])) continue;
      TRY(rows[row].status);
      take(*order[i], rows[row++].sampled.token);
      if (!ended_) continue;
      TRY(on_answer(order[i]->index, std::move(order[i]->answer)));
      running_.erase(order[i]);
    }
    return {};
  }

 private:
  // Adds the next token to an answer; `ended_` says whether that was the end of it.
  void take(Running& run, Token token) {
    run.next = token;
    ended_ = true;
    BatchAnswer& answer = run.answer;
    if (std::find(stop_tokens_.begin(), stop_tokens_.end(), run.next) != stop_tokens_.end()) {
      answer.finish = FinishReason::kStop;
      return;
    }
    answer.tokens.push_back(run.next);
    if (static_cast<int64_t>(answer.tokens.size()) >= run.prompt->max_tokens) {
      answer.finish = FinishReason::kLength;
    } else if (run.sequence.length() >= engine_.options().context) {
      answer.finish = FinishReason::kContextFull;
    } else {
      ended_ = false;
    }
  }

  Engine& engine_;
  std::span<const BatchPrompt> prompts_;
  std::span<const Token> stop_tokens_;
  std::list<Running> running_;  // StepItems point into it
  size_t waiting_ = 0;          // the first prompt that was not let in yet
  Sampler greedy_{SamplingParams{.temperature = 0.0f}};
  StepSampler steps_{engine_};
  bool ended_ = false;
};

}  // namespace

Status generate_batch(Engine& engine, std::span<const BatchPrompt> prompts,
                      std::span<const Token> stop_tokens,
                      const std::function<Status(size_t, BatchAnswer)>& on_answer,
                      const std::atomic<bool>* cancel) {
  Batch batch(engine, prompts, stop_tokens);
  while (!batch.done()) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      return Error{ErrorCode::kCancelled, "interrupted"};
    }
    TRY(batch.admit());
    TRY(batch.step(on_answer));
  }
  return {};
}

}  // namespace realm
