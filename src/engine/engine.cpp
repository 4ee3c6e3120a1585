#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/check.h"
#include "formats/quant/quant_table.h"
#include "models/check_weights.h"

namespace realm {
namespace {

// Programs kept for shapes met before; a server alternates among few.
constexpr size_t kMaxPrograms = 64;

// Where each input stands in the input buffer, for the largest step.
struct InputLayout {
  size_t tokens, positions, slots, seq_start, page_table, logit_rows, seq_last, near_first,
      near_last, total;

  InputLayout(const EngineOptions& o, int64_t max_pages, bool is_encoder) {
    size_t at = 0;
    const auto take = [&](int64_t count, size_t size) {
      const size_t begin = at;
      at += (static_cast<size_t>(count) * size + 63) / 64 * 64;
      return begin;
    };
    tokens = take(o.max_step_tokens, 4);
    positions = take(o.max_step_tokens, 4);
    slots = take(o.max_step_tokens, 8);
    seq_start = take(o.max_sequences + 1, 4);
    page_table = take(o.max_sequences * max_pages, 4);
    logit_rows = take(o.max_step_tokens, 4);
    seq_last = take(is_encoder ? o.max_step_tokens : 0, 4);
    near_first = take(is_encoder ? o.max_step_tokens : 0, 4);
    near_last = take(is_encoder ? o.max_step_tokens : 0, 4);
    total = at;
  }
};

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
  TRY(check_range("tokens a step", o.max_step_tokens, 1, 65536));
  TRY(check_range("sequences a step", o.max_sequences, 1, 4096));
  if (info.is_encoder && o.max_step_tokens < o.context) {
    o.max_step_tokens = o.context;
    TRY(check_range("the context of an encoder", o.context, 1, 65536));
  }
  o.max_logit_rows = std::min(o.max_logit_rows, o.max_step_tokens);
  TRY(check_range("logit rows a step", o.max_logit_rows, 1, 65536));
  o.max_sequences = std::min(o.max_sequences, o.max_step_tokens);
  if (o.kv_type != DType::kF32 && o.kv_type != DType::kF16 && o.kv_type != DType::kQ8_0) {
    return Error{ErrorCode::kInvalidArgument, "the KV cache can be f32, f16 or q8_0"};
  }
  const int64_t num_pages = (o.cache_tokens + kPageTokens - 1) / kPageTokens;
  std::unique_ptr<Engine> engine(
      new Engine(std::move(model), backend, o, static_cast<int32_t>(num_pages)));
  TRY(engine->allocate(static_cast<int32_t>(num_pages)));
  return engine;
}

Engine::Engine(std::shared_ptr<const Model> model, Backend& backend, const EngineOptions& options,
               int32_t num_pages)
    : model_(std::move(model)),
      backend_(backend),
      options_(options),
      max_pages_((options.context + kPageTokens - 1) / kPageTokens),
      pool_(num_pages) {}

Status Engine::allocate(int32_t num_pages) {
  const BlockFormat& format = *find_block_format(options_.kv_type);
  for (const KvLayerShape& shape : model_->info().kv_layers) {
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
      const Buffer buffer = TRY(backend_.allocate(view->extent_bytes()));
      view->data = buffer.data.get();
      cache_bytes_ += buffer.size_bytes;
      cache_buffers_.push_back(buffer);
    }
    cache_.push_back(layer);
  }
  const InputLayout layout(options_, max_pages_, model_->info().is_encoder);
  inputs_ = TRY(backend_.allocate(layout.total));
  staging_.resize(layout.total);
  // Dry runs size the scratch: the most tokens with the most logits is the largest step.
  size_t scratch_bytes = 0;
  if (!model_->info().is_encoder) {
    const StepProgram largest = TRY(build({options_.max_step_tokens, options_.max_sequences,
                                           options_.max_logit_rows, Output::kChosen}));
    scratch_bytes = largest.program.scratch_bytes;
    logits_.resize(static_cast<size_t>(options_.max_logit_rows * model_->info().vocab_size));
  }
  if (options_.embeddings) {
    const StepProgram largest = TRY(build({options_.max_step_tokens, options_.max_sequences,
                                           options_.max_step_tokens, Output::kHidden}));
    scratch_bytes = std::max(scratch_bytes, largest.program.scratch_bytes);
  }
  scratch_ = TRY(backend_.allocate(scratch_bytes));
  return {};
}

StepInputs Engine::input_views(const Shape& shape) const {
  const auto [tokens, sequences, rows, output] = shape;
  const InputLayout layout(options_, max_pages_, model_->info().is_encoder);
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
  if (model_->info().is_encoder) {
    inputs.seq_last = make_view(base + layout.seq_last, DType::kI32, {tokens});
    inputs.near_first = make_view(base + layout.near_first, DType::kI32, {tokens});
    inputs.near_last = make_view(base + layout.near_last, DType::kI32, {tokens});
  }
  return inputs;
}

Result<Engine::StepProgram> Engine::build(const Shape& shape) const {
  ProgramBuilder builder;
  const TensorView made = model_->forward(builder, input_views(shape), cache_);
  switch (std::get<3>(shape)) {
    case Output::kLogits:
      break;
    case Output::kChosen:
      builder.add(ArgMax{.x = made, .out = builder.scratch({made.dim(0)}, DType::kI32)});
      break;
    case Output::kHidden:
      CHECK(made.dim(1) == model_->info().hidden_size);
      break;
  }
  return StepProgram{.program = TRY(builder.finish()), .output = {}, .prepared = nullptr};
}

Result<const Engine::StepProgram*> Engine::program_for(const Shape& shape) {
  if (auto found = programs_.find(shape); found != programs_.end()) return &found->second;
  StepProgram step = TRY(build(shape));
  CHECK(step.program.scratch_bytes <= scratch_.size_bytes);
  ProgramBuilder::place(step.program, scratch_.data.get());
  // The output is that of the last op.
  for_each_tensor(step.program.ops.back(), [&](TensorView& view, bool written) {
    if (written) step.output = view;
  });
  step.prepared = TRY(backend_.prepare(step.program.ops));
  if (programs_.size() >= kMaxPrograms) programs_.clear();
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
  const InputLayout layout(options_, max_pages_, true);
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

Result<Engine::Done> Engine::run(std::span<const StepItem> items, Output output) {
  TRY(check(items, output));
  if (model_->info().is_encoder) write_reach(items);
  const InputLayout layout(options_, max_pages_, model_->info().is_encoder);
  std::byte* base = staging_.data();
  auto* tokens = reinterpret_cast<int32_t*>(base + layout.tokens);
  auto* positions = reinterpret_cast<int32_t*>(base + layout.positions);
  auto* slots = reinterpret_cast<int64_t*>(base + layout.slots);
  auto* seq_start = reinterpret_cast<int32_t*>(base + layout.seq_start);
  auto* page_table = reinterpret_cast<int32_t*>(base + layout.page_table);
  auto* logit_rows = reinterpret_cast<int32_t*>(base + layout.logit_rows);
  int32_t num_tokens = 0, num_rows = 0, num_sequences = 0;
  for (const StepItem& item : items) {
    const std::span<const PageId> pages = item.sequence->pages();
    const int64_t start = item.sequence->length();
    seq_start[num_sequences] = num_tokens;
    std::copy(pages.begin(), pages.end(), page_table + num_sequences * max_pages_);
    ++num_sequences;
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      const int64_t position = start + static_cast<int64_t>(i);
      tokens[num_tokens] = item.tokens[i];
      positions[num_tokens] = static_cast<int32_t>(position);
      slots[num_tokens] =
          int64_t{pages[static_cast<size_t>(position / kPageTokens)]} * kPageTokens +
          position % kPageTokens;
      const bool wanted = item.logits == WantLogits::kAll ||
                          (item.logits == WantLogits::kLast && i + 1 == item.tokens.size());
      if (wanted) logit_rows[num_rows++] = num_tokens;
      ++num_tokens;
    }
  }
  seq_start[num_sequences] = num_tokens;
  // A step that wants no logits still computes one row: the program's shape stays simple and the
  // cost is that of one token.
  if (num_rows == 0) logit_rows[0] = num_tokens - 1;
  const StepProgram* step =
      TRY(program_for({num_tokens, num_sequences, std::max(num_rows, int32_t{1}), output}));
  TRY(backend_.upload(inputs_.data.get(), staging_));
  TRY(step->prepared->run());
  for (const StepItem& item : items) item.sequence->append(item.tokens);
  return Done{step, num_rows};
}

Error Engine::not_finite() {
  if (!weights_checked_) weights_checked_ = check_weights(model_->file());
  if (!weights_checked_->ok()) return weights_checked_->error();
  return Error{ErrorCode::kBadModel,
               "the model's logits are not finite numbers, although its weights are: its "
               "hyper-parameters do not fit it, or its activations overflow"};
}

Result<StepLogits> Engine::step(std::span<const StepItem> items) {
  const Done done = TRY(run(items, Output::kLogits));
  StepLogits logits{.values = {}, .rows = done.rows, .vocab = model_->info().vocab_size};
  const std::span<float> values(logits_.data(), static_cast<size_t>(logits.rows * logits.vocab));
  TRY(backend_.download(std::as_writable_bytes(values), done.program->output.data));
  if (!all_finite(values)) return not_finite();
  logits.values = values;
  return logits;
}

Result<std::vector<Token>> Engine::step_greedy(std::span<const StepItem> items) {
  const Done done = TRY(run(items, Output::kChosen));
  std::vector<Token> tokens(static_cast<size_t>(done.rows));
  static_assert(sizeof(Token) == sizeof(int32_t));
  TRY(backend_.download(std::as_writable_bytes(std::span(tokens)), done.program->output.data));
  if (std::find(tokens.begin(), tokens.end(), -1) != tokens.end()) return not_finite();
  return tokens;
}

Result<StepHidden> Engine::step_hidden(std::span<const StepItem> items) {
  const Done done = TRY(run(items, Output::kHidden));
  StepHidden hidden{.values = {}, .rows = done.rows, .size = model_->info().hidden_size};
  hidden_.resize(static_cast<size_t>(hidden.rows * hidden.size));
  const std::span<float> values(hidden_);
  TRY(backend_.download(std::as_writable_bytes(values), done.program->output.data));
  if (!all_finite(values)) return not_finite();
  hidden.values = values;
  return hidden;
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
