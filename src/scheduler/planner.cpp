#include "scheduler/planner.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "base/check.h"

namespace realm {
namespace {

// Over how long service is "of late".
constexpr double kRecentSeconds = 10;
constexpr double kRecencyMax = 1e100;
constexpr double kLightPart = 2;
// For so long from its start a light tenant's prompt goes before the streams of those served more:
// most prompts are done by then, and nobody's stream stands still for longer.
constexpr double kRushSeconds = 1;

// A prompt's first tokens, for which StepPace allows more; a longer prompt than the other gains
// little by them, and running streams would feel each of its beginnings.
constexpr int64_t kEagerTokens = 512;
constexpr int64_t kEagerPrompt = 1024;

Error too_long(const char* what, int64_t have, int64_t most, const char* unit) {
  return Error{ErrorCode::kInvalidArgument, std::string(what) + " has " + std::to_string(have) +
                                                " " + unit + ", and at most " +
                                                std::to_string(most) + " can be taken"};
}

}  // namespace

Planner::Planner(const RunnerLimits& limits, PagePool& pool, const PlannerOptions& options)
    : limits_(limits),
      pool_(pool),
      options_(options),
      max_running_(std::min({limits.max_sequences, limits.max_sampled, limits.max_step_tokens})),
      cache_(pool, limits.host_pages) {}

Planner::~Planner() {
  end_all(FinishReason::kCancelled, {});
}

Status Planner::check(const Request& request, const RunnerLimits& limits, int32_t num_pages,
                      const TenantPolicy& policy) {
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) return Error{ErrorCode::kInvalidArgument, "the prompt is empty"};
  if (length > limits.context) {
    return Error{ErrorCode::kInvalidArgument, "the prompt has " + std::to_string(length) +
                                                  " tokens and the context holds " +
                                                  std::to_string(limits.context)};
  }
  const int64_t pages = pages_for(length);
  if (pages > num_pages) return too_long("the prompt", pages, num_pages, "pages of KV cache");
  if (pages > policy.max_pages) {
    return too_long("the prompt", pages, policy.max_pages, "pages of KV cache of this tenant");
  }
  if (policy.max_running <= 0) {
    return Error{ErrorCode::kInvalidArgument, "this tenant may run no requests"};
  }
  if (request.embed && !limits.embeds) {
    return Error{ErrorCode::kUnsupported, "this model gives no embeddings"};
  }
  if (!request.embed && !limits.generates) {
    return Error{ErrorCode::kUnsupported, "this model makes embeddings and no text"};
  }
  for (const Token token : request.prompt) {
    if (token < 0 || token >= limits.vocab_size) {
      return Error{ErrorCode::kInvalidArgument, "token id " + std::to_string(token) +
                                                    " is not in 0.." +
                                                    std::to_string(limits.vocab_size - 1)};
    }
  }
  return validate(request.sampling, limits.vocab_size);
}

// --- Requests come and go ---

void Planner::advance(double now) {
  now_ = std::max(now_, now);
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    end(deadlines_.begin()->second, FinishReason::kDeadline);
  }
}

double Planner::next_deadline() const {
  return deadlines_.empty() ? std::numeric_limits<double>::infinity() : deadlines_.begin()->first;
}

Tenant& Planner::tenant(TenantId id) {
  std::unique_ptr<Tenant>& entry = tenants_[id];
  if (!entry) {
    entry = std::make_unique<Tenant>(Tenant{.id = id, .policy = options_.default_policy});
    entry->totals.tenant = id;
  }
  return *entry;
}

const Tenant* Planner::find_tenant(TenantId id) const {
  const auto found = tenants_.find(id);
  return found == tenants_.end() ? nullptr : found->second.get();
}

void Planner::set_policy(TenantId id, const TenantPolicy& policy) {
  CHECK(policy.weight > 0);
  tenant(id).policy = policy;
}

// A tenant without waiting requests is not in line; coming back, it stands with the last in line
// (or who was last in line) and not where its unused time would put it.
void Planner::lift(Tenant& comer) {
  double floor = std::numeric_limits<double>::infinity();
  for (const Tenant* other : active_) {
    if (!other->waiting.empty()) floor = std::min(floor, other->service);
  }
  if (floor == std::numeric_limits<double>::infinity()) {
    floor = last_waiting_ != nullptr ? last_waiting_->service : 0;
  }
  comer.service = std::max(comer.service, floor);
}

void Planner::add(std::unique_ptr<LiveRequest> request) {
  LiveRequest& live = *request;
  live.tenant = &tenant(live.request.tenant);
  now_ = std::max(now_, live.submitted_at);
  live.order =
      live.submitted_at - static_cast<double>(live.request.priority) * options_.aging_seconds;
  if (live.tenant->waiting.empty()) lift(*live.tenant);
  if (live.deadline > 0) deadlines_.emplace(live.deadline, live.id);
  requests_.emplace(live.id, std::move(request));
  enter_waiting(live);
}

void Planner::enter_waiting(LiveRequest& request) {
  Tenant& owner = *request.tenant;
  request.state = LiveRequest::State::kWaiting;
  request.waits_for.reset();
  owner.waiting.insert(&request);
  if (!owner.active) active_.push_back(&owner);
  owner.active = true;
}

void Planner::leave_waiting(LiveRequest& request) {
  Tenant& owner = *request.tenant;
  owner.waiting.erase(&request);
  if (owner.waiting.empty()) last_waiting_ = &owner;
  if (!request.started) left_queue_.push_back(owner.id);
}

// Its pages go back; what is computed of them may stay in the prefix cache.
void Planner::leave_running(LiveRequest& request, bool keep_computed) {
  cache_.release(request.path, request.id, keep_computed);
  request.high_water = std::max(request.high_water, request.sequence.length());
  request.sequence.truncate(0);
  request.computed_pages = 0;
  count_pages(request);
  --request.tenant->running;
  --num_running_;
}

void Planner::finish(LiveRequest& request, FinishReason reason, std::optional<Error> error) {
  if (request.state == LiveRequest::State::kWaiting) leave_waiting(request);
  // Keys and values that led to an error are not to be met again.
  if (request.state == LiveRequest::State::kRunning) {
    leave_running(request, reason != FinishReason::kError);
  }
  request.state = LiveRequest::State::kEnded;
  if (request.deadline > 0) deadlines_.erase({request.deadline, request.id});
  Tenant& owner = *request.tenant;
  ++owner.totals.finished[static_cast<size_t>(reason)];
  Outcome& outcome = request.outcome;
  outcome.finish = reason;
  outcome.error = std::move(error);
  outcome.prompt_tokens = request.prompt_tokens;
  outcome.generated_tokens = request.generated;
  const double started = request.started ? request.started_at : now_;
  const double first_token = request.generated > 0 ? request.first_token_at : now_;
  outcome.queue_seconds = started - request.submitted_at;
  outcome.prefill_seconds = first_token - started;
  outcome.decode_seconds = now_ - first_token;
  const auto entry = requests_.find(request.id);
  ended_.push_back(std::move(entry->second));
  requests_.erase(entry);
  if (owner.active && owner.waiting.empty() && owner.running == 0) {
    owner.active = false;
    std::erase(active_, &owner);
  }
}

void Planner::end(RequestId id, FinishReason reason) {
  const auto found = requests_.find(id);
  if (found != requests_.end()) finish(*found->second, reason);
}

void Planner::end_all(FinishReason reason, const std::optional<Error>& error) {
  std::vector<LiveRequest*> all;
  for (const auto& [id, request] : requests_) all.push_back(request.get());
  std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
  for (LiveRequest* request : all) finish(*request, reason, error);
}

void Planner::pause(RequestId id, bool paused) {
  const auto found = requests_.find(id);
  if (found != requests_.end()) found->second->paused = paused;
}

std::vector<std::unique_ptr<LiveRequest>> Planner::take_ended() {
  drop_ended_from_running();
  return std::exchange(ended_, {});
}

void Planner::drop_ended_from_running() {
  std::erase_if(running_, [](LiveRequest* request) {
    request->listed = request->state == LiveRequest::State::kRunning;
    return !request->listed;
  });
}

void Planner::count_pages(LiveRequest& request) {
  const auto pages = static_cast<int64_t>(request.sequence.pages().size());
  request.tenant->pages += pages - request.pages;
  request.pages = pages;
}

void Planner::preempt(LiveRequest& request) {
  leave_running(request, true);
  ++request.outcome.preemptions;
  ++request.tenant->totals.preemptions;
  enter_waiting(request);
}

// --- Prefixes for all tenants ---

void Planner::publish(std::vector<Token> prefix, AdapterId adapter) {
  published_.emplace_back(adapter, std::move(prefix));
}

void Planner::unpublish(std::span<const Token> prefix, AdapterId adapter) {
  std::erase_if(published_, [&](const auto& entry) {
    return entry.first == adapter &&
           std::equal(entry.second.begin(), entry.second.end(), prefix.begin(), prefix.end());
  });
  cache_.drop({.published = true, .adapter = adapter});
}

// Whole pages at the prompt's beginning that are published.
int64_t Planner::published_pages(const LiveRequest& request) const {
  int64_t most = 0;
  for (const auto& [adapter, prefix] : published_) {
    if (adapter != request.request.adapter) continue;
    const auto end = std::mismatch(prefix.begin(), prefix.end(), request.tokens.begin(),
                                   request.tokens.begin() + request.prompt_tokens);
    most = std::max(most, (end.first - prefix.begin()) / kPageTokens);
  }
  return most;
}

PrefixCache::Space Planner::space_of(const LiveRequest& request) const {
  return {.tenant = request.request.tenant,
          .adapter = request.request.adapter,
          .salt = request.request.cache_salt};
}

// --- The step ---

const StepPlan& Planner::plan(const StepPace& pace) {
  plan_.work.clear();
  plan_.requests.clear();
  plan_.started.clear();
  plan_.streams = plan_.prefill_tokens = 0;
  ++plan_number_;
  drop_ended_from_running();
  cache_.set_storing(2 * limits_.swap_page_seconds <= kPageTokens * pace.prompt_token_seconds());
  find_light_tenants();
  grow_streams();
  start_requests();
  drop_ended_from_running();
  fill_work(pace);
  // Those of plans without work are still to be done.
  for (const PageSwap& swap : cache_.take_swaps()) {
    plan_.swaps.push_back(swap);
    ++(swap.out ? pages_stored_ : pages_brought_back_);
  }
  return plan_;
}

void Planner::find_light_tenants() {
  recency_ = std::exp((now_ - recency_epoch_) / kRecentSeconds);
  if (recency_ > kRecencyMax) {
    for (const auto& [id, entry] : tenants_) entry->recent /= recency_;
    recency_ = 1;
    recency_epoch_ = now_;
  }
  double most = 0;
  for (const Tenant* entry : active_) most = std::max(most, entry->recent);
  for (Tenant* entry : active_) entry->is_light = kLightPart * entry->recent < most;
}

bool Planner::may_rush(const LiveRequest& request) const {
  return options_.burst > 0 && !limits_.whole_prompts && request.num_to_run() > 1 &&
         request.generated == 0 && now_ - request.started_at < kRushSeconds;
}

void Planner::fill_work(const StepPace& pace) {
  streams_.clear();
  prefills_.clear();
  const auto ready = [](const LiveRequest& request) {
    return request.request.constraint == nullptr || request.request.constraint->ready();
  };
  for (LiveRequest* request : running_) {
    if (request->paused) continue;
    if (request->in_prefill()) {
      prefills_.push_back(request);
    } else if (ready(*request)) {
      streams_.push_back(request);
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
  for (LiveRequest* request : streams_) {
    if (sits_out(*request)) continue;
    add_work(*request, 1);
    ++plan_.streams;
  }
  if (prefills_.empty()) return;
  const int64_t room = limits_.max_step_tokens - plan_.streams;
  int64_t left = pace.prefill_tokens(plan_.streams, room);
  int64_t left_eager = pace.eager_tokens(plan_.streams, room);
  for (LiveRequest* request : prefills_) {
    // A tenant with more in line gains nothing by longer steps, whose ends others would wait for.
    const bool is_eager = request->tenant->waiting.empty() &&
                          request->prefilled + request->num_to_run() <= kEagerPrompt;
    const int64_t eager = is_eager ? std::min(left_eager, kEagerTokens - request->prefilled) : 0;
    int64_t count = std::min(std::max(left, eager), request->num_to_run());
    if (count == request->num_to_run() && request->wants_token() && !ready(*request)) --count;
    if (count <= 0 || (limits_.whole_prompts && count < request->num_to_run())) continue;
    if (sits_out(*request)) continue;
    add_work(*request, count);
    request->prefilled += count;
    plan_.prefill_tokens += count;
    left -= count;
    left_eager -= count;
  }
}

void Planner::add_work(LiveRequest& request, int64_t count) {
  const auto begin = static_cast<size_t>(request.sequence.length());
  const bool sample = count == request.num_to_run() && request.wants_token();
  plan_.work.push_back(
      {.sequence = &request.sequence,
       .tokens = std::span(request.tokens).subspan(begin, static_cast<size_t>(count)),
       .adapter = request.request.adapter,
       .sampler = sample ? &request.sampler : nullptr,
       .constraint = sample ? request.request.constraint.get() : nullptr,
       .pooler = request.pooler ? &*request.pooler : nullptr});
  plan_.requests.push_back(&request);
}

void Planner::rewind() {
  for (size_t i = 0; i < plan_.work.size(); ++i) {
    const StepWork& work = plan_.work[i];
    const LiveRequest& request = *plan_.requests[i];
    const auto before = static_cast<int64_t>(work.tokens.data() - request.tokens.data());
    if (work.sequence->length() > before) work.sequence->rewind(before);
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

void Planner::commit(std::span<const StepOutput> out, double now) {
  now_ = std::max(now_, now);
  CHECK(out.size() == plan_.work.size());
  tokens_.clear();
  ++steps_;
  step_tokens_ += plan_.streams + plan_.prefill_tokens;
  for (size_t i = 0; i < out.size(); ++i) {
    LiveRequest& request = *plan_.requests[i];
    const StepWork& work = plan_.work[i];
    if (request.ending) continue;  // stopped while the step ran
    if (!out[i].status.ok()) {
      finish(request, FinishReason::kError, out[i].status.error());
      continue;
    }
    const int64_t before = request.sequence.length() - static_cast<int64_t>(work.tokens.size());
    recomputed_tokens_ += std::clamp<int64_t>(request.high_water - before, 0,
                                              static_cast<int64_t>(work.tokens.size()));
    keep_computed_pages(request);
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
  plan_.work.clear();
  plan_.swaps.clear();
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
  request.tokens.push_back(sampled.token);
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

void Planner::fill(SchedulerStats& stats) const {
  stats.running = num_running_;
  stats.waiting = num_requests() - num_running_;
  stats.pages_total = pool_.num_pages();
  stats.pages_cached = cache_.count_unshared_pages();
  stats.pages_used = stats.pages_total - pool_.pages_free() - stats.pages_cached;
  stats.steps = steps_;
  stats.step_tokens = step_tokens_;
  stats.step_sampled = step_sampled_;
  stats.recomputed_tokens = recomputed_tokens_;
  stats.prefix_queries = prefix_queries_;
  stats.prefix_hits = prefix_hits_;
  stats.pages_in_host_memory = cache_.num_stored();
  stats.pages_stored = pages_stored_;
  stats.pages_brought_back = pages_brought_back_;
  for (const auto& [id, entry] : tenants_) {
    TenantStats& row = stats.tenants.emplace_back(entry->totals);
    row.running = entry->running;
    row.waiting = static_cast<int64_t>(entry->waiting.size());
    row.pages = entry->pages;
    row.service = entry->service;
  }
  std::sort(stats.tenants.begin(), stats.tenants.end(),
            [](const TenantStats& a, const TenantStats& b) { return a.tenant < b.tenant; });
}

}  // namespace realm
