#include "engine/pooler.h"

#include <cmath>

#include "base/check.h"

namespace realm {

WantLogits Pooler::wants(int64_t position) const {
  switch (pooling_) {
    case Pooling::kMean:
      return WantLogits::kAll;
    case Pooling::kCls:
      return position == 0 ? WantLogits::kAll : WantLogits::kNone;
    default:
      return WantLogits::kLast;
  }
}

void Pooler::add(int64_t position, std::span<const float> values, int64_t size) {
  const auto width = static_cast<size_t>(size);
  CHECK(values.size() % width == 0);
  if (position == 0) {
    sum_.assign(width, 0);
    count_ = 0;
  }
  if (values.empty()) return;
  if (pooling_ != Pooling::kMean) {
    // The first token's, or the last so far.
    const auto row = values.first(width);
    sum_.assign(row.begin(), row.end());
    count_ = 1;
    return;
  }
  for (size_t begin = 0; begin < values.size(); begin += width) {
    for (size_t i = 0; i < width; ++i) sum_[i] += static_cast<double>(values[begin + i]);
    ++count_;
  }
}

std::vector<float> Pooler::result() const {
  CHECK(count_ > 0);
  std::vector<float> mean(sum_.size());
  for (size_t i = 0; i < mean.size(); ++i) {
    mean[i] = static_cast<float>(sum_[i] / static_cast<double>(count_));
  }
  return mean;
}

Result<Pooling> pooling_of(const ModelInfo& info) {
  const Pooling said = info.pooling.value_or(Pooling::kNone);
  if (said == Pooling::kRank) {
    return Error{ErrorCode::kUnsupported, "this model ranks texts and gives no embeddings"};
  }
  if (said != Pooling::kNone) return said;
  return info.is_encoder ? Pooling::kMean : Pooling::kLast;
}

Result<Pooling> parse_pooling(const std::string& name) {
  if (name == "mean") return Pooling::kMean;
  if (name == "cls") return Pooling::kCls;
  if (name == "last") return Pooling::kLast;
  return Error{ErrorCode::kInvalidArgument, "pooling '" + name + "' is not one of mean, cls, last"};
}

void normalize(std::span<float> values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  if (!(squares > 0)) return;
  const double factor = 1.0 / std::sqrt(squares);
  for (float& value : values) value = static_cast<float>(value * factor);
}

}  // namespace realm
