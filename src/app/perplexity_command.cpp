#include "app/perplexity_command.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "app/feed.h"
#include "app/text_windows.h"
#include "base/json_writer.h"

namespace realm {
namespace {

// Negative log likelihoods, summed with their squares.
struct Score {
  double sum = 0, sum_of_squares = 0;
  int64_t count = 0;

  void add(std::span<const float> logits, Token actual) {
    const float top = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const float value : logits) total += std::exp(static_cast<double>(value - top));
    const double loss =
        std::log(total) - static_cast<double>(logits[static_cast<size_t>(actual)] - top);
    sum += loss;
    sum_of_squares += loss * loss;
    ++count;
  }
  double perplexity() const { return std::exp(sum / static_cast<double>(count)); }
  double standard_error() const {
    if (count < 2) return 0;
    const auto n = static_cast<double>(count);
    const double variance = sum_of_squares / n - (sum / n) * (sum / n);
    return variance > 0 ? perplexity() * std::sqrt(variance / (n - 1)) : 0;
  }
};

Status score_window(Engine& engine, const LoadedModel& loaded, std::span<const Token> window,
                    int64_t chunk, Score& score, const std::atomic<bool>* cancel) {
  const size_t first = window.size() / 2;
  Sequence sequence(engine.pages());
  TRY(feed(engine, sequence, window.first(first), engine.options().max_step_tokens, {}, cancel));
  // The last token's logits predict what lies outside the window.
  const auto scored = window.subspan(first, window.size() - 1 - first);
  const OnLogits on_logits = [&](int64_t begin, const StepLogits& logits) -> Status {
    TRY(check_finite(logits, static_cast<int64_t>(first) + begin, loaded.label));
    for (int64_t r = 0; r < logits.rows; ++r) {
      score.add(logits.row(r), window[first + static_cast<size_t>(begin + r + 1)]);
    }
    return {};
  };
  return feed(engine, sequence, scored, chunk, on_logits, cancel);
}

}  // namespace

Result<PerplexityReport> measure_perplexity(const PerplexityOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t window = options.model.context > 0 ? options.model.context : kDefaultWindow;
  if (window < 4) {
    return Error{ErrorCode::kInvalidArgument, "ctx: windows need at least 4 tokens"};
  }
  const LoadedModel loaded = TRY(load_for_running(options.model));
  const TextWindows windows = TRY(
      read_text_windows(options.text_path, *loaded.tokenizer, window, options.parse_special, 2));
  PerplexityReport report{.model = loaded.label, .context = window, .windows = windows.count};
  report.tokens = static_cast<int64_t>(windows.tokens.size());
  const int64_t chunk = std::min(window, step_tokens_for(loaded.model->info().vocab_size));
  auto engine = TRY(loaded.make_engine({.context = window,
                                        .max_step_tokens = std::min<int64_t>(window, 512),
                                        .max_sequences = 1,
                                        .max_logit_rows = chunk}));
  Score score;
  for (int64_t w = 0; w < report.windows; ++w) {
    TRY(score_window(*engine, loaded, windows.window(w), chunk, score, options.cancel));
    if (options.on_progress) options.on_progress({w + 1, report.windows, score.perplexity()});
  }
  report.perplexity = score.perplexity();
  report.standard_error = score.standard_error();
  report.tokens_scored = score.count;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::string PerplexityReport::text() const {
  char line[256];
  std::snprintf(line, sizeof line,
                "perplexity %.4f +/- %.4f\n%lld tokens scored in %lld windows of %lld, %.1f s\n",
                perplexity, standard_error, static_cast<long long>(tokens_scored),
                static_cast<long long>(windows), static_cast<long long>(context), seconds);
  return line;
}

std::string PerplexityReport::json() const {
  JsonWriter json;
  json.begin_object().text("model", model).number("perplexity", perplexity);
  json.number("standard_error", standard_error).integer("ctx", context);
  json.integer("windows", windows).integer("tokens", tokens);
  json.integer("tokens_scored", tokens_scored).number("seconds", seconds).end_object();
  return json.line();
}

}  // namespace realm
