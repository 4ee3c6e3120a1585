#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>

#include "base/check.h"
#include "formats/quant/quant_table.h"
#include "models/check_weights.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

// Programs kept for shapes met before; a server alternates among few.
constexpr size_t kMaxPrograms = 128;

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

// Where each input stands in the input buffer, for the largest step. The table of pages comes last:
// only its rows in use are uploaded.
struct InputLayout {
  size_t tokens, positions, slots, seq_start, logit_rows, draws, seq_last, near_first, near_last,
      shared, page_table, total;

  InputLayout(const EngineOptions& o, int64_t max_sequences, int64_t max_pages, bool is_encoder) {
    size_t at = 0;
    const auto take = [&](int64_t count, size_t size) {
      const size_t begin = at;
      at += (static_cast<size_t>(count) * size + 63) / 64 * 64;
      return begin;
    };
    tokens = take(o.max_step_tokens, 4);
    positions = take(o.max_step_tokens, 4);
    slots = take(o.max_step_tokens, 8);
    seq_start = take(max_sequences + 1, 4);
    logit_rows = take(o.max_step_tokens, 4);
    draws = take(2 * o.max_logit_rows, 4);
    seq_last = take(is_encoder ? o.max_step_tokens : 0, 4);
    near_first = take(is_encoder ? o.max_step_tokens : 0, 4);
    near_last = take(is_encoder ? o.max_step_tokens : 0, 4);
    shared = take(3 * max_sequences, 4);
    page_table = take(max_sequences * max_pages, 4);
    total = at;
  }
};

namespace {

Status check_range(const char* name, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return {};
  return Error{ErrorCode::kInvalidArgument, std::string(name) + ": " + std::to_string(value) +
                                                " is not in " + std::to_string(min) + ".." +
                                                std::to_string(max)};
}

// Whether no value is NaN or infinite; two at a time, for this runs over every step's logits.
bool all_finite(std::span<const float> values) {
  constexpr uint64_t kExponents = 0x7f8000007f800000u, kCarry = 0x0080000000800000u;
  uint64_t carried = 0;
  size_t i = 0;
  for (; i + 2 <= values.size(); i += 2) {
    uint64_t two;
    std::memcpy(&two, values.data() + i, 8);
    carried |= (two & kExponents) + kCarry;  // an exponent of all ones carries into the sign bit
  }
  bool finite = (carried & 0x8000000080000000u) == 0;
  if (i < values.size()) finite = finite && std::isfinite(values[i]);
  return finite;
}

}  // namespace

struct Engine::Inputs {
  int32_t *tokens, *positions;
  int64_t* slots;
  int32_t *seq_start, *logit_rows;
  float* draws;
  PageGroup* shared;
  int32_t* page_table;

  Inputs(std::byte* base, const InputLayout& layout)
      : tokens(reinterpret_cast<int32_t*>(base + layout.tokens)),
        positions(reinterpret_cast<int32_t*>(base + layout.positions)),
        slots(reinterpret_cast<int64_t*>(base + layout.slots)),
        seq_start(reinterpret_cast<int32_t*>(base + layout.seq_start)),
        logit_rows(reinterpret_cast<int32_t*>(base + layout.logit_rows)),
        draws(reinterpret_cast<float*>(base + layout.draws)),
        shared(reinterpret_cast<PageGroup*>(base + layout.shared)),
        page_table(reinterpret_cast<int32_t*>(base + layout.page_table)) {
    static_assert(sizeof(PageGroup) == 3 * sizeof(int32_t));  // a row of Attention::shared
  }
};

InputLayout Engine::input_layout() const {
  return InputLayout(options_, max_sequence_rows(), max_pages_, model_->info().is_encoder);
}

RowSummary StepSummaries::row(int64_t i) const {
  const auto at = static_cast<size_t>(i), k = static_cast<size_t>(best);
  return {.logits = logits.subspan(at * k, k),
          .tokens = tokens.subspan(at * (k + 1) + 1, k),
          .vocab = static_cast<size_t>(vocab),
          .sum = sums[2 * at],
          .drawn = tokens[at * (k + 1)],
          .drawn_logit = sums[2 * at + 1]};
}

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model, Backend& backend,
                                               const EngineOptions& options) {
  EngineOptions o = options;
  const ModelInfo& info = model->info();
  if (info.is_encoder && !o.embeddings) {
    return Error{ErrorCode::kUnsupported,
                 "'" + info.architecture +
                     "' is an encoder: it makes no text but embeddings (realm embed, "
                     "/v1/embeddings)"};
  }
  TRY(check_range("context", o.context, 1, int64_t{1} << 24));
  if (info.position_limit > 0) {
    TRY(check_range("context", o.context, 1, info.position_limit));
  }
  if (o.cache_tokens == 0) o.cache_tokens = o.context;
  TRY(check_range("cache tokens", o.cache_tokens, 1, int64_t{1} << 28));
  TRY(check_range("pages in the host's memory", o.host_pages, 0, 1 << 24));
  TRY(check_range("tokens a step", o.max_step_tokens, 1, 65536));
  TRY(check_range("sequences a step", o.max_sequences, 1, 4096));
  if (info.is_encoder && o.max_step_tokens < o.context) {
    o.max_step_tokens = o.context;
    TRY(check_range("the context of an encoder", o.context, 1, 65536));
  }
  o.max_logit_rows = std::min(o.max_logit_rows, o.max_step_tokens);
  TRY(check_range("logit rows a step", o.max_logit_rows, 1, 65536));
  o.max_sequences = std::min(o.max_sequences, o.max_step_tokens);
  if (find_kv_type(o.kv_type) == nullptr) {
    return Error{ErrorCode::kInvalidArgument, "the KV cache can be one of " + kv_type_names()};
  }
  const int64_t num_pages = (o.cache_tokens + kPageTokens - 1) / kPageTokens;
  std::unique_ptr<Engine> engine(
      new Engine(std::move(model), backend, o, static_cast<int32_t>(num_pages)));
  TRY(engine->allocate(static_cast<int32_t>(num_pages)));
  if (backend.grows_when_run()) TRY(engine->rehearse());
  if (o.host_pages > 0) TRY(engine->take_host_pages());
  return engine;
}

Engine::Engine(std::shared_ptr<const Model> model, Backend& backend, const EngineOptions& options,
               int32_t num_pages)
    : model_(std::move(model)),
      backend_(backend),
      options_(options),
      max_pages_((options.context + kPageTokens - 1) / kPageTokens),
      pads_(!backend.is_host() && !model_->info().is_encoder),
      pool_(num_pages) {
  // The padding's sequence has a row of the table of pages, too.
  if (pads_) max_pages_ = std::max(max_pages_, kPaddingPages);
}

Status Engine::allocate(int32_t num_pages) {
  if (pads_) num_pages += static_cast<int32_t>(kPaddingPages);
  const BlockFormat& format = *find_block_format(options_.kv_type);
  for (const KvLayerShape& shape : model_->info().kv_layers) {
    const auto index = static_cast<int64_t>(cache_.size());
    KvLayer layer;
    for (auto [view, dim] : {std::pair{&layer.k, shape.k_dim}, std::pair{&layer.v, shape.v_dim}}) {
      if (dim % format.block_elements != 0) {
        return Error{
            ErrorCode::kInvalidArgument,
            std::string("a ") + format.name + " KV cache needs head sizes that are multiples of " +
                std::to_string(format.block_elements) + "; this model has " + std::to_string(dim)};
      }
      if (view == &layer.v && shape.values_in_keys) {
        layer.v = layer.k;
        layer.v.shape[3] = dim;
        continue;
      }
      const int64_t dims[] = {num_pages, shape.num_heads, kPageTokens, dim};
      *view = make_view(nullptr, options_.kv_type, dims, 4);
      const auto allocated = backend_.allocate_cache(view->extent_bytes(), index);
      if (!allocated.ok() && allocated.error().code == ErrorCode::kExhausted) {
        return allocated.error().at("a KV cache of " + std::to_string(options_.cache_tokens) +
                                    " tokens does not fit");
      }
      const Buffer buffer = TRY(allocated);
      view->data = buffer.data.get();
      cache_bytes_ += buffer.size_bytes;
      cache_buffers_.push_back(buffer);
    }
    cache_.push_back(layer);
  }
  const InputLayout layout = input_layout();
  inputs_ = TRY(backend_.allocate(layout.total));
  staging_.resize(layout.total);
  // Dry runs size the scratch: the most tokens with the most logits is the largest step.
  size_t scratch_bytes = 0;
  if (!model_->info().is_encoder) {
    const StepProgram largest = TRY(build({options_.max_step_tokens, max_sequence_rows(),
                                           options_.max_logit_rows, Output::kSummaries, false}));
    scratch_bytes = largest.program.scratch_bytes;
    // Where rows stay on the device, one at a time is fetched as a rule.
    const int64_t rows_wanted = pads_ ? 1 : options_.max_logit_rows;
    logits_.resize(static_cast<size_t>(rows_wanted * model_->info().vocab_size));
  }
  if (options_.embeddings) {
    const StepProgram largest = TRY(build({options_.max_step_tokens, max_sequence_rows(),
                                           options_.max_step_tokens, Output::kHidden, false}));
    scratch_bytes = std::max(scratch_bytes, largest.program.scratch_bytes);
  }
  scratch_ = TRY(backend_.allocate(scratch_bytes));
  return {};
}

// The largest prompt step and the largest decode step, once: whatever the backend takes as it runs
// is had now or refused now.
Status Engine::rehearse() {
  const std::vector<Token> zeros(static_cast<size_t>(options_.max_step_tokens), 0);
  for (const bool is_decode : {false, true}) {
    std::vector<Sequence> sequences;
    std::vector<int64_t> counts;
    std::vector<std::pair<PageId, PageId>> copies;
    int64_t tokens_left = options_.max_step_tokens;
    while (tokens_left > 0 && pool_.pages_free() > 0 &&
           static_cast<int64_t>(sequences.size()) < options_.max_sequences) {
      const int64_t room = std::min(options_.context, int64_t{pool_.pages_free()} * kPageTokens);
      counts.push_back(is_decode ? 1 : std::min(tokens_left, room));
      sequences.emplace_back(pool_);
      TRY(sequences.back().reserve(counts.back(), copies));
      tokens_left -= counts.back();
    }
    std::vector<StepItem> items;
    std::vector<DeviceDraw> draws;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const bool wanted = static_cast<int64_t>(draws.size()) < options_.max_logit_rows;
      if (wanted) draws.emplace_back();
      items.push_back({.sequence = &sequences[i],
                       .tokens = std::span(zeros).first(static_cast<size_t>(counts[i])),
                       .logits = wanted ? WantLogits::kLast : WantLogits::kNone});
    }
    Status done;
    if (!model_->info().is_encoder) {
      if (const auto step = step_summaries(items, draws); !step.ok()) done = step.error();
    } else if (!is_decode) {
      if (const auto step = step_hidden(items); !step.ok()) done = step.error();
    }
    // What the numbers are is of no interest.
    if (!done.ok() && done.error().code != ErrorCode::kBadModel) {
      return done.error().at("a trial run of the largest step");
    }
  }
  return {};
}

StepInputs Engine::input_views(const Shape& shape) const {
  const auto [tokens, sequences, rows, output, shares] = shape;
  const InputLayout layout = input_layout();
  std::byte* base = inputs_.data.get();
  StepInputs inputs{
      .tokens = make_view(base + layout.tokens, DType::kI32, {tokens}),
      .positions = make_view(base + layout.positions, DType::kI32, {tokens}),
      .slots = make_view(base + layout.slots, DType::kI64, {tokens}),
      .seq_start = make_view(base + layout.seq_start, DType::kI32, {sequences + 1}),
      .page_table = make_view(base + layout.page_table, DType::kI32, {sequences, max_pages_}),
      .logit_rows = make_view(base + layout.logit_rows, DType::kI32, {rows}),
      .wants_hidden = output == Output::kHidden,
      .context = options_.context,
  };
  if (shares) inputs.shared = make_view(base + layout.shared, DType::kI32, {sequences, 3});
  if (model_->info().is_encoder) {
    inputs.seq_last = make_view(base + layout.seq_last, DType::kI32, {tokens});
    inputs.near_first = make_view(base + layout.near_first, DType::kI32, {tokens});
    inputs.near_last = make_view(base + layout.near_last, DType::kI32, {tokens});
  }
  return inputs;
}

int64_t Engine::num_best() const {
  return std::min(TopCandidates::kMost, model_->info().vocab_size);
}

Result<Engine::StepProgram> Engine::build(const Shape& shape) const {
  ProgramBuilder builder;
  const TensorView logits = model_->forward(builder, input_views(shape), cache_);
  const int64_t rows = std::get<2>(shape);
  if (std::get<3>(shape) == Output::kTokens) {
    builder.add(ArgMax{.x = logits, .out = builder.scratch({rows}, DType::kI32)});
  } else if (std::get<3>(shape) == Output::kSummaries) {
    // One piece of memory, so that they come to the host at once.
    const int64_t k = num_best();
    const TensorView all = builder.scratch({rows * (2 * k + 3)});
    std::byte* draws = inputs_.data.get() + input_layout().draws;
    builder.add(TopCandidates{
        .x = logits,
        .draws = make_view(draws, DType::kF32, {rows, 2}),
        .values = make_view(all.data, DType::kF32, {rows, k}),
        .tokens = make_view(all.data + 4 * rows * k, DType::kI32, {rows, 1 + k}),
        .sums = make_view(all.data + 4 * rows * (2 * k + 1), DType::kF32, {rows, 2})});
  } else if (std::get<3>(shape) == Output::kHidden) {
    CHECK(logits.dim(1) == model_->info().hidden_size);
  }
  StepProgram step;
  step.program = TRY(builder.finish());
  return step;
}

Result<const Engine::StepProgram*> Engine::program_for(const Shape& shape) {
  ++num_runs_;
  if (auto found = programs_.find(shape); found != programs_.end()) {
    found->second.last_use = num_runs_;
    return &found->second;
  }
  StepProgram step = TRY(build(shape));
  CHECK(step.program.scratch_bytes <= scratch_.size_bytes);
  ProgramBuilder::place(step.program, scratch_.data.get());
  if (const auto* top = std::get_if<TopCandidates>(&step.program.ops.back())) {
    step.output = top->values;
    step.logits = top->x;
  } else {
    // The output is that of the last op.
    for_each_tensor(step.program.ops.back(), [&](TensorView& view, bool written) {
      if (written) step.output = view;
    });
  }
  step.prepared = TRY(backend_.prepare(step.program.ops));
  step.last_use = num_runs_;
  if (programs_.size() >= kMaxPrograms) {
    programs_.erase(std::min_element(
        programs_.begin(), programs_.end(),
        [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; }));
  }
  return &programs_.emplace(shape, std::move(step)).first->second;
}

Status Engine::check(std::span<const StepItem> items, Output output) const {
  int64_t tokens = 0, rows = 0;
  for (const StepItem& item : items) {
    const int64_t count = static_cast<int64_t>(item.tokens.size());
    tokens += count;
    rows += item.logits == WantLogits::kAll ? count : item.logits == WantLogits::kLast ? 1 : 0;
    CHECK(count > 0);
    CHECK(!model_->info().is_encoder || item.sequence->length() == 0);
    CHECK(item.sequence->length() + count <= options_.context);
    CHECK(item.sequence->length() + count <=
          static_cast<int64_t>(item.sequence->pages().size()) * kPageTokens);
    for (Token token : item.tokens) {
      if (token < 0 || token >= model_->info().vocab_size) {
        return Error{ErrorCode::kInvalidArgument,
                     "token id " + std::to_string(token) + " is not in 0.." +
                         std::to_string(model_->info().vocab_size - 1)};
      }
    }
  }
  CHECK(!items.empty() && static_cast<int64_t>(items.size()) <= options_.max_sequences);
  CHECK(tokens <= options_.max_step_tokens);
  CHECK(output == Output::kHidden ? options_.embeddings : rows <= options_.max_logit_rows);
  return {};
}

// What an encoder's tokens see.
void Engine::write_reach(std::span<const StepItem> items) {
  const InputLayout layout = input_layout();
  auto* seq_last = reinterpret_cast<int32_t*>(staging_.data() + layout.seq_last);
  auto* near_first = reinterpret_cast<int32_t*>(staging_.data() + layout.near_first);
  auto* near_last = reinterpret_cast<int32_t*>(staging_.data() + layout.near_last);
  const int64_t reach = model_->info().reach;
  for (const StepItem& item : items) {
    const int64_t last = static_cast<int64_t>(item.tokens.size()) - 1;
    for (int64_t own = 0; own <= last; ++own) {
      *seq_last++ = static_cast<int32_t>(last);
      *near_first++ = static_cast<int32_t>(std::max<int64_t>(own - reach, 0));
      *near_last++ = static_cast<int32_t>(std::min(own + reach, last));
    }
  }
}

// A larger shape of the same kind: one token a sequence stays one token a sequence.
Engine::Shape Engine::padded(const Shape& shape) const {
  auto [tokens, sequences, rows, output, shares] = shape;
  if (!pads_) return shape;
  const bool decode = tokens == sequences;
  tokens = std::min(padded_count(tokens), options_.max_step_tokens);
  sequences = decode ? std::min(tokens, options_.max_sequences)
                     : std::min(padded_count(sequences), options_.max_sequences);
  if (decode) tokens = sequences;
  if (!decode) {
    // Padding's tokens need a sequence; and what is not decoding must not look like it.
    if (tokens > std::get<0>(shape)) sequences = std::max(sequences, std::get<1>(shape) + 1);
    sequences = std::min(sequences, tokens - 1);
  }
  // More rows than sequences are those of a prompt, wanted once.
  if (rows <= sequences) rows = std::max(rows, std::min(sequences, options_.max_logit_rows));
  return {tokens, sequences, rows, output, shares};
}

// Tokens of no sequence, at the end: in sequences of one token each where all are, else in one.
// Sequences without tokens follow.
void Engine::fill_padding(const Shape& shape, int64_t num_tokens, int64_t num_sequences) {
  const int64_t tokens = std::get<0>(shape), sequences = std::get<1>(shape);
  Inputs in(staging_.data(), input_layout());
  const bool decode = tokens == sequences;
  for (int64_t s = num_sequences; s < sequences; ++s) {
    in.seq_start[s + 1] = static_cast<int32_t>(decode ? s + 1 : tokens);
    in.shared[s] = {};
    for (int64_t page = 0; page < kPaddingPages; ++page) {
      in.page_table[s * max_pages_ + page] = static_cast<int32_t>(pool_.num_pages() + page);
    }
  }
  for (int64_t t = num_tokens; t < tokens; ++t) {
    const int64_t position = decode ? 0 : (t - num_tokens) % options_.context;
    in.tokens[t] = 0;
    in.positions[t] = static_cast<int32_t>(position);
    in.slots[t] = int64_t{pool_.num_pages()} * kPageTokens + position;
  }
}

// Whether sequences of the step share pages that the backend can read once for all of them; then
// shared_ says which.
bool Engine::find_shared(std::span<const StepItem> items) {
  if (!backend_.reads_shared_pages_once()) return false;
  whole_pages_.clear();
  for (const StepItem& item : items) {
    if (item.tokens.size() > 1) return false;
    const auto count = static_cast<size_t>(item.sequence->length() / kPageTokens);
    whole_pages_.push_back(item.sequence->pages().first(count));
  }
  const auto layers = static_cast<int64_t>(std::max<size_t>(model_->info().kv_layers.size(), 1));
  const auto layer_bytes =
      static_cast<int64_t>(page_bytes(model_->info(), options_.kv_type)) / layers;
  return shared_.find(whole_pages_, options_.shared_bytes_min / std::max<int64_t>(layer_bytes, 1));
}

Engine::Shape Engine::fill_inputs(std::span<const StepItem> items, Output output) {
  Inputs in(staging_.data(), input_layout());
  const bool shares = find_shared(items);
  first_tokens_.resize(items.size());
  int32_t num_tokens = 0, num_rows = 0;
  for (size_t s = 0; s < items.size(); ++s) {
    const size_t index = shares ? static_cast<size_t>(shared_.order()[s]) : s;
    const StepItem& item = items[index];
    const std::span<const PageId> pages = item.sequence->pages();
    const int64_t start = item.sequence->length();
    first_tokens_[index] = num_tokens;
    in.seq_start[s] = num_tokens;
    if (shares) in.shared[s] = shared_.groups()[s];
    std::copy(pages.begin(), pages.end(), in.page_table + static_cast<int64_t>(s) * max_pages_);
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      const int64_t position = start + static_cast<int64_t>(i);
      in.tokens[num_tokens] = item.tokens[i];
      in.positions[num_tokens] = static_cast<int32_t>(position);
      in.slots[num_tokens] =
          int64_t{pages[static_cast<size_t>(position / kPageTokens)]} * kPageTokens +
          position % kPageTokens;
      ++num_tokens;
    }
  }
  // Rows come in the order of the items, whatever that of the batch is.
  for (size_t index = 0; index < items.size(); ++index) {
    const StepItem& item = items[index];
    const auto count = static_cast<int32_t>(item.tokens.size());
    const int32_t wanted = item.logits == WantLogits::kAll    ? count
                           : item.logits == WantLogits::kLast ? 1
                                                              : 0;
    for (int32_t i = count - wanted; i < count; ++i) {
      in.logit_rows[num_rows++] = first_tokens_[index] + i;
    }
  }
  const auto num_sequences = static_cast<int64_t>(items.size());
  in.seq_start[num_sequences] = num_tokens;
  // A step that wants no logits still computes one row: the program's shape stays simple and the
  // cost is that of one token.
  const Shape shape =
      padded({num_tokens, num_sequences, std::max(num_rows, int32_t{1}), output, shares});
  for (int64_t row = num_rows; row < std::get<2>(shape); ++row) {
    in.logit_rows[row] = num_tokens - 1;
    in.draws[2 * row] = 1.0f;
    in.draws[2 * row + 1] = 0.0f;
  }
  fill_padding(shape, num_tokens, num_sequences);
  return shape;
}

Result<Engine::Done> Engine::run(std::span<const StepItem> items, Output output,
                                 std::span<const DeviceDraw> draws, const Meanwhile& meanwhile) {
  TRY(check(items, output));
  if (model_->info().is_encoder) write_reach(items);
  const InputLayout layout = input_layout();
  const Shape shape = fill_inputs(items, output);
  Inputs in(staging_.data(), layout);
  for (size_t row = 0; row < draws.size(); ++row) {
    in.draws[2 * row] = draws[row].inverse_temperature;
    in.draws[2 * row + 1] = draws[row].share;
  }
  const StepProgram* step = TRY(program_for(shape));
  const size_t used =
      layout.page_table + static_cast<size_t>(std::get<1>(shape) * max_pages_) * sizeof(int32_t);
  TRY(backend_.upload(inputs_.data.get(), std::span(staging_).first(used)));
  TRY(step->prepared->run());
  int64_t num_rows = 0;
  for (const StepItem& item : items) {
    item.sequence->append(item.tokens);
    num_rows += item.logits == WantLogits::kAll    ? static_cast<int64_t>(item.tokens.size())
                : item.logits == WantLogits::kLast ? 1
                                                   : 0;
  }
  if (meanwhile) meanwhile();
  return Done{step, num_rows};
}

Error Engine::not_finite() {
  if (!weights_checked_) weights_checked_ = check_weights(model_->file());
  if (!weights_checked_->ok()) return weights_checked_->error();
  return Error{ErrorCode::kBadModel,
               "the model's logits are not finite numbers, although its weights are: its "
               "hyper-parameters do not fit it, or its activations overflow"};
}

Result<StepLogits> Engine::step(std::span<const StepItem> items, const Meanwhile& meanwhile) {
  const Done done = TRY(run(items, Output::kLogits, {}, meanwhile));
  StepLogits logits{.values = {}, .rows = done.rows, .vocab = model_->info().vocab_size};
  const auto num_values = static_cast<size_t>(logits.rows * logits.vocab);
  if (logits_.size() < num_values) logits_.resize(num_values);
  const std::span<float> values(logits_.data(), num_values);
  TRY(backend_.download(std::as_writable_bytes(values), done.program->output.data));
  if (!all_finite(values)) return not_finite();
  logits.values = values;
  return logits;
}

Result<std::vector<Token>> Engine::step_greedy(std::span<const StepItem> items) {
  const Done done = TRY(run(items, Output::kTokens));
  std::vector<Token> tokens(static_cast<size_t>(done.rows));
  static_assert(sizeof(Token) == sizeof(int32_t));
  TRY(backend_.download(std::as_writable_bytes(std::span(tokens)), done.program->output.data));
  if (std::find(tokens.begin(), tokens.end(), -1) != tokens.end()) return not_finite();
  return tokens;
}

Result<StepSummaries> Engine::step_summaries(std::span<const StepItem> items,
                                             std::span<const DeviceDraw> draws,
                                             const Meanwhile& meanwhile) {
  const Done done = TRY(run(items, Output::kSummaries, draws, meanwhile));
  CHECK(static_cast<int64_t>(draws.size()) == done.rows);
  summarized_ = done.program->logits;
  const int64_t padded_rows = summarized_.dim(0), k = num_best();
  const auto words = static_cast<size_t>(padded_rows * (2 * k + 3));
  summaries_.resize(words * sizeof(float));
  TRY(backend_.download(summaries_, done.program->output.data));
  const auto floats = [&](int64_t begin, int64_t count) {
    return std::span(reinterpret_cast<const float*>(summaries_.data()) + begin,
                     static_cast<size_t>(count));
  };
  static_assert(sizeof(Token) == sizeof(int32_t));
  const std::span<const Token> tokens(
      reinterpret_cast<const Token*>(summaries_.data()) + padded_rows * k,
      static_cast<size_t>(done.rows * (k + 1)));
  for (int64_t row = 0; row < done.rows; ++row) {
    if (tokens[static_cast<size_t>(row * (k + 1))] < 0) return not_finite();
  }
  return StepSummaries{.logits = floats(0, done.rows * k),
                       .sums = floats(padded_rows * (2 * k + 1), 2 * done.rows),
                       .tokens = tokens,
                       .rows = done.rows,
                       .best = k,
                       .vocab = model_->info().vocab_size};
}

Result<std::span<const float>> Engine::logits_row(int64_t i) {
  const std::span<float> values(logits_.data(), static_cast<size_t>(model_->info().vocab_size));
  TRY(backend_.download(std::as_writable_bytes(values), summarized_.slice(i, 1).data));
  return std::span<const float>(values);
}

Result<StepHidden> Engine::step_hidden(std::span<const StepItem> items,
                                       const Meanwhile& meanwhile) {
  const Done done = TRY(run(items, Output::kHidden, {}, meanwhile));
  StepHidden hidden{.values = {}, .rows = done.rows, .size = model_->info().hidden_size};
  hidden_.resize(static_cast<size_t>(hidden.rows * hidden.size));
  const std::span<float> values(hidden_);
  TRY(backend_.download(std::as_writable_bytes(values), done.program->output.data));
  if (!all_finite(values)) return not_finite();
  hidden.values = values;
  return hidden;
}

size_t Engine::page_bytes(const ModelInfo& info, DType kv_type) {
  const BlockFormat& format = *find_block_format(kv_type);
  int64_t elements = 0;
  for (const KvLayerShape& layer : info.kv_layers) elements += layer.elements() * kPageTokens;
  return static_cast<size_t>(elements) / static_cast<size_t>(format.block_elements) *
         static_cast<size_t>(format.block_bytes);
}

Status Engine::swap_pages(std::span<const PageSwap> swaps) {
  const size_t bytes = page_bytes(model_->info(), options_.kv_type);
  for (const PageSwap& swap : swaps) {
    CHECK(swap.page >= 0 && swap.page < pool_.num_pages());
    CHECK(swap.slot >= 0 && swap.slot < options_.host_pages);
    std::byte* host = host_pages_.data.get() + static_cast<size_t>(swap.slot) * bytes;
    for (const KvLayer& layer : cache_) {
      for (const TensorView* view : {&layer.k, &layer.v}) {
        if (view == &layer.v && layer.v.data == layer.k.data) continue;
        const TensorView page = view->slice(swap.page, 1);
        const size_t size = page.extent_bytes();
        if (swap.out) {
          TRY(backend_.copy_out(host, page.data, size));
        } else {
          TRY(backend_.copy_in(page.data, host, size));
        }
        host += size;
      }
    }
  }
  return {};
}

// A few pages there and back, to know how long that takes; nothing is in them yet.
Status Engine::take_host_pages() {
  const size_t bytes = page_bytes(model_->info(), options_.kv_type);
  host_pages_ = TRY(backend_.allocate_pinned(static_cast<size_t>(options_.host_pages) * bytes));
  const int32_t count = std::min({options_.host_pages, pool_.num_pages(), 16});
  std::vector<PageSwap> swaps;
  for (int32_t i = 0; i < count; ++i) swaps.push_back({.page = i, .slot = i, .out = true});
  for (int32_t i = 0; i < count; ++i) swaps.push_back({.page = i, .slot = i, .out = false});
  std::byte one[1];
  for (int round = 0; round < 3; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    TRY(swap_pages(swaps));
    TRY(backend_.download(one, inputs_.data.get()));
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    const double each = taken.count() / static_cast<double>(swaps.size());
    swap_page_seconds_ = round == 0 ? each : std::min(swap_page_seconds_, each);
  }
  return {};
}

Status Engine::copy_pages(std::span<const std::pair<PageId, PageId>> pairs) {
  if (pairs.empty()) return {};
  std::vector<int32_t> flat;
  for (const auto& [from, to] : pairs) flat.insert(flat.end(), {from, to});
  const Buffer buffer = TRY(backend_.allocate(flat.size() * sizeof(int32_t)));
  TRY(backend_.upload(buffer.data.get(), std::as_bytes(std::span(flat))));
  const TensorView view =
      make_view(buffer.data.get(), DType::kI32, {static_cast<int64_t>(pairs.size()), 2});
  std::vector<Op> ops;
  for (const KvLayer& layer : cache_) {
    const bool has_values = layer.v.data != layer.k.data;
    ops.push_back(CopyPages{layer.k, has_values ? layer.v : TensorView{}, view});
  }
  return backend_.run(ops);
}

}  // namespace realm
