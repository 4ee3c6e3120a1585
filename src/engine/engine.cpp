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
constexpr size_t kMaxPrograms = 192;

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

RowSummary StepSummaries::row(int64_t i) const {
  const auto at = static_cast<size_t>(i), k = static_cast<size_t>(best);
  RowSummary summary{.logits = logits.subspan(at * k, k),
                     .tokens = tokens.subspan(at * (k + 1) + 1, k),
                     .vocab = static_cast<size_t>(vocab),
                     .sum = sums[2 * at],
                     .drawn = tokens[at * (k + 1)],
                     .drawn_logit = sums[2 * at + 1]};
  if (!chosen.empty() && chosen[at] != -1) {
    summary.choice = {.token = chosen[at], .logit = facts[2 * at], .surprise = facts[2 * at + 1]};
  }
  return summary;
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
      pads_(!backend.is_host() && !model_->info().is_encoder),
      pool_(num_pages),
      inputs_(model_->info(), options_, num_pages, pads_, shared_page_bytes()) {}

// Of one layer; 0 where the backend reads each sequence's pages for itself.
int64_t Engine::shared_page_bytes() const {
  if (!backend_.reads_shared_pages_once()) return 0;
  const size_t layers = std::max<size_t>(model_->info().kv_layers.size(), 1);
  const size_t bytes = page_bytes(model_->info(), options_.kv_type) / layers;
  return static_cast<int64_t>(std::max<size_t>(bytes, 1));
}

Status Engine::allocate(int32_t num_pages) {
  num_pages += inputs_.padding_pages();
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
  TRY(inputs_.allocate(backend_));
  // Dry runs size the scratch: the most tokens with the most logits is the largest step.
  size_t scratch_bytes = 0;
  if (!model_->info().is_encoder) {
    const StepProgram largest = TRY(build({options_.max_step_tokens, inputs_.max_sequences(),
                                           options_.max_logit_rows, StepResult::kSampled}));
    scratch_bytes = largest.program.scratch_bytes;
    // Where rows stay on the device, one at a time is fetched as a rule.
    const int64_t rows_wanted = pads_ ? 1 : options_.max_logit_rows;
    logits_.resize(static_cast<size_t>(rows_wanted * model_->info().vocab_size));
  }
  if (options_.embeddings) {
    const StepProgram largest = TRY(build({options_.max_step_tokens, inputs_.max_sequences(),
                                           options_.max_step_tokens, StepResult::kHidden}));
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
      const std::vector<SampleRow> chains(draws.size());
      const auto step = step_summaries(items, draws, {}, {chains, {}});
      if (!step.ok()) done = step.error();
      if (done.ok() && is_decode) {
        for (Sequence& sequence : sequences) sequence.rewind(0);
        if (const auto greedy = step_greedy(items); !greedy.ok()) done = greedy.error();
      }
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

int64_t Engine::num_best() const {
  return std::min(TopCandidates::kMost, model_->info().vocab_size);
}

// Appends what makes the step's result of its logits. What comes to the host is one piece of
// memory, so that it comes at once.
void Engine::add_sampling(ProgramBuilder& builder, const TensorView& logits,
                          StepResult result) const {
  const int64_t rows = logits.dim(0), k = num_best();
  const bool chooses = result == StepResult::kSampled;
  const TensorView all = builder.scratch({rows * (2 * k + 3 + (chooses ? 3 : 0))});
  std::byte* end = all.data;
  const auto take = [&](DType type, std::initializer_list<int64_t> shape) {
    const TensorView view = make_view(end, type, shape);
    end += view.extent_bytes();
    return view;
  };
  const TopCandidates top{.x = logits,
                          .draws = inputs_.draws(rows),
                          .values = take(DType::kF32, {rows, k}),
                          .tokens = take(DType::kI32, {rows, 1 + k}),
                          .sums = take(DType::kF32, {rows, 2})};
  builder.add(top);
  if (!chooses) return;
  builder.add(SampleTokens{.x = logits,
                           .values = top.values,
                           .tokens = top.tokens,
                           .sums = top.sums,
                           .settings = inputs_.settings(rows),
                           .changes = inputs_.changes(),
                           .work = builder.scratch({rows, logits.dim(1)}),
                           .chosen = take(DType::kI32, {rows}),
                           .facts = take(DType::kF32, {rows, 2})});
}

Result<Engine::StepProgram> Engine::build(const StepShape& shape) const {
  ProgramBuilder builder;
  const TensorView logits = model_->forward(builder, inputs_.views(shape), cache_);
  if (shape.result == StepResult::kTokens) {
    builder.add(ArgMax{.x = logits, .out = builder.scratch({shape.rows}, DType::kI32)});
  } else if (shape.result == StepResult::kSummaries || shape.result == StepResult::kSampled) {
    add_sampling(builder, logits, shape.result);
  } else if (shape.result == StepResult::kHidden) {
    CHECK(logits.dim(1) == model_->info().hidden_size);
  }
  StepProgram step;
  step.program = TRY(builder.finish());
  return step;
}

Result<const Engine::StepProgram*> Engine::program_for(const StepShape& shape) {
  ++num_runs_;
  if (auto found = programs_.find(shape); found != programs_.end()) {
    found->second.last_use = num_runs_;
    return &found->second;
  }
  StepProgram step = TRY(build(shape));
  CHECK(step.program.scratch_bytes <= scratch_.size_bytes);
  ProgramBuilder::place(step.program, scratch_.data.get());
  // The output is that of the last op, unless rows are summarized.
  for_each_tensor(step.program.ops.back(), [&](TensorView& view, bool written) {
    if (written) step.output = view;
  });
  for (const Op& op : step.program.ops) {
    if (const auto* top = std::get_if<TopCandidates>(&op)) {
      step.output = top->values;
      step.logits = top->x;
    }
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

Status Engine::check(std::span<const StepItem> items, StepResult result) const {
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
  CHECK(result == StepResult::kHidden ? options_.embeddings : rows <= options_.max_logit_rows);
  return {};
}

Result<Engine::Done> Engine::run(std::span<const StepItem> items, StepResult result,
                                 std::span<const DeviceDraw> draws, const Meanwhile& meanwhile,
                                 const DeviceChains& chains) {
  TRY(check(items, result));
  const StepShape shape = inputs_.fill(items, result);
  inputs_.set_draws(draws);
  if (result == StepResult::kSampled) inputs_.set_chains(shape, chains);
  const StepProgram* step = TRY(program_for(shape));
  TRY(inputs_.upload(backend_, shape));
  TRY(step->prepared->run());
  int64_t num_rows = 0;
  for (const StepItem& item : items) {
    item.sequence->append(item.tokens);
    num_rows += rows_wanted(item);
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
  const Done done = TRY(run(items, StepResult::kLogits, {}, meanwhile));
  StepLogits logits{.values = {}, .rows = done.rows, .vocab = model_->info().vocab_size};
  const auto num_values = static_cast<size_t>(logits.rows * logits.vocab);
  if (logits_.size() < num_values) logits_.resize(num_values);
  const std::span<float> values(logits_.data(), num_values);
  TRY(backend_.download(std::as_writable_bytes(values), done.program->output.data));
  if (!all_finite(values)) return not_finite();
  logits.values = values;
  return logits;
}

Result<std::vector<Token>> Engine::step_greedy(std::span<const StepItem> items,
                                               const Meanwhile& meanwhile) {
  const Done done = TRY(run(items, StepResult::kTokens, {}, meanwhile));
  std::vector<Token> tokens(static_cast<size_t>(done.rows));
  static_assert(sizeof(Token) == sizeof(int32_t));
  TRY(backend_.download(std::as_writable_bytes(std::span(tokens)), done.program->output.data));
  if (std::find(tokens.begin(), tokens.end(), -1) != tokens.end()) return not_finite();
  return tokens;
}

Result<StepSummaries> Engine::step_summaries(std::span<const StepItem> items,
                                             std::span<const DeviceDraw> draws,
                                             const Meanwhile& meanwhile,
                                             const DeviceChains& chains) {
  const bool chooses = !chains.rows.empty();
  const StepResult result = chooses ? StepResult::kSampled : StepResult::kSummaries;
  const Done done = TRY(run(items, result, draws, meanwhile, chains));
  CHECK(static_cast<int64_t>(draws.size()) == done.rows);
  CHECK(!chooses || static_cast<int64_t>(chains.rows.size()) == done.rows);
  summarized_ = done.program->logits;
  // As add_sampling() has laid them out, for all rows of the program.
  const int64_t padded_rows = summarized_.dim(0), k = num_best();
  const int64_t words = padded_rows * (2 * k + 3 + (chooses ? 3 : 0));
  summaries_.resize(static_cast<size_t>(words) * sizeof(float));
  TRY(backend_.download(summaries_, done.program->output.data));
  int64_t end = 0;
  const auto take = [&]<typename T>(int64_t columns, T) {
    static_assert(sizeof(T) == sizeof(float));
    const auto* begin = reinterpret_cast<const T*>(summaries_.data()) + end;
    end += padded_rows * columns;
    return std::span(begin, static_cast<size_t>(done.rows * columns));
  };
  StepSummaries summaries;
  summaries.rows = done.rows;
  summaries.best = k;
  summaries.vocab = model_->info().vocab_size;
  summaries.logits = take(k, float{});
  summaries.tokens = take(1 + k, Token{});
  summaries.sums = take(2, float{});
  if (chooses) {
    summaries.chosen = take(1, Token{});
    summaries.facts = take(2, float{});
  }
  for (int64_t row = 0; row < done.rows; ++row) {
    if (summaries.tokens[static_cast<size_t>(row * (k + 1))] < 0) return not_finite();
  }
  return summaries;
}

Result<std::span<const float>> Engine::logits_row(int64_t i) {
  const std::span<float> values(logits_.data(), static_cast<size_t>(model_->info().vocab_size));
  TRY(backend_.download(std::as_writable_bytes(values), summarized_.slice(i, 1).data));
  return std::span<const float>(values);
}

Result<StepHidden> Engine::step_hidden(std::span<const StepItem> items,
                                       const Meanwhile& meanwhile) {
  const Done done = TRY(run(items, StepResult::kHidden, {}, meanwhile));
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
    TRY(backend_.download(one, inputs_.device()));
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
