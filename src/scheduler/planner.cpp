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
  refill_ = true;
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
  may_start_ = true;
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
  if (is_begun_) drop_piece(request, making_);
  may_start_ = true;
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
  if (found == requests_.end()) return;
  found->second->paused = paused;
  refill_ = true;
  if (paused && is_begun_) drop_piece(*found->second, making_);
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

// --- Who was served less ---

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
