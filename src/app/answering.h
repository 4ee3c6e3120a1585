// Answers from a loaded model: prompt ids in, text out as it becomes certain. One conversation at a
// time; what the cache already holds of a prompt is not run again.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/model_loader.h"
#include "base/result.h"
#include "engine/generation.h"

namespace realm {

struct AnswerRequest {
  std::vector<Token> prompt;
  SamplingParams sampling;
  int64_t max_tokens = -1;
  std::vector<std::string> stop;
  bool ignore_end = false;  // end-of-generation tokens are ordinary ones
  const std::atomic<bool>* cancel = nullptr;
};

class Answering {
 public:
  // `model` outlives this object.
  static Result<std::unique_ptr<Answering>> create(const LoadedModel& model);

  // Calls on_text with whole characters only; a stop string is never shown.
  Result<GenerationResult> answer(const AnswerRequest& request,
                                  const std::function<void(std::string_view)>& on_text);

  const LoadedModel& model() const { return model_; }
  Engine& engine() { return *engine_; }

 private:
  Answering(const LoadedModel& model, std::unique_ptr<Engine> engine)
      : model_(model), engine_(std::move(engine)), sequence_(engine_->pages()) {}

  const LoadedModel& model_;
  std::unique_ptr<Engine> engine_;
  Sequence sequence_;
};

}  // namespace realm
