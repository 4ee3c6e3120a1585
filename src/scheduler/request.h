// What a client hands to the scheduler and what it gets back: native types, no JSON, no text. The
// server makes a Request from an API call, the command line from its arguments; `n` choices are n
// requests with the same prompt, which share its pages through the prefix cache.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/tenant_id.h"
#include "base/token.h"
#include "engine/finish_reason.h"
#include "engine/pooler.h"
#include "engine/sampling/sampler.h"

namespace realm {

// Given by the scheduler; counts up, so it must not be shown to clients (ids are unguessable
// there).
enum class RequestId : uint64_t {};
// Of the adapters that the runner has loaded.
enum class AdapterId : uint32_t { kNone = 0 };

// Within one tenant; between tenants only their weights count.
enum class Priority : int8_t { kLow = -1, kNormal = 0, kHigh = 1 };

// Restricts the tokens a request may get (a grammar, a tenant program). The scheduler calls it for
// one token after another, never twice at once, but from different threads; it must not block.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // Whether `allowed` can answer now. While it cannot, the request sits out the steps and nobody
  // else waits; Scheduler::wake() makes the scheduler ask again.
  virtual bool ready() { return true; }
  // A bit per token of the vocabulary (Candidates::mask); empty: every token. Valid until accept().
  // An error ends this request alone.
  virtual Result<std::span<const uint32_t>> allowed() = 0;
  // The token that was chosen. An error ends this request alone.
  virtual Status accept(Token token) = 0;
  // Nothing may follow: the request ends with kStop after the token just accepted.
  virtual bool complete() const { return false; }
};

struct Request {
  TenantId tenant = {};
  AdapterId adapter = AdapterId::kNone;
  // Keeps the request's prefixes apart from those of other salts even within the tenant.
  std::string cache_salt = {};
  bool cache_prompt = true;  // false: neither reads nor leaves anything in the prefix cache

  std::vector<Token> prompt = {};
  SamplingParams sampling = {};
  TokenText token_text = {};            // for DRY's sequence breakers; outlives the request
  int64_t max_tokens = -1;              // -1: until a stop token or the context is full
  std::vector<Token> stop_tokens = {};  // empty: end-of-generation tokens are ordinary ones
  std::unique_ptr<TokenConstraint> constraint = nullptr;
  // Makes no tokens but the prompt's vector, Outcome::embedding. The prefix cache is left alone: it
  // keeps no hidden states.
  std::optional<Pooling> embed = {};

  Priority priority = Priority::kNormal;
  std::optional<std::chrono::steady_clock::time_point> deadline = {};
};

struct StartEvent {
  int64_t prompt_tokens;
  int64_t cached_tokens;  // of the prompt, found in the prefix cache
  double queue_seconds;
};

struct TokenEvent {
  const Sampled& sampled;  // token, and under params.logprobs its logprob and the best ones
  int64_t index;           // 0 is the first generated token
};

// How an accepted request ended and what it used; the ledger's row.
struct Outcome {
  FinishReason finish = FinishReason::kStop;
  std::optional<Error> error = {};       // where finish is kError
  std::optional<Token> stop_token = {};  // where one of Request::stop_tokens ended it
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;          // of the prompt, at the first start
  int64_t generated_tokens = 0;       // the stop token included
  std::vector<float> embedding = {};  // where Request::embed was set and finish is kStop
  int32_t preemptions = 0;
  double queue_seconds = 0;    // submit to first step
  double prefill_seconds = 0;  // first step to first token
  double decode_seconds = 0;   // first token to end
};

// Receives a request's events, in order, on the scheduler's thread: it must be quick and must not
// block (hand over to a queue), nor call Scheduler::drain or stop; submit, cancel and the like are
// fine. Never called from within submit().
class Sink {
 public:
  virtual ~Sink() = default;
  // Once, when the request first joins a step; not where it ends in the queue.
  virtual void on_start(const StartEvent&) {}
  // Each generated token but a stop token. False ends the request with kStop (a stop string was
  // met), so that not one token more is made.
  virtual bool on_token(const TokenEvent& event) = 0;
  // Exactly once for every accepted request, last.
  virtual void on_end(const Outcome& outcome) = 0;
};

}  // namespace realm
