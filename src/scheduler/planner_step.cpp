// The planner's steps: what runs in one, and what it led to. The next one is planned while one
// runs, as if all of its requests went on with a token each that is not known yet; what came
// otherwise is put right when the step is to run, for as little as it changed.
#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "scheduler/planner.h"

namespace realm {
namespace {

// For so long from its start a light tenant's prompt goes before the streams of those served more:
// most prompts are done by then, and nobody's stream stands still for longer.
constexpr double kRushSeconds = 1;

// A prompt's first tokens, for which StepPace allows more; a longer prompt than the other gains
// little by them, and running streams would feel each of its beginnings.
constexpr int64_t kEagerTokens = 512;
constexpr int64_t kEagerPrompt = 1024;

// Stands for a token that is being made.
constexpr Token kUnknownToken = -1;

std::span<const Token> tokens_of(const LiveRequest& request, int64_t begin, int64_t count) {
  return std::span(request.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
}

bool is_ready(const LiveRequest& request) {
  return request.request.constraint == nullptr || request.request.constraint->ready();
}

}  // namespace

// --- Planning ---

void Planner::begin_plan() {
  making_ = turn_ ^ 1;
  StepPlan& plan = plans_[making_];
  plan.work.clear();
  plan.requests.clear();
  plan.begins.clear();
  plan.started.clear();
  plan.streams = plan.prefill_tokens = 0;
  ++plan_number_;
  is_begun_ = refill_ = true;
  has_gaps_ = false;
}

void Planner::plan_ahead(const StepPace& pace) {
  CHECK(!is_begun_);
  for (LiveRequest* request : plans_[turn_].requests) expect_token(*request);
  begin_plan();
  is_ahead_ = true;
  fill_plan(pace);
  is_ahead_ = false;
  refill_ = lacks_victim_ || leaves_out_;
  may_start_ = false;
}

// The step that runs makes a token of this request, as it seems.
void Planner::expect_token(LiveRequest& request) {
  const StepWork& work = plans_[turn_].work[static_cast<size_t>(request.pieces[turn_])];
  if (work.sampler == nullptr) return;
  request.tokens.push_back(kUnknownToken);
  request.awaits_token = true;
}

// Whether the token that is awaited is the request's last, whatever it is.
bool Planner::ends_surely(const LiveRequest& request) const {
  if (!request.awaits_token) return false;
  const int64_t most = request.request.max_tokens, length = request.sequence.length();
  return (most >= 0 && request.generated + 1 >= most) || length >= limits_.context ||
         pages_for(length + 1) > max_pages(*request.tenant);
}

const StepPlan& Planner::plan(const StepPace& pace) {
  if (!is_begun_) begin_plan();
  StepPlan& plan = plans_[making_];
  // Awaited when this was planned; only now it is known whether they may make the next.
  for (size_t i = 0; i < plan.requests.size(); ++i) {
    if (plan.requests[i] != nullptr && plan.work[i].constraint != nullptr &&
        !is_ready(*plan.requests[i])) {
      drop_piece(*plan.requests[i], making_);
    }
  }
  if (refill_ || (has_gaps_ && omits_)) {
    fill_plan(pace);
  } else if (may_start_ && num_running_ < num_requests()) {
    ++fill_number_;
    num_started_ = 0;
    find_light_tenants();
    start_requests();
    if (num_started_ > 0) fill_work(pace);
  }
  if (has_gaps_) close_gaps(plan);
  // Those of plans without work are still to be done.
  StepPlan& last = plans_[turn_];
  plan.swaps = std::exchange(last.swaps, {});
  for (const PageSwap& swap : cache_.take_swaps()) {
    plan.swaps.push_back(swap);
    ++(swap.out ? pages_stored_ : pages_brought_back_);
  }
  // What was started ahead begins only now.
  for (LiveRequest* request : plan.started) {
    if (request->state == LiveRequest::State::kRunning) request->started_at = now_;
  }
  turn_ = making_;
  is_begun_ = false;
  return plan;
}

void Planner::fill_plan(const StepPace& pace) {
  lacks_victim_ = leaves_out_ = omits_ = false;
  ++fill_number_;
  drop_ended_from_running();
  cache_.set_storing(2 * limits_.swap_page_seconds <= kPageTokens * pace.prompt_token_seconds());
  find_light_tenants();
  grow_streams();
  if (!lacks_victim_) start_requests();
  if (lacks_victim_) return;
  drop_ended_from_running();
  fill_work(pace);
}

bool Planner::may_rush(const LiveRequest& request) const {
  return options_.burst > 0 && !limits_.whole_prompts && request.num_to_run() > 1 &&
         request.generated == 0 && now_ - request.started_at < kRushSeconds;
}

// Whoever has a piece in the plan already keeps it.
void Planner::fill_work(const StepPace& pace) {
  StepPlan& plan = plans_[making_];
  streams_.clear();
  prefills_.clear();
  for (LiveRequest* request : running_) {
    if (request->state != LiveRequest::State::kRunning) continue;
    if (request->paused || request->ending || ends_surely(*request)) continue;
    if (request->num_to_run() == 0) continue;  // its last piece runs
    if (request->in_prefill()) {
      prefills_.push_back(request);
    } else if (request->awaits_token || is_ready(*request)) {
      streams_.push_back(request);
    } else {
      leaves_out_ = true;
    }
  }
  // In every other step a tenant's long prompts stand behind those that have just begun: short ones
  // do not wait for the end of a long one, and it still gets on.
  const bool long_last = plan_number_ % 2 == 0;
  const auto goes_before = [long_last](const LiveRequest* a, const LiveRequest* b) {
    if (a->tenant != b->tenant && a->tenant->recent != b->tenant->recent) {
      return a->tenant->recent < b->tenant->recent;
    }
    const bool a_long = a->prefilled >= kEagerTokens, b_long = b->prefilled >= kEagerTokens;
    if (long_last && a_long != b_long) return b_long;
    return EarlierRequest()(a, b);
  };
  std::sort(prefills_.begin(), prefills_.end(), goes_before);
  const Tenant* rushing =
      !prefills_.empty() && may_rush(*prefills_.front()) ? prefills_.front()->tenant : nullptr;
  const auto sits_out = [&](const LiveRequest& request) {
    return rushing != nullptr && kLightPart * rushing->recent < request.tenant->recent;
  };
  if (rushing != nullptr) {
    for (LiveRequest* request : running_) {
      if (request->pieces[making_] >= 0 && sits_out(*request)) drop_piece(*request, making_);
    }
  }
  for (LiveRequest* request : streams_) {
    if (request->pieces[making_] >= 0) continue;
    if (sits_out(*request) || plan.streams + plan.prefill_tokens >= limits_.max_step_tokens) {
      omits_ = true;
    } else {
      add_work(*request, 1, true);
    }
  }
  if (prefills_.empty()) return;
  const int64_t room = limits_.max_step_tokens - plan.streams;
  int64_t left = pace.prefill_tokens(plan.streams, room) - plan.prefill_tokens;
  int64_t left_eager = pace.eager_tokens(plan.streams, room) - plan.prefill_tokens;
  for (LiveRequest* request : prefills_) {
    if (request->pieces[making_] >= 0) continue;
    // A tenant with more in line gains nothing by longer steps, whose ends others would wait for.
    const bool is_eager = request->tenant->waiting.empty() &&
                          request->prefilled + request->num_to_run() <= kEagerPrompt;
    const int64_t eager = is_eager ? std::min(left_eager, kEagerTokens - request->prefilled) : 0;
    int64_t count = std::min(std::max(left, eager), request->num_to_run());
    if (count == request->num_to_run() && request->wants_token() && !is_ready(*request)) {
      leaves_out_ = true;
      --count;
    }
    omits_ |= count < request->num_to_run() || sits_out(*request);
    if (count <= 0 || (limits_.whole_prompts && count < request->num_to_run())) continue;
    if (sits_out(*request)) continue;
    add_work(*request, count, false);
    left -= count;
    left_eager -= count;
  }
}

void Planner::add_work(LiveRequest& request, int64_t count, bool is_stream) {
  StepPlan& plan = plans_[making_];
  const int64_t begin = request.sequence.length();
  const bool sample = count == request.num_to_run() && request.wants_token();
  request.pieces[making_] = static_cast<int32_t>(plan.work.size());
  plan.work.push_back({.sequence = &request.sequence,
                       .tokens = tokens_of(request, begin, count),
                       .adapter = request.request.adapter,
                       .sampler = sample ? &request.sampler : nullptr,
                       .constraint = sample ? request.request.constraint.get() : nullptr,
                       .pooler = request.pooler ? &*request.pooler : nullptr,
                       .is_stream = is_stream});
  plan.requests.push_back(&request);
  plan.begins.push_back(begin);
  if (is_stream) {
    ++plan.streams;
  } else {
    request.prefilled += count;
    plan.prefill_tokens += count;
  }
}

// The request's piece of a plan that is being made, if it has one, will not run.
void Planner::drop_piece(LiveRequest& request, size_t turn) {
  const int32_t index = std::exchange(request.pieces[turn], -1);
  if (index < 0) return;
  has_gaps_ = true;
  StepPlan& plan = plans_[turn];
  const StepWork& work = plan.work[static_cast<size_t>(index)];
  plan.requests[static_cast<size_t>(index)] = nullptr;
  if (work.is_stream) {
    --plan.streams;
  } else {
    const auto count = static_cast<int64_t>(work.tokens.size());
    request.prefilled -= count;
    plan.prefill_tokens -= count;
  }
}

void Planner::close_gaps(StepPlan& plan) {
  size_t kept = 0;
  for (size_t i = 0; i < plan.requests.size(); ++i) {
    LiveRequest* request = plan.requests[i];
    if (request == nullptr) continue;
    plan.work[kept] = plan.work[i];
    plan.begins[kept] = plan.begins[i];
    plan.requests[kept] = request;
    request->pieces[making_] = static_cast<int32_t>(kept++);
  }
  plan.work.resize(kept);
  plan.begins.resize(kept);
  plan.requests.resize(kept);
}

// --- Running ---

void Planner::rewind() {
  StepPlan& plan = plans_[turn_];
  for (size_t i = 0; i < plan.work.size(); ++i) {
    StepWork& work = plan.work[i];
    work.tokens = tokens_of(*plan.requests[i], plan.begins[i], std::ssize(work.tokens));
    if (work.sequence->length() > plan.begins[i]) work.sequence->rewind(plan.begins[i]);
  }
}

Status run_plan(StepRunner& runner, Planner& planner, const StepPlan& plan,
                std::vector<StepOutput>& out, const StepRunner::Meanwhile& meanwhile) {
  const std::span<const StepWork> work(plan.work);
  out.resize(work.size());
  if (!plan.swaps.empty()) {
    // Whoever's pages they were, nothing that is cached can be trusted now.
    const Status swapped = runner.swap(plan.swaps);
    if (!swapped.ok()) return Error{ErrorCode::kUnavailable, swapped.error().message};
  }
  Status status = runner.run(work, out, meanwhile);
  if (status.ok() || status.error().code == ErrorCode::kUnavailable) return status;
  if (work.size() == 1) {
    out[0].status = std::move(status);
    return {};
  }
  planner.rewind();
  for (size_t i = 0; i < work.size(); ++i) {
    Status alone = runner.run(work.subspan(i, 1), std::span(out).subspan(i, 1), {});
    if (alone.ok()) continue;
    if (alone.error().code == ErrorCode::kUnavailable) return alone;
    out[i].status = std::move(alone);
  }
  return {};
}

// --- What a step led to ---

void Planner::commit(std::span<const StepOutput> out, double now) {
  now_ = std::max(now_, now);
  StepPlan& plan = plans_[turn_];
  CHECK(out.size() == plan.work.size());
  tokens_.clear();
  ++steps_;
  step_tokens_ += plan.streams + plan.prefill_tokens;
  for (size_t i = 0; i < out.size(); ++i) {
    LiveRequest& request = *plan.requests[i];
    const StepWork& work = plan.work[i];
    request.pieces[turn_] = -1;
    if (request.ending) continue;  // stopped while the step ran
    if (!out[i].status.ok()) {
      finish(request, FinishReason::kError, out[i].status.error());
      continue;
    }
    const int64_t before = request.sequence.length() - static_cast<int64_t>(work.tokens.size());
    recomputed_tokens_ += std::clamp<int64_t>(request.high_water - before, 0,
                                              static_cast<int64_t>(work.tokens.size()));
    keep_computed_pages(request);
    if (!work.is_stream) may_start_ = true;  // who waits for these pages
    if (work.sampler != nullptr) {
      take_token(request, out[i].sampled);
    } else if (request.num_to_run() > 0) {
      continue;
    } else if (request.pooler) {
      request.outcome.embedding = request.pooler->result();
      finish(request, FinishReason::kStop);
    } else {
      finish(request, FinishReason::kLength);  // no tokens were asked for
    }
  }
  plan.work.clear();
  plan.requests.clear();
  plan.begins.clear();
  plan.swaps.clear();
}

void Planner::keep_computed_pages(LiveRequest& request) {
  const int64_t full = request.sequence.length() / kPageTokens;
  if (full == request.computed_pages) return;
  if (request.path.root != nullptr) {
    for (int64_t page = request.computed_pages; page < full; ++page) {
      const auto index = static_cast<size_t>(page);
      if (index < request.path.nodes.size()) {
        cache_.set_computed(request.path, index, request.id);
      } else {
        cache_.extend(request.path,
                      std::span(request.tokens).subspan(index * kPageTokens, kPageTokens),
                      request.sequence.pages()[index], true, request.id);
      }
    }
    if (request.published_pages > 0 && full >= request.published_pages) {
      PrefixCache::Path shared =
          cache_.enter({.published = true, .adapter = request.request.adapter});
      for (size_t i = 0; i < static_cast<size_t>(request.published_pages); ++i) {
        cache_.extend(shared, std::span(request.tokens).subspan(i * kPageTokens, kPageTokens),
                      request.sequence.pages()[i], true, request.id);
      }
      cache_.release(shared, request.id);
      request.published_pages = 0;
    }
  }
  request.computed_pages = full;
}

void Planner::take_token(LiveRequest& request, const Sampled& sampled) {
  if (request.generated == 0) request.first_token_at = now_;
  request.sampler.accept(sampled);
  if (std::exchange(request.awaits_token, false)) {
    request.tokens.back() = sampled.token;
  } else {
    request.tokens.push_back(sampled.token);
  }
  Tenant& owner = *request.tenant;
  charge(owner, options_.generated_token_cost);
  ++owner.totals.generated_tokens;
  ++step_sampled_;
  const int64_t index = request.generated++;
  const auto& stops = request.request.stop_tokens;
  if (std::find(stops.begin(), stops.end(), sampled.token) != stops.end()) {
    request.outcome.stop_token = sampled.token;
    finish(request, FinishReason::kStop);
    return;
  }
  tokens_.push_back({&request, &sampled, index});
  const int64_t length = request.sequence.length();
  if (TokenConstraint* constraint = request.request.constraint.get()) {
    const Status accepted = constraint->accept(sampled.token);
    if (!accepted.ok()) request.outcome.error = accepted.error();
    if (!accepted.ok() || constraint->complete()) {
      request.ending = accepted.ok() ? FinishReason::kStop : FinishReason::kError;
      return;
    }
  }
  if (request.request.max_tokens >= 0 && request.generated >= request.request.max_tokens) {
    request.ending = FinishReason::kLength;
  } else if (length >= limits_.context || pages_for(length + 1) > max_pages(owner)) {
    request.ending = FinishReason::kContextFull;
  }
}

std::vector<PlannedToken> Planner::take_tokens_of_streams() {
  const auto goes_on = [](const PlannedToken& token) { return !token.request->ending; };
  std::vector<PlannedToken> taken;
  std::copy_if(tokens_.begin(), tokens_.end(), std::back_inserter(taken), goes_on);
  std::erase_if(tokens_, goes_on);
  return taken;
}

void Planner::stop(LiveRequest& request) {
  if (request.state == LiveRequest::State::kEnded) return;
  request.ending = FinishReason::kStop;
  stopped_.push_back(&request);
}

void Planner::conclude() {
  for (LiveRequest* request : stopped_) {
    if (request->state != LiveRequest::State::kEnded) finish(*request, FinishReason::kStop);
  }
  stopped_.clear();
  for (const PlannedToken& token : tokens_) {
    LiveRequest& request = *token.request;
    if (token.stop && request.ending != FinishReason::kError) request.ending = FinishReason::kStop;
    if (request.ending) finish(request, *request.ending, request.outcome.error);
  }
  tokens_.clear();
}

}  // namespace realm
