// The chat template that goes with a loaded file: its own, or a named built-in. Turns a
// conversation into the token ids that the model is given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "formats/tensor_directory.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace realm {

class PromptTemplate {
 public:
  // `name`: a built-in by name, a path to a .jinja file (it holds a '/' or ends in .jinja), or
  // empty for the file's own tokenizer.chat_template, or the built-in one that its vocabulary tells
  // of. Errors: kNotFound where the file has no template and none is named, or the name is unknown;
  // kBadModel where the template does not compile.
  static Result<PromptTemplate> create(const TensorDirectory& file, const Tokenizer& tokenizer,
                                       const std::string& name = {});

  // messages_json as in the OpenAI API; tools_json may be empty. The clock is read here.
  Result<std::string> render(std::string_view messages_json,
                             std::string_view tools_json = {}) const;
  const ChatTemplate& chat_template() const { return template_; }

 private:
  explicit PromptTemplate(ChatTemplate chat_template) : template_(std::move(chat_template)) {}
  ChatTemplate template_;
};

// A rendered prompt as ids: its special tokens are parsed, and none is added but a BOS that the
// model wants and the template did not write. `plain`: see EncodeOptions.
Result<std::vector<Token>> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt,
                                         std::span<const TextSpan> plain = {});

// Now, with this machine's offset from UTC.
ChatTemplateClock current_clock();

}  // namespace realm
