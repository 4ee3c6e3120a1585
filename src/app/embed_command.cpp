#include "app/embed_command.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "app/feed.h"
#include "base/file.h"
#include "base/json_writer.h"

namespace realm {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;
constexpr int64_t kStepTokens = 512;

Result<std::vector<std::vector<Token>>> inputs_of(const EmbedOptions& options,
                                                  const LoadedModel& loaded) {
  std::vector<std::vector<Token>> inputs;
  if (options.tokens) inputs.push_back(*options.tokens);
  for (const std::string& text : options.texts) {
    inputs.push_back(TRY(loaded.tokenizer->encode(text, {})));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto count = static_cast<int64_t>(inputs[i].size());
    if (count == 0) {
      return Error{ErrorCode::kInvalidArgument, "text " + std::to_string(i + 1) + " is empty"};
    }
    if (count > loaded.context) {
      return Error{ErrorCode::kInvalidArgument,
                   "text " + std::to_string(i + 1) + " has " + std::to_string(count) +
                       " tokens, and the context holds " + std::to_string(loaded.context)};
    }
    TRY(check_token_ids(inputs[i], loaded.model->info().vocab_size));
  }
  return inputs;
}

Result<std::vector<float>> embed(Engine& engine, std::span<const Token> tokens, Pooling pooling) {
  Sequence sequence(engine.pages());
  Pooler pooler(pooling);
  const auto step = static_cast<size_t>(engine.options().max_step_tokens);
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    const auto piece = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    std::vector<std::pair<PageId, PageId>> copies;
    TRY(sequence.reserve(static_cast<int64_t>(piece.size()), copies));
    const auto position = static_cast<int64_t>(begin);
    const StepItem item{.sequence = &sequence, .tokens = piece, .logits = pooler.wants(position)};
    const StepHidden hidden = TRY(engine.step_hidden({&item, 1}));
    pooler.add(position, hidden.values, hidden.size);
  }
  return pooler.result();
}

}  // namespace

Result<std::vector<std::string>> read_lines(const std::string& path, std::FILE* input) {
  std::string all;
  if (path == "-") {
    char buffer[1 << 16];
    size_t count;
    while ((count = std::fread(buffer, 1, sizeof buffer, input)) > 0) {
      all.append(buffer, count);
      if (all.size() > kMaxTextBytes) {
        return Error{ErrorCode::kInvalidArgument, "standard input has more than 1 GiB of text"};
      }
    }
    if (std::ferror(input) != 0) {
      return Error{ErrorCode::kIo,
                   std::string("cannot read standard input: ") + std::strerror(errno)};
    }
  } else {
    all = TRY(read_text_file(path, kMaxTextBytes));
  }
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    if (end > begin) lines.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  if (lines.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 (path == "-" ? std::string("standard input") : path) + " holds no text"};
  }
  return lines;
}

Status embed_command(const EmbedOptions& options, std::FILE* output) {
  const LoadedModel loaded = TRY(load_for_running(options.model));
  const ModelInfo& info = loaded.model->info();
  const Pooling pooling = options.pooling ? *options.pooling : TRY(pooling_of(info));
  const auto inputs = TRY(inputs_of(options, loaded));
  int64_t longest = 1;
  for (const auto& tokens : inputs) {
    longest = std::max(longest, static_cast<int64_t>(tokens.size()));
  }
  auto engine = TRY(loaded.make_engine({.context = longest,
                                        .max_step_tokens = std::min(longest, kStepTokens),
                                        .max_sequences = 1,
                                        .max_logit_rows = 1,
                                        .embeddings = true}));
  for (const auto& tokens : inputs) {
    if (options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed)) {
      return Error{ErrorCode::kCancelled, "interrupted"};
    }
    std::vector<float> vector = TRY(embed(*engine, tokens, pooling));
    if (options.normalize) normalize(vector);
    JsonWriter json;
    json.begin_array();
    for (const float value : vector) json.float32(value);
    const std::string line = json.end_array().line();
    if (std::fwrite(line.data(), 1, line.size(), output) != line.size() ||
        std::fflush(output) != 0) {
      return Error{ErrorCode::kIo, std::string("cannot write the result: ") + std::strerror(errno)};
    }
  }
  return {};
}

}  // namespace realm
