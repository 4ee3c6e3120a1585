#include "app/bench_command.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <random>
#include <utility>

#include "app/feed.h"
#include "app/product_counter.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "base/json_writer.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

using Clock = std::chrono::steady_clock;

Status check_range(const char* name, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return {};
  return Error{ErrorCode::kInvalidArgument, std::string(name) + ": " + std::to_string(value) +
                                                " is not in " + std::to_string(min) + ".." +
                                                std::to_string(max)};
}

Status check(const BenchOptions& options) {
  TRY(check_range("n-prompt", options.n_prompt, 0, 1 << 20));
  TRY(check_range("n-gen", options.n_gen, 0, 1 << 20));
  TRY(check_range("depth", options.depth, 0, 1 << 20));
  TRY(check_range("sequences", options.sequences, 1, 1024));
  TRY(check_range("repeats", options.repeats, 1, 1000));
  TRY(check_range("step-tokens", options.step_tokens, 1, 65536));
  const int64_t needed = options.depth + std::max(options.n_prompt, options.n_gen);
  if (options.model.context > 0 && needed > options.model.context) {
    return Error{ErrorCode::kInvalidArgument, "ctx: " + std::to_string(needed) +
                                                  " tokens do not fit a context of " +
                                                  std::to_string(options.model.context)};
  }
  return {};
}

// Bytes of keys and values that one cached token has in all layers.
double cache_bytes_per_token(const ModelInfo& info, DType kv_type) {
  const BlockFormat& format = *find_block_format(kv_type);
  double bytes = 0;
  for (const KvLayerShape& layer : info.kv_layers) {
    const double elements = static_cast<double>(layer.elements());
    bytes += elements / format.block_elements * format.block_bytes;
  }
  return bytes;
}

class Bench {
 public:
  Bench(const BenchOptions& options, const LoadedModel& loaded, Engine& engine,
        ProductCounter& counter)
      : options_(options), engine_(engine), counter_(counter), info_(loaded.model->info()) {
    kv_bytes_ = cache_bytes_per_token(info_, loaded.kv_type);
  }

  Result<BenchRow> prefill() {
    BenchRow row{.test = "prefill", .n_prompt = options_.n_prompt, .depth = options_.depth};
    Sequence sequence(engine_.pages());
    TRY(fill(sequence));
    const std::vector<Token> prompt = random_tokens(options_.n_prompt);
    const auto once = [&](int64_t count) -> Status {
      sequence.truncate(options_.depth);
      return feed(engine_, sequence, std::span(prompt).first(static_cast<size_t>(count)),
                  options_.step_tokens, {}, options_.cancel);
    };
    TRY(once(std::min(options_.n_prompt, options_.step_tokens)));
    const double median =
        TRY(repeat([&] { return once(options_.n_prompt); }, options_.n_prompt, row));
    // Weights once a step; a step's tokens read what is cached before them once.
    const double steps =
        static_cast<double>((options_.n_prompt + options_.step_tokens - 1) / options_.step_tokens);
    double cached = 0;
    for (int64_t begin = 0; begin < options_.n_prompt; begin += options_.step_tokens) {
      cached += static_cast<double>(options_.depth +
                                    std::min(options_.n_prompt, begin + options_.step_tokens));
    }
    row.gb_s =
        (steps * static_cast<double>(info_.bytes_per_token) + cached * kv_bytes_) / median / 1e9;
    return row;
  }

  Result<BenchRow> decode(int64_t num_sequences) {
    BenchRow row{.test = num_sequences > 1 ? "batched decode" : "decode",
                 .n_gen = options_.n_gen,
                 .depth = options_.depth,
                 .sequences = num_sequences};
    std::vector<Sequence> sequences;
    for (int64_t i = 0; i < num_sequences; ++i) sequences.emplace_back(engine_.pages());
    TRY(fill(sequences[0]));
    for (size_t i = 1; i < sequences.size(); ++i) TRY(copy(sequences[0], sequences[i]));
    const auto once = [&](int64_t count) -> Status {
      for (Sequence& sequence : sequences) sequence.truncate(options_.depth);
      for (int64_t i = 0; i < count; ++i) TRY(decode_step(sequences));
      return {};
    };
    TRY(once(std::min<int64_t>(options_.n_gen, 2)));
    const double median =
        TRY(repeat([&] { return once(options_.n_gen); }, options_.n_gen * num_sequences, row));
    const auto steps = static_cast<double>(options_.n_gen);
    const double mean_depth = static_cast<double>(options_.depth) + (steps + 1) / 2;
    row.gb_s = steps *
               (static_cast<double>(info_.bytes_per_token) +
                static_cast<double>(num_sequences) * mean_depth * kv_bytes_) /
               median / 1e9;
    return row;
  }

 private:
  std::vector<Token> random_tokens(int64_t count) {
    std::vector<Token> tokens(static_cast<size_t>(count));
    for (Token& token : tokens) {
      token = static_cast<Token>(random_() % static_cast<uint64_t>(info_.vocab_size));
    }
    return tokens;
  }

  Status fill(Sequence& sequence) {
    return feed(engine_, sequence, random_tokens(options_.depth), options_.step_tokens, {},
                options_.cancel);
  }

  // Pages of its own with the same content: sharing them would let the processor's caches serve
  // reads that real sequences make from memory.
  Status copy(const Sequence& from, Sequence& to) {
    std::vector<std::pair<PageId, PageId>> pairs;
    TRY(to.reserve(from.length(), pairs));
    for (size_t i = 0; i < from.pages().size(); ++i) {
      pairs.emplace_back(from.pages()[i], to.pages()[i]);
    }
    TRY(engine_.copy_pages(pairs));
    to.append(from.tokens());
    return {};
  }

  Status decode_step(std::vector<Sequence>& sequences) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      return Error{ErrorCode::kCancelled, "interrupted"};
    }
    const std::vector<Token> tokens = random_tokens(static_cast<int64_t>(sequences.size()));
    std::vector<StepItem> items;
    std::vector<std::pair<PageId, PageId>> copies;
    for (size_t i = 0; i < sequences.size(); ++i) {
      TRY(sequences[i].reserve(1, copies));
      items.push_back({.sequence = &sequences[i], .tokens = std::span(tokens).subspan(i, 1)});
    }
    // What a server does: rows of logits stay on a device.
    if (engine_.prefers_summaries()) {
      TRY(engine_.step_summaries(items, std::vector<DeviceDraw>(items.size())));
    } else {
      TRY(engine_.step(items));
    }
    return {};
  }

  // Runs the test `repeats` times; fills in speeds and returns the median time.
  template <typename Run>
  Result<double> repeat(Run&& run, int64_t num_tokens, BenchRow& row) {
    std::vector<double> seconds;
    for (int64_t i = 0; i < options_.repeats; ++i) {
      if (options_.on_progress) {
        options_.on_progress(row.test + ", repeat " + std::to_string(i + 1) + " of " +
                             std::to_string(options_.repeats));
      }
      counter_.take_operations();
      const auto start = Clock::now();
      TRY(run());
      seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::sort(seconds.begin(), seconds.end());
    const size_t middle = seconds.size() / 2;
    const double median =
        seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
    const auto tokens = static_cast<double>(num_tokens);
    row.tok_s = tokens / median;
    row.tok_s_min = tokens / seconds.back();
    row.tok_s_max = tokens / seconds.front();
    row.gops = counter_.take_operations() / median / 1e9;
    return median;
  }

  const BenchOptions& options_;
  Engine& engine_;
  ProductCounter& counter_;
  const ModelInfo& info_;
  double kv_bytes_ = 0;
  std::mt19937_64 random_{1};
};

}  // namespace

Result<BenchReport> run_bench(const BenchOptions& options) {
  TRY(check(options));
  ModelOptions model = options.model;
  model.with_tokenizer = false;
  ProductCounter* counter = nullptr;
  cpu::Isa isa = cpu::Isa::kScalar;
  const LoadedModel loaded =
      TRY(load_for_running(model, [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        if (const auto* cpu = dynamic_cast<cpu::CpuBackend*>(inner.get())) isa = cpu->isa();
        auto wrapped = std::make_unique<ProductCounter>(std::move(inner));
        counter = wrapped.get();
        return wrapped;
      }));
  BenchReport report{.model = loaded.label,
                     .model_type = loaded.description(),
                     .backend = loaded.backend->name(),
                     .threads = loaded.threads};
  if (options.on_progress) options.on_progress("memory bandwidth");
  if (!loaded.backend->is_host()) {
    const cuda::DevicePeaks peaks = TRY(cuda::measure_peaks(0));
    report.peak = {.gb_per_s = peaks.read_gb_per_s, .threads = loaded.threads};
    report.peak_gops = 1e3 * peaks.bf16_tflops;
    report.peak_of = "bfloat16";
  } else {
    ThreadPool pool(loaded.threads);
    report.peak = TRY(measure_read_bandwidth(pool));
    report.peak_gops = measure_integer_peak(pool, isa);
  }
  const int64_t pages_round = kPageTokens - 1;  // every sequence may end in a partly filled page
  const int64_t context = options.depth + std::max({options.n_prompt, options.n_gen, int64_t{1}});
  auto engine =
      TRY(loaded.make_engine({.context = context,
                              .cache_tokens = options.sequences * (context + pages_round),
                              .max_step_tokens = std::max(options.step_tokens, options.sequences),
                              .max_sequences = options.sequences,
                              .max_logit_rows = options.sequences}));
  Bench bench(options, loaded, *engine, *counter);
  if (options.n_prompt > 0) report.rows.push_back(TRY(bench.prefill()));
  if (options.n_gen > 0) report.rows.push_back(TRY(bench.decode(1)));
  if (options.n_gen > 0 && options.sequences > 1) {
    report.rows.push_back(TRY(bench.decode(options.sequences)));
  }
  return report;
}

std::string BenchReport::text() const {
  char line[256];
  std::snprintf(line, sizeof line,
                "%s, %s, %s, %d thread%s, memory reads %.1f GB/s, %s peak %.0f GOPS\n",
                model.c_str(), model_type.c_str(), backend.c_str(), threads,
                threads == 1 ? "" : "s", peak.gb_per_s, peak_of.c_str(), peak_gops);
  std::string out = line;
  std::snprintf(line, sizeof line, "%-15s %7s %6s %7s %5s %10s %10s %10s %8s %7s %8s %7s\n", "test",
                "prompt", "gen", "depth", "seqs", "tok/s", "min", "max", "GB/s", "of peak", "GOPS",
                "of peak");
  out += line;
  for (const BenchRow& row : rows) {
    std::snprintf(
        line, sizeof line,
        "%-15s %7lld %6lld %7lld %5lld %10.2f %10.2f %10.2f %8.2f %6.1f%% %8.1f %6.1f%%\n",
        row.test.c_str(), static_cast<long long>(row.n_prompt), static_cast<long long>(row.n_gen),
        static_cast<long long>(row.depth), static_cast<long long>(row.sequences), row.tok_s,
        row.tok_s_min, row.tok_s_max, row.gb_s, 100 * row.gb_s / peak.gb_per_s, row.gops,
        peak_gops > 0 ? 100 * row.gops / peak_gops : 0.0);
    out += line;
  }
  return out;
}

std::string BenchReport::json() const {
  JsonWriter json;
  json.begin_array();
  for (const BenchRow& row : rows) {
    json.begin_object().text("test", row.test).integer("n_prompt", row.n_prompt);
    json.integer("n_gen", row.n_gen).integer("depth", row.depth);
    json.integer("sequences", row.sequences).number("tok_s", row.tok_s);
    json.number("tok_s_min", row.tok_s_min).number("tok_s_max", row.tok_s_max);
    json.number("gb_s", row.gb_s).number("peak_gb_s", peak.gb_per_s);
    json.number("percent_of_peak", 100 * row.gb_s / peak.gb_per_s);
    json.number("gops", row.gops)
        .number("peak_gops", peak_gops)
        .text("peak_of", peak_of)
        .text("backend", backend);
    json.integer("threads", threads).text("model", model).text("model_type", model_type);
    json.end_object();
  }
  json.end_array();
  return json.line();
}

}  // namespace realm
