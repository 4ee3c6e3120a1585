#include "app/activation_recorder.h"

#include <cmath>

namespace realm {

Result<TensorView> ActivationRecorder::import_weight(const TensorView& host) {
  const TensorView view = TRY(inner_->import_weight(host));
  imported_from_[view.data] = host.data;
  return view;
}

void ActivationRecorder::start(const TensorDirectory& file, const std::string& prefix) {
  std::map<const std::byte*, const TensorInfo*> by_address;
  for (const TensorInfo& tensor : file.tensors()) by_address[tensor.data.data()] = &tensor;
  for (const auto& [device, host] : imported_from_) {
    const auto found = by_address.find(host);
    if (found == by_address.end() || !found->second->name.starts_with(prefix)) continue;
    const auto columns = static_cast<size_t>(found->second->shape.back());
    sums_[device] = {.name = found->second->name, .squares = std::vector<double>(columns)};
  }
}

Status ActivationRecorder::record(const MatMul& op) {
  bool wanted = false;
  for (int p = 0; p < op.num_parts; ++p) wanted |= sums_.contains(op.parts[p].weight.data);
  const int64_t tokens = op.x.dim(0), columns = op.x.dim(1);
  if (!wanted || tokens == 0) return {};
  inputs_.resize(op.x.extent_bytes());
  TRY(inner_->download(inputs_, op.x.data));
  std::vector<double> squares(static_cast<size_t>(columns));
  for (int64_t t = 0; t < tokens; ++t) {
    const auto* row = reinterpret_cast<const float*>(inputs_.data() + t * op.x.stride[0]);
    for (int64_t c = 0; c < columns; ++c) {
      squares[static_cast<size_t>(c)] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    }
  }
  for (int p = 0; p < op.num_parts; ++p) {
    const auto found = sums_.find(op.parts[p].weight.data);
    if (found == sums_.end()) continue;
    Sums& sums = found->second;
    for (size_t c = 0; c < squares.size(); ++c) sums.squares[c] += squares[c];
    sums.count += tokens;
  }
  return {};
}

Status ActivationRecorder::run(std::span<const Op> ops) {
  // A product's inputs may be overwritten by the ops behind it, so they are read just before.
  size_t done = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    const auto* product = std::get_if<MatMul>(&ops[i]);
    if (product == nullptr || sums_.empty()) continue;
    TRY(inner_->run(ops.subspan(done, i - done)));
    done = i;
    TRY(record(*product));
  }
  return inner_->run(ops.subspan(done));
}

Result<std::map<std::string, ImportanceEntry, std::less<>>> ActivationRecorder::entries() const {
  std::map<std::string, ImportanceEntry, std::less<>> entries;
  for (const auto& [device, sums] : sums_) {
    if (sums.count == 0) continue;
    ImportanceEntry& entry = entries[sums.name];
    for (const double square : sums.squares) {
      const auto value = static_cast<float>(square);
      if (!std::isfinite(value)) {
        return Error{ErrorCode::kBadModel, "the inputs of tensor " + quoted_name(sums.name) +
                                               " are not finite: weights hold NaN or infinity, or "
                                               "overflow"};
      }
      entry.sums.push_back(value);
    }
    entry.counts = {static_cast<float>(sums.count)};
  }
  return entries;
}

}  // namespace realm
