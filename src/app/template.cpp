#include "app/template.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "app/model_loader.h"
#include "base/file.h"
#include "text/chat_template_model.h"
#include "text/prompt_template.h"

namespace realm {
namespace {

constexpr size_t kJsonBytesMax = size_t{256} << 20;
constexpr size_t kTemplateBytesMax = size_t{1} << 20;

Result<std::string> read_input(const std::string& path) {
  if (path != "-") return read_text_file(path, kJsonBytesMax);
  std::string text;
  char buffer[1 << 16];
  while (const size_t count = std::fread(buffer, 1, sizeof buffer, stdin)) {
    text.append(buffer, count);
    if (text.size() > kJsonBytesMax) {
      return Error{ErrorCode::kInvalidArgument,
                   "standard input has more than " + std::to_string(kJsonBytesMax) + " bytes"};
    }
  }
  if (std::ferror(stdin) != 0) {
    return Error{ErrorCode::kIo, "standard input cannot be read"};
  }
  return text;
}

// {"name": JSON, ...}, each JSON as it was given.
Result<std::string> variables_object(const std::vector<std::string>& settings) {
  std::string object;
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Error{
          ErrorCode::kInvalidArgument,
          "--set " + setting + ": write it as NAME=JSON, as in --set enable_thinking=false"};
    }
    const std::string name = setting.substr(0, equals);
    const std::string value = setting.substr(equals + 1);
    boost::system::error_code error;
    boost::json::parse(value, error);
    if (error) {
      return Error{ErrorCode::kInvalidArgument,
                   "--set " + setting + ": what follows the '=' is not JSON (text needs quotes: " +
                       "--set '" + name + "=\"...\"')"};
    }
    object += (object.empty() ? "{" : ",") + boost::json::serialize(boost::json::string(name)) +
              ":" + value;
  }
  return object.empty() ? object : object + "}";
}

}  // namespace

Result<std::string> run_template(const TemplateOptions& options) {
  const std::string messages = TRY(read_input(options.messages));
  const std::string tools = options.tools.empty() ? "" : TRY(read_input(options.tools));
  const std::string variables = TRY(variables_object(options.set));

  const auto model = TRY(open_model_argument(options.model));
  const Metadata& metadata = model->metadata();
  Result<ChatTemplate> compiled = Error{ErrorCode::kNotFound, ""};
  if (options.file.empty()) {
    compiled = chat_template_of(metadata, !tools.empty());
    if (!compiled.ok()) return compiled.error().at(model_label(options.model));
  } else {
    const std::string source = TRY(read_text_file(options.file, kTemplateBytesMax));
    compiled = ChatTemplate::compile(source, TRY(chat_template_tokens(metadata)));
    if (!compiled.ok()) return compiled.error().at(options.file);
  }
  auto prompt = compiled->render({.messages_json = messages,
                                  .tools_json = tools,
                                  .variables_json = variables,
                                  .add_generation_prompt = options.add_generation_prompt,
                                  .now = current_clock()});
  if (!prompt.ok()) return prompt.error().at(options.messages);
  return prompt;
}

}  // namespace realm
