// Tokens of one stream to the text a client may see: whole characters, up to the first stop string.
// Where a request has stop strings this runs as tokens are made, so that not one is made too many;
// otherwise on the I/O thread. One thread at a time either way.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/stop_strings.h"
#include "text/detokenizer.h"

namespace realm::server {

class TextPipeline {
 public:
  // `tokenizer` outlives the pipeline. Errors: those of StopStrings::create.
  static Result<TextPipeline> create(const Tokenizer& tokenizer, std::vector<std::string> stop,
                                     bool include_stop);

  // The text that is certain after this token.
  std::string push(Token token);
  // At the end: what was held back and is text after all.
  std::string finish();
  bool stopped() const { return stops_.stopped(); }
  const std::string& matched() const { return stops_.matched(); }

 private:
  TextPipeline(StopStrings stops, StreamingDetokenizer detokenizer)
      : stops_(std::move(stops)), detokenizer_(std::move(detokenizer)) {}

  StopStrings stops_;
  StreamingDetokenizer detokenizer_;
};

}  // namespace realm::server
