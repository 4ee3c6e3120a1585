// Load for any server that speaks OpenAI's streamed chat API, and what its clients saw. A group is
// one kind of client: its keys, its prompts, and how it sends, as an open loop (requests start at
// the times of a Poisson process whatever the server does, so that one which falls behind is seen
// to) or as a closed one (so many at once, to find the most there is).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace realm::load {

struct Group {
  std::string name = "load";
  std::string model = {};
  std::vector<std::string> keys = {};  // by turns: of the connections, or of the requests
  double rate = 0;                     // requests a second, open loop; 0: closed loop
  int64_t connections = 1;             // requests at once, closed loop
  int64_t max_tokens = 64;
  int64_t prompt_words = 20;
  bool shared_prompt = false;  // every request has the same one
  // Fields of the request's body that say how tokens are chosen; none: temperature 0.
  std::map<std::string, double> sampling = {};
  double promise_ttft_ms = 1000, promise_itl_ms = 100;
};

struct Options {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  double warmup_s = 0;  // what happens before is not counted
  double seconds = 10;  // counted; afterwards no request starts
  double grace_s = 60;  // what runs then may end; the rest is cut off and counts as broken promises
  uint64_t seed = 1;    // of the times at which requests start
};

// Of the counted time. A token is a piece of text that came; the server's own count is of whole
// requests.
struct Totals {
  std::vector<double> ttft_ms, itl_ms, latency_ms;
  int64_t started = 0;                         // requests
  int64_t ended = 0;                           // of those, in good order
  int64_t failed = 0;                          // of those, refused or broken off by the server
  int64_t cut_off = 0;                         // of those, when the grace was over
  int64_t kept = 0;                            // of those, within both promises
  int64_t pieces = 0;                          // that came in the counted time, of whatever request
  int64_t usage_tokens = 0, usage_pieces = 0;  // of requests that ended: counted by either side
};

// One entry for each group. Error: kInvalidArgument for an address that is none.
Result<std::vector<Totals>> run(const Options& options, const std::vector<Group>& groups);

// "name=paced,rate=2,max-tokens=32,...": over `defaults`. Errors name the field.
Result<Group> parse_group(const std::string& text, Group defaults);

}  // namespace realm::load
