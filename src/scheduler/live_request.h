// A request from submit to its end, as the planner sees it. Made by the client's thread in submit
// (its prompt goes through the sampler's history there), owned by the planner ever after.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/sequence.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/request.h"

namespace realm {

struct Tenant;

struct LiveRequest {
  // `request.prompt` becomes the first of `tokens`.
  LiveRequest(RequestId given_id, Request given_request, std::shared_ptr<Sink> given_sink,
              PagePool& pool)
      : id(given_id),
        request(std::move(given_request)),
        sink(std::move(given_sink)),
        sampler(request.sampling, request.token_text),
        sequence(pool),
        tokens(std::move(request.prompt)),
        prompt_tokens(static_cast<int64_t>(tokens.size())) {
    if (request.embed) {
      request.cache_prompt = false;
      pooler.emplace(*request.embed);
      return;
    }
    for (const Token token : tokens) sampler.accept_prompt(token);
  }

  enum class State { kWaiting, kRunning, kEnded };

  // Tokens that are not in the cache yet. One of them is what decoding runs each step.
  int64_t num_to_run() const { return static_cast<int64_t>(tokens.size()) - sequence.length(); }
  bool in_prefill() const { return num_to_run() > 1 || (generated == 0 && !awaits_token); }
  bool wants_token() const { return request.max_tokens != 0 && !pooler; }

  const RequestId id;
  Request request;
  std::shared_ptr<Sink> sink;
  Sampler sampler;
  Sequence sequence;
  std::vector<Token> tokens;  // prompt and generated; the cache holds a prefix of them
  bool awaits_token = false;  // the last of them is being made and not known yet
  const int64_t prompt_tokens;
  int64_t generated = 0;
  std::optional<Pooler> pooler = {};  // where an embedding is wanted

  Tenant* tenant = nullptr;
  State state = State::kWaiting;
  // Its piece in each of the planner's two plans; -1: none.
  std::array<int32_t, 2> pieces = {-1, -1};
  bool listed =
      false;  // among the planner's running ones, where it may stay until the plan is done
  bool paused = false;
  // Place among the tenant's waiting and running requests: submit time, earlier by the priority's
  // class, so that a lower class waits longer but never for ever.
  double order = 0;
  double deadline = 0;  // seconds on the planner's clock; 0: none
  // Another request is computing the first `pages` pages of this one's prompt, which it will share.
  struct Computing {
    RequestId by;
    int64_t pages;
  };
  std::optional<Computing> waits_for = {};
  int64_t pages_lacking = 0;    // at the last try to start
  int32_t times_displaced = 0;  // by tenants below their share
  PrefixCache::Path path = {};
  int64_t computed_pages = 0;   // of the path or beyond, full pages that were run
  int64_t published_pages = 0;  // of the prompt, may be shared by all tenants
  int64_t pages = 0;            // as counted in the tenant's
  int64_t prefilled = 0;        // tokens run in prefill, again and again where preempted
  int64_t high_water = 0;       // tokens run before a preemption; up to here is recomputing

  std::optional<FinishReason> ending = {};  // decided, to be concluded
  bool started = false;
  double submitted_at = 0, started_at = 0, first_token_at = 0;
  Outcome outcome = {};
};

}  // namespace realm
