#include "app/answering.h"

#include "engine/stop_strings.h"
#include "text/detokenizer.h"

namespace realm {

Result<std::unique_ptr<Answering>> Answering::create(const LoadedModel& model) {
  std::unique_ptr<Engine> engine =
      TRY(model.make_engine({.context = 0, .max_sequences = 1, .max_logit_rows = 1}));
  return std::unique_ptr<Answering>(new Answering(model, std::move(engine)));
}

Result<GenerationResult> Answering::answer(const AnswerRequest& request,
                                           const std::function<void(std::string_view)>& on_text) {
  const Tokenizer& tokenizer = *model_.tokenizer;
  StopStrings stops = TRY(StopStrings::create(request.stop));
  StreamingDetokenizer detokenizer(tokenizer);
  GenerationRequest generation{
      .prompt = request.prompt,
      .sampling = request.sampling,
      .token_text = [&](Token token) { return tokenizer.piece(token); },
      .max_tokens = request.max_tokens,
      .stop_tokens = {},
      .cancel = request.cancel,
  };
  if (!request.ignore_end) {
    generation.stop_tokens.assign(tokenizer.eog_tokens().begin(), tokenizer.eog_tokens().end());
  }
  const auto emit = [&](const std::string& text) {
    if (!text.empty()) on_text(text);
  };
  const GenerationResult result =
      TRY(generate(*engine_, sequence_, generation, [&](const Sampled& sampled) {
        emit(stops.push(detokenizer.push(sampled.token)));
        return !stops.stopped();
      }));
  if (!stops.stopped()) {
    emit(stops.push(detokenizer.finish()));
    if (!stops.stopped()) emit(stops.finish());
  }
  return result;
}

}  // namespace realm
