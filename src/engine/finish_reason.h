// Why a generation ended: one list for the scheduler, the command line, the API and the ledger.
#pragma once

namespace realm {

enum class FinishReason {
  kStop,         // a stop token, or whoever reads the tokens saw a stop string
  kLength,       // max_tokens
  kContextFull,  // the context, or all the KV pages the tenant may have
  kCancelled,    // by the caller, a disconnect or shutdown
  kDeadline,     // the request's own deadline passed
  kError,        // the engine or the model failed; an Error says how
};
inline constexpr int kNumFinishReasons = 6;

// "stop", "length", "context_full", "cancelled", "deadline", "error".
const char* finish_reason_name(FinishReason reason);

}  // namespace realm
