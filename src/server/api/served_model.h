// The models that the server has loaded, by the names that requests use. A request holds the model
// it runs on, so that one taken out of the set goes only when its last request has ended.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "scheduler/scheduler.h"
#include "text/prompt_template.h"
#include "text/tokenizer.h"

namespace realm::server {

// Made by whoever loads models (the serve command). Members go in the reverse of this order: the
// scheduler before what its engine runs on.
struct ServedModel {
  std::string id;                    // what requests call it
  std::vector<std::string> aliases;  // further names
  std::string path;                  // of its file; empty: the embedded one
  int64_t created_s = 0;             // when it was loaded, since 1970
  std::string architecture, description;
  std::string quantization;  // "Q8_0"
  int64_t num_parameters = 0;
  int64_t size_bytes = 0;
  int64_t context = 0;
  int64_t vocab_size = 0;
  bool generates = true;  // false: an encoder, which gives embeddings alone
  int64_t embedding_size = 0;
  std::optional<Pooling> pooling = {};       // none: it gives no embeddings
  std::function<std::string()> digest = {};  // SHA-256 of its file in hexadecimal, once known
  std::shared_ptr<const void> owner;         // the loaded file, weights and backend
  const Tokenizer* tokenizer = nullptr;
  std::optional<PromptTemplate> prompts;  // none: the model knows no conversations
  std::unique_ptr<Scheduler> scheduler;
};

class ModelSet {
 public:
  // kInvalidArgument where one of its names is taken.
  Status add(std::shared_ptr<ServedModel> model);
  // By id or alias; an empty name is the only model there is. Null where there is none.
  std::shared_ptr<ServedModel> find(const std::string& name) const;
  // In the order they were added.
  std::vector<std::shared_ptr<ServedModel>> all() const;
  // Takes it out: new requests do not find it any more. Null where there is none of that name.
  std::shared_ptr<ServedModel> remove(const std::string& name);

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<ServedModel>> models_;
};

}  // namespace realm::server
