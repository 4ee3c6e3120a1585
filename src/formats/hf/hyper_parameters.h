// A family's hyper-parameters, from config.json's names to GGUF's keys. Each function checks what
// it reads and refuses settings that a GGUF file of the architecture cannot say.
#pragma once

#include "formats/json.h"
#include "formats/metadata.h"

namespace realm::hf {

constexpr int64_t kMaxLayers = 100000;
constexpr int64_t kMaxExperts = 65536;

// A dense decoder with grouped-query attention and a gated SiLU feed-forward.
Status set_dense_decoder(const JsonObject& config, const std::string& architecture,
                         Metadata& metadata);
// The same with mixtures of experts in every layer (Mixtral, Qwen3).
Status set_expert_decoder(const JsonObject& config, const std::string& architecture,
                          Metadata& metadata);
// Mixtures of experts whose weights are not divided by their sum; Qwen2's have shared ones.
Status set_olmoe(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_qwen2moe(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_exaone4(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_granite(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_gemma1(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_gemma2(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_gemma3(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_phi3(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_gpt_oss(const JsonObject& config, const std::string& architecture, Metadata& metadata);
Status set_deepseek2(const JsonObject& config, const std::string& architecture, Metadata& metadata);

}  // namespace realm::hf
