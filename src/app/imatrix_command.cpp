#include "app/imatrix_command.h"

#include <algorithm>

#include "app/activation_recorder.h"
#include "app/feed.h"
#include "app/text_windows.h"
#include "base/json_writer.h"

namespace realm {

Result<ImatrixReport> make_imatrix(const ImatrixOptions& options) {
  const int64_t window = options.model.context > 0 ? options.model.context : kDefaultWindow;
  ActivationRecorder* recorder = nullptr;
  const LoadedModel loaded =
      TRY(load_for_running(options.model, [&](std::unique_ptr<Backend> backend) {
        auto wrapped = std::make_unique<ActivationRecorder>(std::move(backend));
        recorder = wrapped.get();
        return wrapped;
      }));
  const TextWindows windows = TRY(
      read_text_windows(options.text_path, *loaded.tokenizer, window, options.parse_special, 1));
  auto engine = TRY(loaded.make_engine({.context = window,
                                        .max_step_tokens = std::min<int64_t>(window, 512),
                                        .max_sequences = 1,
                                        .max_logit_rows = 1}));
  recorder->start(*loaded.file, "blk.");
  for (int64_t w = 0; w < windows.count; ++w) {
    Sequence sequence(engine->pages());
    TRY(feed(*engine, sequence, windows.window(w), engine->options().max_step_tokens, {},
             options.cancel));
    if (options.on_progress) options.on_progress(w + 1, windows.count);
  }
  auto entries = recorder->entries();
  if (!entries.ok()) return entries.error().at(loaded.label);
  ImportanceMatrix matrix{.entries = std::move(entries).value(),
                          .datasets = {options.text_path},
                          .chunk_count = static_cast<uint32_t>(windows.count),
                          .chunk_size = static_cast<uint32_t>(window)};
  TRY(write_imatrix(options.output, matrix));
  return ImatrixReport{.windows = windows.count,
                       .tokens = windows.count * window,
                       .entries = static_cast<int64_t>(matrix.entries.size())};
}

std::string ImatrixReport::json() const {
  JsonWriter json;
  json.begin_object()
      .integer("entries", entries)
      .integer("windows", windows)
      .integer("tokens", tokens)
      .end_object();
  return json.line();
}

std::string ImatrixReport::text() const {
  return std::to_string(entries) + " entries from " + std::to_string(windows) + " windows, " +
         std::to_string(tokens) + " tokens\n";
}

}  // namespace realm
