// Makes one vector of the hidden states of a text's tokens, which come step by step.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "models/model.h"

namespace realm {

class Pooler {
 public:
  explicit Pooler(Pooling pooling) : pooling_(pooling) {}

  // Which rows of a run of tokens that begins at `position` it needs.
  WantLogits wants(int64_t position) const;
  // Those rows, of `rows` * `size` values. Position 0 begins anew: the text is being run again.
  void add(int64_t position, std::span<const float> values, int64_t size);
  std::vector<float> result() const;

 private:
  Pooling pooling_;
  std::vector<double> sum_;  // one order of summation, however the text was cut
  int64_t count_ = 0;
};

// The pooling that a model's vectors are made with: what its file says; where it says nothing the
// mean of an encoder's states and the last one of a decoder's. Error: kUnsupported for a re-ranker.
Result<Pooling> pooling_of(const ModelInfo& info);
// By its name, as --pooling has it: mean, cls, last. Error: kInvalidArgument.
Result<Pooling> parse_pooling(const std::string& name);

// To length 1; a vector of zeros stays.
void normalize(std::span<float> values);

}  // namespace realm
