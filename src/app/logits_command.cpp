#include "app/logits_command.h"

#include <algorithm>

#include "app/feed.h"
#include "base/file.h"

namespace realm {

Status write_logits(const LogitsOptions& options) {
  const auto count = static_cast<int64_t>(options.tokens.size());
  if (count == 0) return Error{ErrorCode::kInvalidArgument, "no tokens are given"};
  if (options.chunk < 0) {
    return Error{ErrorCode::kInvalidArgument, "chunk: must be at least 1 token"};
  }
  if (options.model.context > 0 && count > options.model.context) {
    return Error{ErrorCode::kInvalidArgument,
                 std::to_string(count) + " tokens do not fit a context of " +
                     std::to_string(options.model.context) + ": give fewer or raise --ctx"};
  }
  const LoadedModel loaded = TRY(load_for_running(options.model));
  const int64_t vocab = loaded.model->info().vocab_size;
  TRY(check_token_ids(options.tokens, vocab));

  const int64_t sensible = step_tokens_for(vocab);
  const int64_t chunk = std::min(count, options.chunk > 0 ? options.chunk : sensible);
  auto engine = TRY(loaded.make_engine(
      {.context = count, .max_step_tokens = chunk, .max_sequences = 1, .max_logit_rows = chunk}));
  Sequence sequence(engine->pages());
  AtomicFile file = TRY(AtomicFile::create(options.output));
  const OnLogits write = [&](int64_t first, const StepLogits& logits) -> Status {
    TRY(check_finite(logits, first, loaded.label));
    return file.write(std::as_bytes(logits.values));
  };
  TRY(feed(*engine, sequence, options.tokens, chunk, write, options.cancel));
  return file.commit();
}

}  // namespace realm
