// The handlers, one file each; the route table (routes.cpp) says where they answer.
#pragma once

#include "server/api/call.h"

namespace realm::server {

// OpenAI.
void chat_completions(Call& call);
void completions(Call& call);
void responses(Call& call);
void embeddings(Call& call);
void list_models(Call& call);
void show_model(Call& call);
// Anthropic.
void messages(Call& call);
void count_tokens(Call& call);
// ollama.
void ollama_chat(Call& call);
void ollama_generate(Call& call);
void ollama_embed(Call& call);
void ollama_embeddings(Call& call);
void ollama_tags(Call& call);
void ollama_show(Call& call);
void ollama_version(Call& call);
void ollama_ps(Call& call);
// llama.cpp's and our own.
void tokenize(Call& call);
void detokenize(Call& call);
void health(Call& call);
void ready(Call& call);
void version(Call& call);
void metrics(Call& call);
void openapi(Call& call);

}  // namespace realm::server
