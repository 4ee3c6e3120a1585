#include "text/chat_template_model.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

constexpr const char* kHi = R"([{"role":"user","content":"Hi"}])";

Metadata metadata_with(std::vector<std::string> tokens) {
  Metadata metadata;
  metadata.set_strings("tokenizer.ggml.tokens", std::move(tokens));
  return metadata;
}

std::string prompt(const Metadata& metadata, bool with_tools = false) {
  Result<ChatTemplate> compiled = chat_template_of(metadata, with_tools);
  if (!compiled.ok()) return compiled.error().message;
  Result<std::string> text = compiled->render({.messages_json = kHi});
  return text.ok() ? *text : text.error().message;
}

TEST(ModelChatTemplate, OwnTemplateWithItsTokens) {
  Metadata metadata = metadata_with({"<unk>", "<s>", "</s>"});
  metadata.set_uint32("tokenizer.ggml.bos_token_id", 1);
  metadata.set_uint32("tokenizer.ggml.eos_token_id", 2);
  metadata.set_string("tokenizer.chat_template",
                      "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}");
  EXPECT_EQ(prompt(metadata), "<s>Hi</s>");
  EXPECT_EQ(prompt(metadata, true), "<s>Hi</s>");
  metadata.set_string("tokenizer.chat_template.tool_use", "T");
  EXPECT_EQ(prompt(metadata), "<s>Hi</s>");
  EXPECT_EQ(prompt(metadata, true), "T");
}

TEST(ModelChatTemplate, BuiltInWhereTheVocabularyTells) {
  EXPECT_EQ(prompt(metadata_with({"a", "<|im_start|>"})),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_TRUE(prompt(metadata_with({"<start_of_turn>"})).starts_with("<start_of_turn>user\nHi"));
  const std::string none = prompt(metadata_with({"a", "b"}));
  EXPECT_TRUE(none.starts_with("the model has no chat template")) << none;
  EXPECT_TRUE(prompt(Metadata()).starts_with("the model has no chat template"));
}

TEST(ModelChatTemplate, BadMetadata) {
  Metadata metadata = metadata_with({"a"});
  metadata.set_string("tokenizer.chat_template", "x\n{% if %}");
  EXPECT_TRUE(prompt(metadata).starts_with("tokenizer.chat_template: chat template: "))
      << prompt(metadata);
  metadata.set_uint32("tokenizer.ggml.bos_token_id", 1);
  EXPECT_EQ(prompt(metadata), "tokenizer.ggml.bos_token_id is 1, but the vocabulary has 1 tokens");
}

}  // namespace
}  // namespace realm
