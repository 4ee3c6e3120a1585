// The planner's allotting of slots and pages: who starts, who grows, and who has to give way.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "scheduler/planner.h"

namespace realm {
namespace {

// Waiting requests of one tenant that are looked at in one plan, beyond those that cannot start.
constexpr int kLookAhead = 64;
// How often one request may lose its place to tenants below their share. After that it stays, so
// that a stream of small requests cannot keep a large one recomputing for ever.
constexpr int32_t kMaxDisplaced = 3;
// Running requests soon need pages of their own; starting another into the last ones would only
// have it preempted. This part of the pool at most is kept for them.
constexpr int64_t kHeadroomPart = 16;
// A request that found no pages looks again once so many are there, and every few plans in case
// its prefix was computed by another meanwhile.
constexpr uint64_t kLookAgainPlans = 16;

}  // namespace

int64_t Planner::max_pages(const Tenant& tenant) const {
  return std::min<int64_t>(tenant.policy.max_pages, pool_.num_pages());
}

bool Planner::uses_cache(const LiveRequest& request) const {
  return options_.prefix_cache && request.request.cache_prompt;
}

// --- Streams that run ---

// A page for each stream whose last one is full. Where none is left someone gives way, and if that
// is the stream itself, it waits. The least-served tenant's earliest request is never chosen while
// another runs, so somebody always gets on.
void Planner::grow_streams() {
  std::vector<std::pair<PageId, PageId>> copies;
  num_paused_ = 0;
  for (LiveRequest* request : running_) {
    num_paused_ += request->paused ? 1 : 0;
    if (request->ending || ends_surely(*request)) continue;
    while (request->state == LiveRequest::State::kRunning && !request->paused &&
           static_cast<int64_t>(request->sequence.pages().size()) <
               pages_for(static_cast<int64_t>(request->tokens.size()))) {
      Tenant& owner = *request->tenant;
      const bool tenant_full = owner.pages >= owner.policy.max_pages;
      if (!tenant_full && cache_.make_room(1)) {
        CHECK(request->sequence.reserve(request->num_to_run(), copies).ok() && copies.empty());
        count_pages(*request);
      } else if (may_preempt()) {
        preempt(*page_victim(tenant_full ? &owner : nullptr));
      } else {
        return;
      }
    }
  }
}

// A paused one that runs; of this tenant, where one is given.
LiveRequest* Planner::paused_of(const Tenant* only) const {
  if (num_paused_ == 0) return nullptr;
  for (LiveRequest* request : running_) {
    if (!request->paused || request->state != LiveRequest::State::kRunning) continue;
    if (only == nullptr || request->tenant == only) return request;
  }
  return nullptr;
}

LiveRequest* Planner::page_victim(const Tenant* only) const {
  const auto gives_way_before = [this](const LiveRequest* a, const LiveRequest* b) {
    if (a->paused != b->paused) return a->paused;
    const double a_stands = standing(*a->tenant), b_stands = standing(*b->tenant);
    if (a_stands != b_stands) return a_stands > b_stands;
    return EarlierRequest()(b, a);
  };
  LiveRequest* victim = nullptr;
  for (LiveRequest* request : running_) {
    if (request->state != LiveRequest::State::kRunning) continue;
    if (only != nullptr && request->tenant != only) continue;
    if (victim == nullptr || gives_way_before(request, victim)) victim = request;
  }
  CHECK(victim != nullptr);
  return victim;
}

// --- Requests that start ---

void Planner::start_requests() {
  while (Tenant* tenant = next_tenant()) {
    LiveRequest* request = next_request(*tenant);
    const Start result = request == nullptr ? Start::kTenantFull : try_start(*request);
    if (result == Start::kTenantFull) tenant->passed_over_in = fill_number_;
    if (result == Start::kNoRoom) return;  // and nobody overtakes
  }
}

Tenant* Planner::next_tenant() const {
  Tenant* next = nullptr;
  for (Tenant* tenant : active_) {
    if (tenant->waiting.empty() || tenant->passed_over_in == fill_number_) continue;
    if (tenant->running >= tenant->policy.max_running && paused_of(tenant) == nullptr) continue;
    const auto key = [this](const Tenant* t) {
      return std::tuple(standing(*t), t->running, t->id);
    };
    if (next == nullptr || key(tenant) < key(next)) next = tenant;
  }
  return next;
}

LiveRequest* Planner::next_request(Tenant& tenant) {
  int looked_at = 0;
  for (auto it = tenant.waiting.begin(); it != tenant.waiting.end() && looked_at < kLookAhead;
       ++looked_at) {
    LiveRequest& request = **it++;
    if (request.ending) continue;  // its reader had enough while it waited
    const int64_t pages = pages_for(static_cast<int64_t>(request.tokens.size()));
    if (pages > max_pages(tenant)) {  // the tenant's policy became tighter
      if (request.generated > 0) {
        finish(request, FinishReason::kContextFull);
      } else {
        finish(
            request, FinishReason::kError,
            Error{ErrorCode::kExhausted, "the prompt needs " + std::to_string(pages) +
                                             " pages of KV cache, and this tenant may now have " +
                                             std::to_string(max_pages(tenant))});
      }
      continue;
    }
    if (request.paused) continue;
    if (request.waits_for && is_computing(*request.waits_for)) continue;
    return &request;
  }
  return nullptr;
}

// Whether it is worth waiting for: the other request runs and has not come so far yet.
bool Planner::is_computing(const LiveRequest::Computing& computing) const {
  const auto found = requests_.find(computing.by);
  if (found == requests_.end()) return false;
  const LiveRequest& other = *found->second;
  return other.state == LiveRequest::State::kRunning && !other.paused &&
         other.computed_pages < computing.pages;
}

Planner::Start Planner::try_start(LiveRequest& request) {
  Tenant& owner = *request.tenant;
  const auto length = static_cast<int64_t>(request.tokens.size());
  const int64_t needed = pages_for(length);
  while (owner.running >= owner.policy.max_running ||
         owner.pages + needed > owner.policy.max_pages) {
    LiveRequest* paused = paused_of(&owner);
    if (paused == nullptr) return Start::kTenantFull;
    if (!may_preempt()) return Start::kNoRoom;
    preempt(*paused);
  }
  const bool look_again = plan_number_ % kLookAgainPlans == 0;
  if (request.pages_lacking > 0 && !look_again && !has_room(request.pages_lacking) &&
      displaced_by(owner, &Tenant::pages, needed, pool_.num_pages()) == nullptr) {
    return Start::kNoRoom;
  }
  if (num_running_ >= max_running_ &&
      displaced_by(owner, &Tenant::running, 1, max_running_) == nullptr) {
    return Start::kNoRoom;  // the usual case under load: nothing else is looked at
  }
  PrefixCache::Match match = cached_prefix(request);
  if (match.computing) {
    request.waits_for = {*match.computing, match.pages_then};
    if (is_computing(*request.waits_for)) return Start::kLater;
    request.waits_for.reset();
  }
  if (num_running_ >= max_running_) {
    if (!make_slot(owner)) return Start::kNoRoom;
    match = cached_prefix(request);  // who gave way may have taken some of it along
  }
  hold_prefix(request, match);
  const auto cached = static_cast<int64_t>(match.pages.size());
  const int64_t missing = needed - cached;
  if (!make_pages(request, needed, missing)) {
    request.pages_lacking = missing;
    cache_.release(request.path, request.id);
    request.sequence.truncate(0);
    return Start::kNoRoom;
  }
  request.pages_lacking = 0;
  for (int64_t i = cached; i < cached + match.stored; ++i) {
    const auto index = static_cast<size_t>(i);
    cache_.bring_back(request.path, index, request.sequence.pages()[index]);
    request.sequence.append(std::span(request.tokens).subspan(index * kPageTokens, kPageTokens));
  }
  start(request, cached + match.stored);
  return Start::kDone;
}

// What is cached of the prompt; the last token runs in any case, for its logits.
PrefixCache::Match Planner::cached_prefix(const LiveRequest& request) const {
  if (!uses_cache(request)) return {};
  const int64_t most = (static_cast<int64_t>(request.tokens.size()) - 1) / kPageTokens;
  PrefixCache::Match match = cache_.find(space_of(request), request.tokens, most);
  const int64_t published = std::min(published_pages(request), most);
  if (published <= static_cast<int64_t>(match.pages.size())) return match;
  auto shared = cache_.find({.published = true, .adapter = request.request.adapter}, request.tokens,
                            published);
  shared.stored = 0;  // not this tenant's to bring back
  const auto found = static_cast<int64_t>(match.pages.size()) + match.stored;
  if (static_cast<int64_t>(shared.pages.size()) <= found) return match;
  shared.computing = match.computing;
  shared.pages_then = match.pages_then;
  return shared;
}

// From here on these pages stay, whatever is given up to make room for the others.
void Planner::hold_prefix(LiveRequest& request, const PrefixCache::Match& match) {
  const std::vector<PageId>& pages = match.pages;
  request.sequence.share(std::span(request.tokens).first(pages.size() * kPageTokens), pages);
  if (!uses_cache(request)) return;
  request.path = cache_.enter(space_of(request));
  for (size_t i = 0; i < pages.size(); ++i) {
    cache_.extend(request.path, std::span(request.tokens).subspan(i * kPageTokens, kPageTokens),
                  pages[i], true, request.id);
  }
  for (size_t i = pages.size(); i < pages.size() + static_cast<size_t>(match.stored); ++i) {
    cache_.hold_stored(request.path,
                       std::span(request.tokens).subspan(i * kPageTokens, kPageTokens));
  }
}

bool Planner::make_slot(Tenant& taker) {
  while (num_running_ >= max_running_) {
    LiveRequest* victim = displaced_by(taker, &Tenant::running, 1, max_running_);
    if (victim == nullptr || !may_preempt()) return false;
    displace(*victim);
  }
  return true;
}

bool Planner::make_pages(LiveRequest& request, int64_t needed, int64_t missing) {
  // has_room is an upper bound: a page that two spaces keep is not free when one gives it up.
  while (!has_room(missing) || !cache_.make_room(static_cast<int32_t>(missing))) {
    LiveRequest* victim = displaced_by(*request.tenant, &Tenant::pages, needed, pool_.num_pages());
    if (victim == nullptr || !may_preempt()) return false;
    displace(*victim);
  }
  std::vector<std::pair<PageId, PageId>> copies;
  CHECK(request.sequence.reserve(request.num_to_run(), copies).ok() && copies.empty());
  return true;
}

bool Planner::has_room(int64_t pages) const {
  const int64_t headroom = std::min<int64_t>(num_running_, pool_.num_pages() / kHeadroomPart);
  return pool_.pages_free() + cache_.num_unused() >= pages + headroom;
}

// Who gives up its place for `taker`: paused requests at once; otherwise, while the taker holds
// less than its share, the latest of the tenant furthest above its own, unless that tenant was
// served less. Afterwards neither could take it back, so places do not go back and forth.
LiveRequest* Planner::displaced_by(const Tenant& taker, int64_t Tenant::*resource, int64_t amount,
                                   int64_t total) const {
  if (LiveRequest* paused = paused_of(nullptr)) return paused;
  double weights = 0;
  for (const Tenant* other : active_) weights += other->policy.weight;
  const auto share_of = [&](const Tenant& tenant) {
    return std::max(1.0, static_cast<double>(total) * tenant.policy.weight / weights);
  };
  if (static_cast<double>(taker.*resource + amount) > share_of(taker)) return nullptr;
  const Tenant* most = nullptr;
  for (const Tenant* other : active_) {
    if (other == &taker || standing(*other) <= standing(taker)) continue;
    if (static_cast<double>(other->*resource) <= share_of(*other)) continue;
    const auto excess = [&](const Tenant* t) {
      return static_cast<double>(t->*resource) / t->policy.weight;
    };
    if (most == nullptr || excess(other) > excess(most)) most = other;
  }
  if (most == nullptr) return nullptr;
  LiveRequest* victim = nullptr;
  for (LiveRequest* request : running_) {
    if (request->tenant != most || request->state != LiveRequest::State::kRunning) continue;
    if (request->times_displaced >= kMaxDisplaced) continue;
    if (victim == nullptr || EarlierRequest()(victim, request)) victim = request;
  }
  return victim;
}

void Planner::displace(LiveRequest& request) {
  if (!request.paused) ++request.times_displaced;
  preempt(request);
}

void Planner::start(LiveRequest& request, int64_t shared_pages) {
  leave_waiting(request);
  Tenant& owner = *request.tenant;
  request.state = LiveRequest::State::kRunning;
  ++owner.running;
  ++num_running_;
  if (!request.listed) running_.push_back(&request);
  request.listed = true;
  ++num_started_;
  count_pages(request);
  request.computed_pages = shared_pages;
  request.published_pages = 0;
  if (request.path.root != nullptr) {
    for (size_t i = static_cast<size_t>(shared_pages); i < request.tokens.size() / kPageTokens;
         ++i) {
      cache_.extend(request.path, std::span(request.tokens).subspan(i * kPageTokens, kPageTokens),
                    request.sequence.pages()[i], false, request.id);
    }
    request.published_pages = published_pages(request);
  }
  if (request.started) return;
  request.started = true;
  request.started_at = now_;
  request.outcome.cached_tokens = shared_pages * kPageTokens;
  plans_[making_].started.push_back(&request);
  owner.totals.prompt_tokens += request.prompt_tokens;
  owner.totals.cached_tokens += request.outcome.cached_tokens;
  if (uses_cache(request)) {
    prefix_queries_ += request.prompt_tokens;
    prefix_hits_ += request.outcome.cached_tokens;
  }
  // At the start and not as they run: the next choice must know of it.
  charge(owner, options_.prompt_token_cost *
                    static_cast<double>(request.prompt_tokens - request.outcome.cached_tokens));
}

}  // namespace realm
