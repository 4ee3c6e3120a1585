#include "server/api/generation.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "server/api/text_pipeline.h"

namespace realm::server {
namespace {

// A list of texts to embed may be longer than any queue: so many are in the scheduler at once.
constexpr size_t kMaxEmbedding = 8;

// How far an outcome is from what the client wanted; a request's is its choices' worst.
int severity(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return 0;
    case FinishReason::kLength:
      return 1;
    case FinishReason::kContextFull:
      return 2;
    case FinishReason::kCancelled:
      return 3;
    case FinishReason::kDeadline:
      return 4;
    case FinishReason::kError:
      return 5;
  }
  return 5;
}

// What the model's scheduler says of a request. A broken engine is told apart from one that is
// going down: only another server, or loading the model anew, helps; why it broke is for the log.
ApiError scheduler_error(const ServedModel& model, const Error& error) {
  if (error.code != ErrorCode::kUnavailable || !model.scheduler->is_broken()) {
    return api_error(error);
  }
  return {.status = 503,
          .message = "the engine of the model '" + model.id +
                     "' is broken: its device failed; no request of it is served here any more",
          .code = "engine_broken"};
}

// The same of one that ran: what it needed and could not get was not the client's to know.
ApiError run_error(const ServedModel& model, const Error& error) {
  ApiError result = scheduler_error(model, error);
  if (error.code == ErrorCode::kExhausted) {
    result.status = 503;
    result.code = "out_of_memory";
  }
  return result;
}

}  // namespace

// What the scheduler's thread adds up; the rest of Generation is the I/O thread's.
struct Generation::Ledger {
  std::mutex mutex;
  size_t open = 1;  // sequences not ended, and one while submission goes on
  Usage usage;
  FinishReason worst = FinishReason::kStop;
  double run_seconds = 0;
  TokenLatencies latencies;
  std::unique_ptr<Admission> admission;
  std::chrono::system_clock::time_point arrived = std::chrono::system_clock::now();
};

// Part of its Generation: who holds a choice (the scheduler, work on the loop) holds all of it.
class Generation::Choice final : public Sink {
 public:
  Choice(Generation& generation, size_t index, TextPipeline pipeline, bool stops_early)
      : generation_(generation),
        loop_(generation.loop_),
        index_(index),
        wants_tokens_(generation.spec_.sampling.logprobs),
        stops_early_(stops_early),
        pipeline_(std::move(pipeline)) {}

  bool on_token(const TokenEvent& event) override {
    const auto now = std::chrono::steady_clock::now();
    if (event.index > 0) latencies_.add(std::chrono::duration<double>(now - last_token_).count());
    last_token_ = now;
    Event token{.token = event.sampled.token};
    if (wants_tokens_) {
      token.logprob = event.sampled.logprob;
      token.top = event.sampled.top;
    }
    bool goes_on = true;
    if (stops_early_) {
      token.text = pipeline_.push(event.sampled.token);
      goes_on = !pipeline_.stopped();
    }
    loop_.queue([self = handle(), token = std::move(token)]() mutable {
      self->take_token(std::move(token));
    });
    return goes_on;
  }

  void on_end(const Outcome& outcome) override {
    loop_.queue([self = handle(), outcome] { self->take_end(outcome); });
    generation_.sequence_ended(index_, outcome, latencies_);
    loop_.flush();
  }

  std::shared_ptr<Choice> handle() { return {generation_.shared_from_this(), this}; }

  std::optional<std::string> stop_text() const {
    return pipeline_.stopped() ? std::optional(pipeline_.matched()) : std::nullopt;
  }

  std::optional<RequestId> id;
  bool ended = false;

 private:
  struct Event {
    Token token;
    float logprob = 0;
    std::vector<TokenLogprob> top = {};
    std::string text = {};
  };

  // Hands on text, and with it the tokens that are now seen to be part of it.
  void emit(std::string text, bool is_last = false) {
    if (text.empty() && !(is_last && !waiting_.empty())) return;
    Delta delta{.choice = index_, .text = std::move(text), .tokens = std::move(waiting_)};
    waiting_.clear();
    if (!generation_.silent_) generation_.observer_->on_delta(delta);
  }

  void take_token(Event event) {
    if (wants_tokens_) waiting_.push_back({event.token, event.logprob, std::move(event.top)});
    emit(stops_early_ ? std::move(event.text) : pipeline_.push(event.token));
  }

  void take_end(const Outcome& outcome) {
    ended = true;
    if (!generation_.silent_) {
      // Tokens that are only part of a stop string are not part of the answer.
      std::string rest = pipeline_.finish();
      emit(std::move(rest), !pipeline_.stopped());
    }
    generation_.choice_ended(index_, outcome);
  }

  Generation& generation_;
  IoLoop& loop_;
  const size_t index_;
  const bool wants_tokens_, stops_early_;
  TextPipeline pipeline_;
  std::vector<TokenReport> waiting_;
  // The scheduler's thread's.
  std::chrono::steady_clock::time_point last_token_{};
  TokenLatencies latencies_;
};

Generation::Generation(GenerationSpec spec, IoLoop& loop,
                       std::unique_ptr<GenerationObserver> observer)
    : spec_(std::move(spec)),
      loop_(loop),
      observer_(std::move(observer)),
      ledger_(std::make_unique<Ledger>()) {}

Generation::~Generation() = default;

std::optional<ApiError> Generation::start(GenerationSpec spec, Authenticator& authenticator,
                                          IoLoop& loop,
                                          std::unique_ptr<GenerationObserver> observer,
                                          std::shared_ptr<Generation>& out) {
  if (const Status valid = validate(spec.sampling, spec.model->vocab_size); !valid.ok()) {
    ApiError error = api_error(valid.error());
    error.param = error.message.substr(0, error.message.find_first_of(" :"));
    return error;
  }
  std::shared_ptr<Generation> generation(
      new Generation(std::move(spec), loop, std::move(observer)));
  const GenerationSpec& kept = generation->spec_;
  Demand demand{.prompt_tokens = 0,
                .max_tokens = kept.max_tokens,
                .context = kept.model->context,
                .sequences = static_cast<int64_t>(generation->num_choices())};
  for (const auto& prompt : kept.prompts) {
    demand.prompt_tokens += static_cast<int64_t>(prompt.size());
  }
  if (auto refusal = authenticator.admit(kept.principal, demand, generation->ledger_->admission)) {
    return refusal;
  }
  GenerationSpec& granted = generation->spec_;
  if (granted.max_tokens < 0) granted.max_tokens = generation->ledger_->admission->max_tokens();
  granted.priority = std::min(granted.priority, granted.principal.priority_max);
  out = generation;
  return generation->submit_some();
}

Request Generation::request_for(size_t choice) const {
  const auto per_prompt = static_cast<size_t>(spec_.choices);
  const Tokenizer& tokenizer = *spec_.model->tokenizer;
  Request request{.tenant = spec_.principal.tenant,
                  .cache_salt = spec_.cache_salt,
                  .cache_prompt = spec_.cache_prompt,
                  .prompt = spec_.prompts[choice / per_prompt],
                  .sampling = spec_.sampling,
                  .token_text = [&tokenizer](Token token) { return tokenizer.piece(token); },
                  .max_tokens = spec_.max_tokens,
                  .embed = spec_.embed,
                  .priority = spec_.priority,
                  .deadline = spec_.deadline};
  request.sampling.seed += choice % per_prompt;
  if (!spec_.ignore_end) {
    request.stop_tokens.assign(tokenizer.eog_tokens().begin(), tokenizer.eog_tokens().end());
  }
  return request;
}

// As many as may run at once; called again whenever one has ended.
std::optional<ApiError> Generation::submit_some() {
  const size_t count = num_choices();
  std::optional<ApiError> refusal;
  while (!silent_ && !refusal && choices_.size() < count) {
    if (spec_.embed && running_ >= kMaxEmbedding) return std::nullopt;
    auto pipeline = TextPipeline::create(*spec_.model->tokenizer, spec_.stop, spec_.include_stop);
    if (!pipeline.ok()) {
      refusal = api_error(pipeline.error());
      refusal->param = "stop";
      break;
    }
    auto choice = std::make_unique<Choice>(*this, choices_.size(), std::move(pipeline).value(),
                                           !spec_.stop.empty());
    {
      const std::lock_guard lock(ledger_->mutex);
      ++ledger_->open;
    }
    const auto id = spec_.model->scheduler->submit(request_for(choices_.size()), choice->handle());
    if (id.ok()) {
      choice->id = *id;
      choices_.push_back(std::move(choice));
      ++running_;
      continue;
    }
    {
      const std::lock_guard lock(ledger_->mutex);
      --ledger_->open;
    }
    // With some of its own in the queue, a list of texts waits for room.
    if (spec_.embed && running_ > 0 && id.error().code == ErrorCode::kExhausted) {
      return std::nullopt;
    }
    refusal = scheduler_error(*spec_.model, id.error());
    if (refusal->status == 429) {
      refusal->retry_after_s = static_cast<int>(spec_.model->scheduler->retry_after().count());
    }
  }
  if (refusal) cancel();
  submission_done();
  return refusal;
}

// No more will be submitted.
void Generation::submission_done() {
  if (!std::exchange(submitting_, false)) return;
  // The last one to end may have done so already.
  std::unique_lock lock(ledger_->mutex);
  if (--ledger_->open > 0) return;
  lock.unlock();
  if (!choices_.empty()) all_ended();
}

void Generation::cancel() {
  silent_ = true;
  for (const auto& choice : choices_) {
    if (!choice->ended) spec_.model->scheduler->cancel(*choice->id);
  }
  submission_done();
}

void Generation::set_paused(bool paused) {
  if (paused == paused_) return;
  paused_ = paused;
  for (const auto& choice : choices_) {
    if (!choice->ended) spec_.model->scheduler->pause(*choice->id, paused);
  }
}

void Generation::sequence_ended(size_t choice, const Outcome& outcome,
                                const TokenLatencies& latencies) {
  std::unique_lock lock(ledger_->mutex);
  Ledger& ledger = *ledger_;
  if (choice % static_cast<size_t>(spec_.choices) == 0) {
    ledger.usage.prompt_tokens += outcome.prompt_tokens;
    ledger.usage.cached_tokens += outcome.cached_tokens;
  }
  ledger.usage.generated_tokens += outcome.generated_tokens;
  ledger.latencies.add(latencies);
  Usage& usage = ledger.usage;
  usage.queue_seconds = std::max(usage.queue_seconds, outcome.queue_seconds);
  usage.prefill_seconds = std::max(usage.prefill_seconds, outcome.prefill_seconds);
  usage.decode_seconds = std::max(usage.decode_seconds, outcome.decode_seconds);
  if (severity(outcome.finish) > severity(ledger.worst)) ledger.worst = outcome.finish;
  ledger.run_seconds =
      std::max(ledger.run_seconds, outcome.prefill_seconds + outcome.decode_seconds);
  if (--ledger.open > 0) return;
  lock.unlock();
  all_ended();
}

void Generation::all_ended() {
  const Ledger& ledger = *ledger_;
  UsageRecord record{.principal = spec_.principal,
                     .request_id = spec_.request_id,
                     .model = spec_.model->id,
                     .prompt_tokens = ledger.usage.prompt_tokens,
                     .cached_tokens = ledger.usage.cached_tokens,
                     .generated_tokens = ledger.usage.generated_tokens,
                     .queue_seconds = ledger.usage.queue_seconds,
                     .run_seconds = ledger.run_seconds,
                     .prefill_seconds = ledger.usage.prefill_seconds,
                     .decode_seconds = ledger.usage.decode_seconds,
                     .latencies = ledger.latencies,
                     .finish = ledger.worst,
                     .arrived = ledger.arrived};
  ledger_->admission->record(std::move(record), [self = shared_from_this()] {
    self->loop_.queue([self] {
      self->ledger_->admission.reset();
      if (self->silent_) return;
      self->silent_ = true;
      self->observer_->on_done(self->ledger_->usage);
    });
    self->loop_.flush();
  });
}

void Generation::choice_ended(size_t choice, const Outcome& outcome) {
  --running_;
  if (silent_) return;
  switch (outcome.finish) {
    case FinishReason::kError:
      fail(outcome.error ? run_error(*spec_.model, *outcome.error)
                         : ApiError{.status = 500, .message = "the server failed to do this"});
      return;
    case FinishReason::kDeadline:
      fail({.status = 504, .message = "the request's time is up", .code = "timeout"});
      return;
    case FinishReason::kCancelled:
      // Not by this side, which would be silent.
      fail({.status = 503, .message = "the server is shutting down", .code = "unavailable"});
      return;
    case FinishReason::kStop:
    case FinishReason::kLength:
    case FinishReason::kContextFull:
      break;
  }
  observer_->on_choice_end({.choice = choice,
                            .reason = outcome.finish,
                            .stop_text = choices_[choice]->stop_text(),
                            .generated_tokens = outcome.generated_tokens,
                            .embedding = outcome.embedding});
  if (!submitting_) return;
  if (auto refusal = submit_some()) fail(std::move(*refusal));
}

void Generation::fail(ApiError error) {
  cancel();
  observer_->on_error(error);
}

}  // namespace realm::server
