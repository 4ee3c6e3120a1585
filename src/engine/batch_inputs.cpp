#include "engine/batch_inputs.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "engine/engine.h"

namespace realm {
namespace {

// What a number of tokens or sequences is padded to: up to an eighth more than it is, and never
// past what products take in one piece at no greater cost.
int64_t padded_count(int64_t count) {
  const int64_t step = count <= 8     ? 1
                       : count <= 32  ? 4
                       : count <= 128 ? 16
                       : count <= 512 ? 32
                                      : 128;
  return (count + step - 1) / step * step;
}
// Tokens that padding adds at most, all in one sequence.
constexpr int64_t kPaddingPages = (128 + kPageTokens - 1) / kPageTokens;

}  // namespace

int64_t rows_wanted(const StepItem& item) {
  return item.logits == WantLogits::kAll    ? static_cast<int64_t>(item.tokens.size())
         : item.logits == WantLogits::kLast ? 1
                                            : 0;
}

BatchInputs::BatchInputs(const ModelInfo& info, const EngineOptions& options, int32_t num_pages,
                         bool pads, int64_t page_bytes)
    : info_(info),
      options_(options),
      num_pages_(num_pages),
      pads_(pads),
      page_bytes_(page_bytes),
      max_pages_((options.context + kPageTokens - 1) / kPageTokens) {
  // The padding's sequence has a row of the table of pages, too.
  if (pads_) max_pages_ = std::max(max_pages_, kPaddingPages);
  layout_ = lay_out();
  staging_.resize(layout_.total);
}

int32_t BatchInputs::padding_pages() const {
  return pads_ ? static_cast<int32_t>(kPaddingPages) : 0;
}

int64_t BatchInputs::max_sequences() const {
  return options_.max_sequences + (pads_ ? 1 : 0);
}

int64_t BatchInputs::max_changes() const {
  return kChangesPerRow * options_.max_logit_rows + kChangesBesides;
}

BatchInputs::Layout BatchInputs::lay_out() const {
  size_t end = 0;
  const auto take = [&](int64_t count, size_t size) {
    const size_t begin = end;
    end += (static_cast<size_t>(count) * size + 63) / 64 * 64;
    return begin;
  };
  const int64_t tokens = options_.max_step_tokens, rows = options_.max_logit_rows;
  const int64_t reaching = info_.is_encoder ? tokens : 0;
  Layout layout{};
  layout.tokens = take(tokens, 4);
  layout.positions = take(tokens, 4);
  layout.slots = take(tokens, 8);
  layout.seq_start = take(max_sequences() + 1, 4);
  layout.logit_rows = take(tokens, 4);
  layout.draws = take(rows, sizeof(DeviceDraw));
  layout.seq_last = take(reaching, 4);
  layout.near_first = take(reaching, 4);
  layout.near_last = take(reaching, 4);
  layout.shared = take(max_sequences(), sizeof(PageGroup));
  layout.page_table = take(max_sequences() * max_pages_, 4);
  layout.settings = take(rows, sizeof(SampleRow));
  layout.changes = take(max_changes(), sizeof(LogitChange));
  layout.total = end;
  return layout;
}

Status BatchInputs::allocate(Backend& backend) {
  buffer_ = TRY(backend.allocate(layout_.total));
  return {};
}

StepInputs BatchInputs::views(const StepShape& shape) const {
  StepInputs inputs{
      .tokens = view(layout_.tokens, DType::kI32, {shape.tokens}),
      .positions = view(layout_.positions, DType::kI32, {shape.tokens}),
      .slots = view(layout_.slots, DType::kI64, {shape.tokens}),
      .seq_start = view(layout_.seq_start, DType::kI32, {shape.sequences + 1}),
      .page_table = view(layout_.page_table, DType::kI32, {shape.sequences, max_pages_}),
      .logit_rows = view(layout_.logit_rows, DType::kI32, {shape.rows}),
      .wants_hidden = shape.result == StepResult::kHidden,
      .context = options_.context,
  };
  if (shape.shares) inputs.shared = view(layout_.shared, DType::kI32, {shape.sequences, 3});
  if (info_.is_encoder) {
    inputs.seq_last = view(layout_.seq_last, DType::kI32, {shape.tokens});
    inputs.near_first = view(layout_.near_first, DType::kI32, {shape.tokens});
    inputs.near_last = view(layout_.near_last, DType::kI32, {shape.tokens});
  }
  return inputs;
}

TensorView BatchInputs::draws(int64_t rows) const {
  static_assert(sizeof(DeviceDraw) == 2 * sizeof(float));
  return view(layout_.draws, DType::kF32, {rows, 2});
}

TensorView BatchInputs::settings(int64_t rows) const {
  return view(layout_.settings, DType::kI32, {rows, SampleRow::kWords});
}

TensorView BatchInputs::changes() const {
  return view(layout_.changes, DType::kI32, {max_changes(), 2});
}

// A larger shape of the same kind: one token a sequence stays one token a sequence.
StepShape BatchInputs::padded(const StepShape& shape) const {
  if (!pads_) return shape;
  StepShape larger = shape;
  const bool decode = shape.tokens == shape.sequences;
  larger.tokens = std::min(padded_count(shape.tokens), options_.max_step_tokens);
  larger.sequences = decode ? std::min(larger.tokens, options_.max_sequences)
                            : std::min(padded_count(shape.sequences), options_.max_sequences);
  if (decode) larger.tokens = larger.sequences;
  if (!decode) {
    // Padding's tokens need a sequence; and what is not decoding must not look like it.
    if (larger.tokens > shape.tokens) {
      larger.sequences = std::max(larger.sequences, shape.sequences + 1);
    }
    larger.sequences = std::min(larger.sequences, larger.tokens - 1);
  }
  // More rows than sequences are those of a prompt, wanted once.
  if (shape.rows <= larger.sequences) {
    larger.rows = std::max(shape.rows, std::min(larger.sequences, options_.max_logit_rows));
  }
  return larger;
}

// Tokens of no sequence, at the end: in sequences of one token each where all are, else in one.
// Sequences without tokens follow.
void BatchInputs::fill_padding(const StepShape& shape, int64_t num_tokens, int64_t num_sequences) {
  const bool decode = shape.tokens == shape.sequences;
  for (int64_t s = num_sequences; s < shape.sequences; ++s) {
    at<int32_t>(layout_.seq_start)[s + 1] = static_cast<int32_t>(decode ? s + 1 : shape.tokens);
    at<PageGroup>(layout_.shared)[s] = {};
    int32_t* pages = at<int32_t>(layout_.page_table) + s * max_pages_;
    for (int64_t page = 0; page < kPaddingPages; ++page) {
      pages[page] = static_cast<int32_t>(num_pages_ + page);
    }
  }
  for (int64_t t = num_tokens; t < shape.tokens; ++t) {
    const int64_t position = decode ? 0 : (t - num_tokens) % options_.context;
    at<int32_t>(layout_.tokens)[t] = 0;
    at<int32_t>(layout_.positions)[t] = static_cast<int32_t>(position);
    at<int64_t>(layout_.slots)[t] = int64_t{num_pages_} * kPageTokens + position;
  }
}

// Whether sequences of the step share pages that the backend can read once for all of them; then
// shared_ says which.
bool BatchInputs::find_shared(std::span<const StepItem> items) {
  if (page_bytes_ == 0) return false;
  whole_pages_.clear();
  for (const StepItem& item : items) {
    if (item.tokens.size() > 1) return false;
    const auto count = static_cast<size_t>(item.sequence->length() / kPageTokens);
    whole_pages_.push_back(item.sequence->pages().first(count));
  }
  return shared_.find(whole_pages_, options_.shared_bytes_min / page_bytes_);
}

// What an encoder's tokens see.
void BatchInputs::fill_reach(std::span<const StepItem> items) {
  auto* seq_last = at<int32_t>(layout_.seq_last);
  auto* near_first = at<int32_t>(layout_.near_first);
  auto* near_last = at<int32_t>(layout_.near_last);
  const int64_t reach = info_.reach;
  for (const StepItem& item : items) {
    const int64_t last = static_cast<int64_t>(item.tokens.size()) - 1;
    for (int64_t own = 0; own <= last; ++own) {
      *seq_last++ = static_cast<int32_t>(last);
      *near_first++ = static_cast<int32_t>(std::max<int64_t>(own - reach, 0));
      *near_last++ = static_cast<int32_t>(std::min(own + reach, last));
    }
  }
}

StepShape BatchInputs::fill(std::span<const StepItem> items, StepResult result) {
  static_assert(sizeof(PageGroup) == 3 * sizeof(int32_t));  // a row of Attention::shared
  if (info_.is_encoder) fill_reach(items);
  auto* tokens = at<int32_t>(layout_.tokens);
  auto* positions = at<int32_t>(layout_.positions);
  auto* slots = at<int64_t>(layout_.slots);
  auto* seq_start = at<int32_t>(layout_.seq_start);
  auto* logit_rows = at<int32_t>(layout_.logit_rows);
  const bool shares = find_shared(items);
  first_tokens_.resize(items.size());
  int32_t num_tokens = 0, num_rows = 0;
  for (size_t s = 0; s < items.size(); ++s) {
    const size_t index = shares ? static_cast<size_t>(shared_.order()[s]) : s;
    const StepItem& item = items[index];
    const std::span<const PageId> pages = item.sequence->pages();
    const int64_t start = item.sequence->length();
    first_tokens_[index] = num_tokens;
    seq_start[s] = num_tokens;
    if (shares) at<PageGroup>(layout_.shared)[s] = shared_.groups()[s];
    std::copy(pages.begin(), pages.end(),
              at<int32_t>(layout_.page_table) + static_cast<int64_t>(s) * max_pages_);
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      const int64_t position = start + static_cast<int64_t>(i);
      tokens[num_tokens] = item.tokens[i];
      positions[num_tokens] = static_cast<int32_t>(position);
      slots[num_tokens] =
          int64_t{pages[static_cast<size_t>(position / kPageTokens)]} * kPageTokens +
          position % kPageTokens;
      ++num_tokens;
    }
  }
  for (size_t index = 0; index < items.size(); ++index) {
    const auto count = static_cast<int32_t>(items[index].tokens.size());
    const auto wanted = static_cast<int32_t>(rows_wanted(items[index]));
    for (int32_t i = count - wanted; i < count; ++i) {
      logit_rows[num_rows++] = first_tokens_[index] + i;
    }
  }
  const auto num_sequences = static_cast<int64_t>(items.size());
  seq_start[num_sequences] = num_tokens;
  // A step that wants no logits still computes one row: the program's shape stays simple and the
  // cost is that of one token.
  const StepShape shape = padded({.tokens = num_tokens,
                                  .sequences = num_sequences,
                                  .rows = std::max(num_rows, int32_t{1}),
                                  .result = result,
                                  .shares = shares});
  for (int64_t row = num_rows; row < shape.rows; ++row) logit_rows[row] = num_tokens - 1;
  if (result == StepResult::kSummaries || result == StepResult::kSampled) {
    std::fill_n(at<DeviceDraw>(layout_.draws), shape.rows, DeviceDraw{});
  }
  fill_padding(shape, num_tokens, num_sequences);
  return shape;
}

void BatchInputs::set_draws(std::span<const DeviceDraw> draws) {
  std::copy(draws.begin(), draws.end(), at<DeviceDraw>(layout_.draws));
}

void BatchInputs::set_chains(const StepShape& shape, const DeviceChains& chains) {
  CHECK(static_cast<int64_t>(chains.rows.size()) <= shape.rows);
  CHECK(static_cast<int64_t>(chains.changes.size()) <= max_changes());
  auto* settings = at<SampleRow>(layout_.settings);
  std::fill(std::copy(chains.rows.begin(), chains.rows.end(), settings), settings + shape.rows,
            SampleRow{});
  std::copy(chains.changes.begin(), chains.changes.end(), at<LogitChange>(layout_.changes));
  num_changes_ = chains.changes.size();
}

Status BatchInputs::upload(Backend& backend, const StepShape& shape) {
  const auto piece = [&](size_t begin, size_t end) {
    return backend.upload(buffer_.data.get() + begin,
                          std::span(staging_).subspan(begin, end - begin));
  };
  TRY(piece(
      0, layout_.page_table + static_cast<size_t>(shape.sequences * max_pages_) * sizeof(int32_t)));
  if (shape.result != StepResult::kSampled) return {};
  return piece(layout_.settings, layout_.changes + num_changes_ * sizeof(LogitChange));
}

}  // namespace realm
