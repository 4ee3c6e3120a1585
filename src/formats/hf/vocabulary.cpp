#include "formats/hf/vocabulary.h"

#include "base/check.h"

namespace realm::hf {

void Vocabulary::set_token(int64_t id, std::string text, double score, int64_t type) {
  CHECK(id >= 0 && id < kMaxTokens);
  const size_t index = static_cast<size_t>(id);
  while (tokens.size() <= index) {
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    types.push_back(kUnusedToken);
    if (model != "gpt2") scores.push_back(-10000.0);
  }
  tokens[index] = std::move(text);
  types[index] = type;
  if (model != "gpt2") scores[index] = score;
}

}  // namespace realm::hf
