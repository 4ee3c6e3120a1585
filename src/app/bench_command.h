// `realm bench`: how fast a model runs here. Prefill, decode of one sequence at a depth, and
// batched decode, each several times after a warm-up; and how near they come to what the memory and
// the multipliers give, measured at the same time. No sampling, no tokenizing: the engine alone, on
// random token ids.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "app/bandwidth.h"
#include "app/model_loader.h"

namespace realm {

struct BenchOptions {
  ModelOptions model = {};
  int64_t n_prompt = 512;  // tokens of the prefill test; 0: no such test
  int64_t n_gen = 128;     // tokens of the decode tests; 0: none
  int64_t depth = 0;       // tokens that are in the cache before a test
  int64_t sequences = 1;   // above 1: also a decode test of so many sequences at once
  int64_t repeats = 5;
  int64_t step_tokens = 512;  // tokens a step of prefill
  std::function<void(const std::string& what)> on_progress = {};
  const std::atomic<bool>* cancel = nullptr;
};

struct BenchRow {
  std::string test;  // "prefill", "decode" or "batched decode"
  int64_t n_prompt = 0, n_gen = 0, depth = 0, sequences = 1;
  double tok_s = 0;  // median of the repeats; of all sequences together
  double tok_s_min = 0, tok_s_max = 0;
  double gb_s = 0;  // weights and cache read, at the median speed
  double gops = 0;  // operations of matrix products, two for each multiplication, likewise
};

struct BenchReport {
  std::string model, model_type, backend;
  int threads = 0;
  Bandwidth peak = {};
  double peak_gops = 0;  // of multiply-adds of the kind below; 0 where it is not known
  std::string peak_of = "integer";
  std::vector<BenchRow> rows = {};

  std::string text() const;  // a table
  std::string json() const;  // a list of objects
};

// Errors: those of load_for_running; kInvalidArgument for numbers out of range or more tokens than
// model.context where it is set; kExhausted; kCancelled.
Result<BenchReport> run_bench(const BenchOptions& options);

}  // namespace realm
