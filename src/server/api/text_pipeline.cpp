#include "server/api/text_pipeline.h"

namespace realm::server {

Result<TextPipeline> TextPipeline::create(const Tokenizer& tokenizer, std::vector<std::string> stop,
                                          bool include_stop) {
  return TextPipeline(TRY(StopStrings::create(std::move(stop), include_stop)),
                      StreamingDetokenizer(tokenizer));
}

std::string TextPipeline::push(Token token) {
  if (stopped()) return {};
  return stops_.push(detokenizer_.push(token));
}

std::string TextPipeline::finish() {
  if (stopped()) return {};
  std::string text = stops_.push(detokenizer_.finish());
  if (!stopped()) text += stops_.finish();
  return text;
}

}  // namespace realm::server
