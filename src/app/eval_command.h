// `realm eval`: asks a model the questions of a JSON-lines file, greedy, and counts the answers
// that contain what is expected. It is how a quantized or converted model is shown to still answer.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "app/model_loader.h"

namespace realm {

struct EvalQuestion {
  int line = 0;               // in the file, from 1
  std::string messages_json;  // the conversation, a JSON list
  std::string expect;
  std::string category;  // may be empty
};

// Each line of the file is an object with `messages` (a list of at least one object), `expect` (a
// string) and whatever else; empty lines are skipped. Errors: kNotFound, kIo; kInvalidArgument
// with file and line.
Result<std::vector<EvalQuestion>> read_questions(const std::string& path);

struct EvalOptions {
  ModelOptions model = {};
  std::string questions_path = {};
  int64_t max_tokens = 256;        // of an answer
  int64_t sequences = 16;          // answered at the same time; changes no answer
  std::string chat_template = {};  // as PromptTemplate::create; empty: the model's own
  std::function<void(int64_t done, int64_t total)> on_progress = {};
  const std::atomic<bool>* cancel = nullptr;
};

struct EvalAnswer {
  EvalQuestion question = {};
  std::string answer = {};
  std::string finish = {};  // finish_reason_name()
  int64_t prompt_tokens = 0, answer_tokens = 0;
  bool right = false;
};

struct EvalReport {
  std::string model;
  std::vector<EvalAnswer> answers;  // in the file's order
  double seconds = 0;

  int64_t num_right() const;
  double score() const;      // 0 to 1
  std::string text() const;  // what went wrong, and the score
  std::string json() const;  // one object: score, answers
};

// Errors: those of load_for_running, read_questions and PromptTemplate; kInvalidArgument for a
// conversation longer than the context; kBadModel where logits are not finite; kCancelled.
Result<EvalReport> evaluate(const EvalOptions& options);

}  // namespace realm
