// One API request's sequences, from submission to the last event: every endpoint that generates
// text goes through here. Requests to the scheduler go out from the I/O thread; its events come
// back through the loop's queue, become text, and reach the endpoint's observer on the I/O thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampling/params.h"
#include "engine/sampling/sampler.h"
#include "scheduler/scheduler.h"
#include "server/api/api_error.h"
#include "server/api/authenticator.h"
#include "server/api/served_model.h"
#include "server/http/io_loop.h"

namespace realm::server {

struct GenerationSpec {
  std::shared_ptr<ServedModel> model = {};
  Principal principal = {};
  std::string request_id = {};
  std::vector<std::vector<Token>> prompts = {};
  int64_t choices = 1;           // of each prompt; choice i of prompt p is number p * choices + i
  SamplingParams sampling = {};  // choice i has seed + i
  int64_t max_tokens = -1;       // -1: as many as the context holds
  std::vector<std::string> stop = {};
  bool include_stop = false;  // the stop string is part of the text
  bool ignore_end = false;    // end-of-generation tokens are ordinary ones
  Priority priority = Priority::kNormal;
  std::optional<std::chrono::steady_clock::time_point> deadline = {};  // then it fails
  std::string cache_salt = {};
  bool cache_prompt = true;
  std::optional<Pooling> embed = {};  // the prompts' vectors and no text
};

struct TokenReport {
  Token token;
  float logprob;
  std::vector<TokenLogprob> top;
};

// Text that a choice has gained. Tokens come with the text that shows the first of their bytes;
// only where sampling.logprobs is set.
struct Delta {
  size_t choice;
  std::string text;
  std::vector<TokenReport> tokens;
};

struct ChoiceEnd {
  size_t choice;
  FinishReason reason;
  std::optional<std::string> stop_text = {};  // the stop string that was met
  int64_t generated_tokens = 0;
  std::vector<float> embedding = {};  // where spec.embed was set
};

struct Usage {
  int64_t prompt_tokens = 0;  // of each prompt once
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;  // of the slowest choice
};

class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void on_delta(const Delta& delta) = 0;
  virtual void on_choice_end(const ChoiceEnd& end) = 0;
  // Last, one of the two.
  virtual void on_done(const Usage& usage) = 0;
  virtual void on_error(const ApiError& error) = 0;
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Starts it all, or nothing: a refusal is the error. Lives until its last sequence has ended.
  static std::optional<ApiError> start(GenerationSpec spec, Authenticator& authenticator,
                                       IoLoop& loop, std::unique_ptr<GenerationObserver> observer,
                                       std::shared_ptr<Generation>& out);
  ~Generation();

  // Nobody waits for it any more: ends by the next step; the observer hears nothing more.
  void cancel();
  // The reader is slow: no tokens are made until it is not.
  void set_paused(bool paused);

  GenerationObserver& observer() { return *observer_; }

 private:
  class Choice;
  struct Ledger;

  Generation(GenerationSpec spec, IoLoop& loop, std::unique_ptr<GenerationObserver> observer);
  std::optional<ApiError> submit_some();
  void submission_done();
  Request request_for(size_t choice) const;
  // On the scheduler's thread.
  void sequence_ended(size_t choice, const Outcome& outcome, const TokenLatencies& latencies);
  // On the I/O thread.
  void choice_ended(size_t choice, const Outcome& outcome);
  void all_ended();
  void fail(ApiError error);
  size_t num_choices() const { return spec_.prompts.size() * static_cast<size_t>(spec_.choices); }

  GenerationSpec spec_;
  IoLoop& loop_;
  std::unique_ptr<GenerationObserver> observer_;
  std::vector<std::shared_ptr<Choice>> choices_;  // those submitted
  size_t running_ = 0;                            // of them
  bool submitting_ = true;                        // more will follow
  std::unique_ptr<Ledger> ledger_;
  bool silent_ = false;  // the observer has heard its last word
  bool paused_ = false;
};

}  // namespace realm::server
