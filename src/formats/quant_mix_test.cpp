#include "formats/quant_mix.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

// Llama 3 8B's shapes: 32 layers, 8 of 32 heads for keys and values.
constexpr MixModel kLlama8B{.num_layers = 32, .gqa = 4};

std::string type_name(const Result<DType>& type) {
  return type.ok() ? find_block_format(*type)->name : "error: " + type.error().message;
}

std::string choose(std::string_view mix, const MixModel& model, std::string_view tensor,
                   std::vector<int64_t> shape = {4096, 4096}, const MixOptions& options = {},
                   DType current = DType::kBF16) {
  const QuantMix* found = find_quant_mix(mix);
  if (found == nullptr) return "no mix";
  return type_name(choose_type(*found, model, options, tensor, shape, current));
}

std::string choose_at(std::string_view mix, const MixModel& model, int layer, const char* part) {
  return choose(mix, model, "blk." + std::to_string(layer) + "." + part + ".weight");
}

TEST(QuantMix, EveryMixIsWellFormed) {
  std::map<std::string, int> names;
  for (const QuantMix& mix : quant_mixes()) {
    EXPECT_EQ(++names[mix.name], 1) << mix.name;
    EXPECT_EQ(find_quant_mix(mix.name), &mix);
    EXPECT_NE(find_block_format(mix.base), nullptr) << mix.name;
    EXPECT_NE(find_block_format(mix.output)->encode, nullptr) << mix.name;
  }
  EXPECT_EQ(find_quant_mix("q4_k_m"), find_quant_mix("Q4_K_M"));
  EXPECT_EQ(find_quant_mix("Q4_K"), find_quant_mix("Q4_K_M"));
  EXPECT_EQ(find_quant_mix("Q5_k"), find_quant_mix("Q5_K_M"));
  EXPECT_EQ(find_quant_mix("Q4_K_X"), nullptr);
  EXPECT_EQ(find_quant_mix(""), nullptr);
  EXPECT_EQ(find_quant_mix("Q4_K_M")->file_type, 15u);
}

// The types that llama.cpp gave the tensors of realm-tiny.
TEST(QuantMix, ChoosesAsTheGoldenFile) {
  const std::string path =
      std::string(REALM_SHARED_DIR) + "/models/realm-tiny/realm-tiny.Q4_K_M.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no file " << path;
  const auto golden = open_gguf(path).value();
  const MixModel model{.num_layers = 8, .gqa = 4, .tied_output = true};
  ASSERT_EQ(golden->find("output.weight"), nullptr);
  ASSERT_GT(golden->tensors().size(), 70u);
  const QuantMix& mix = *find_quant_mix("Q4_K_M");
  for (const TensorInfo& tensor : golden->tensors()) {
    const Result<DType> type = choose_type(mix, model, {}, tensor.name, tensor.shape, DType::kBF16);
    EXPECT_EQ(type_name(type), find_block_format(tensor.dtype)->name) << tensor.name;
  }
}

TEST(QuantMix, SensitiveLayersGetMoreBits) {
  // 32 layers: 0..3, 28..31, and every third of those between.
  const std::vector<int> more = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};
  for (int layer = 0; layer < 32; ++layer) {
    const bool expected = std::find(more.begin(), more.end(), layer) != more.end();
    for (const char* part : {"attn_v", "ffn_down"}) {
      EXPECT_EQ(choose_at("Q4_K_M", kLlama8B, layer, part), expected ? "Q6_K" : "Q4_K") << layer;
      EXPECT_EQ(choose_at("Q5_K_M", kLlama8B, layer, part), expected ? "Q6_K" : "Q5_K") << layer;
    }
    for (const char* part : {"attn_q", "attn_k", "attn_output", "ffn_up", "ffn_gate"}) {
      EXPECT_EQ(choose_at("Q4_K_M", kLlama8B, layer, part), "Q4_K") << layer;
    }
  }
}

TEST(QuantMix, LowBitMixesOfLlama8B) {
  const struct {
    const char* mix;
    int layer;
    const char* part;
    const char* type;
  } kCases[] = {
      {"Q4_K_S", 3, "attn_v", "Q5_K"},     {"Q4_K_S", 4, "attn_v", "Q4_K"},
      {"Q4_K_S", 3, "ffn_down", "Q5_K"},   {"Q4_K_S", 4, "ffn_down", "Q4_K"},
      {"Q3_K_S", 0, "attn_v", "Q3_K"},     {"Q3_K_M", 1, "attn_v", "Q5_K"},
      {"Q3_K_M", 2, "attn_v", "Q4_K"},     {"Q3_K_M", 1, "ffn_down", "Q5_K"},
      {"Q3_K_M", 2, "ffn_down", "Q4_K"},   {"Q3_K_M", 9, "attn_output", "Q4_K"},
      {"Q3_K_M", 9, "attn_k", "Q3_K"},     {"Q3_K_L", 9, "attn_output", "Q5_K"},
      {"Q3_K_L", 9, "ffn_down", "Q5_K"},   {"Q2_K", 9, "attn_v", "Q4_K"},
      {"Q2_K", 9, "ffn_down", "Q3_K"},     {"Q2_K", 9, "attn_output", "Q3_K"},
      {"Q2_K", 9, "ffn_up", "Q2_K"},       {"Q2_K_S", 3, "ffn_down", "Q4_K"},
      {"Q2_K_S", 4, "ffn_down", "Q2_K"},   {"IQ4_XS", 0, "attn_v", "Q5_K"},
      {"IQ4_XS", 3, "ffn_down", "Q5_K"},   {"IQ4_XS", 4, "ffn_down", "IQ4_XS"},
      {"IQ3_XXS", 9, "attn_q", "IQ3_XXS"}, {"IQ3_XXS", 9, "ffn_down", "Q3_K"},
      {"IQ3_XS", 4, "ffn_up", "IQ3_XXS"},  {"IQ3_XS", 3, "ffn_up", "IQ3_S"},
      {"IQ3_XS", 28, "ffn_gate", "IQ3_S"}, {"IQ3_M", 3, "ffn_down", "Q4_K"},
      {"IQ3_M", 4, "ffn_down", "IQ3_S"},   {"IQ3_M", 4, "attn_output", "Q4_K"},
      {"Q4_0", 0, "ffn_down", "Q4_0"},     {"Q8_0", 0, "ffn_down", "Q8_0"},
      {"Q6_K", 0, "attn_v", "Q6_K"},       {"TQ1_0", 9, "ffn_up", "TQ1_0"},
      {"MXFP4", 9, "ffn_up", "MXFP4"},     {"F16", 9, "ffn_up", "F16"},
      {"BF16", 9, "attn_v", "BF16"},       {"F32", 9, "attn_v", "F32"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(choose_at(c.mix, kLlama8B, c.layer, c.part), c.type)
        << c.mix << " " << c.layer << " " << c.part;
  }
}

TEST(QuantMix, ImportanceMatrix) {
  MixModel model = kLlama8B;
  model.has_imatrix = true;
  EXPECT_EQ(choose_at("Q4_0", model, 0, "ffn_down"), "Q4_1");
  EXPECT_EQ(choose_at("Q5_0", model, 3, "ffn_down"), "Q5_1");
  EXPECT_EQ(choose_at("Q5_0", model, 4, "ffn_down"), "Q5_0");
  EXPECT_EQ(choose_at("IQ4_XS", model, 0, "ffn_down"), "IQ4_XS");
  EXPECT_EQ(choose_at("IQ3_XXS", model, 9, "attn_q"), "IQ2_S");
  EXPECT_EQ(choose_at("IQ3_XXS", model, 9, "ffn_down"), "IQ3_XXS");
  EXPECT_EQ(choose_at("IQ2_XXS", model, 9, "ffn_up"), "IQ2_XXS");
  EXPECT_EQ(choose_at("IQ2_S", model, 9, "ffn_up"), "IQ2_XS");
  EXPECT_EQ(choose_at("IQ2_M", model, 9, "ffn_up"), "IQ2_S");
  EXPECT_EQ(choose_at("IQ2_M", model, 9, "attn_output"), "IQ3_S");
  EXPECT_EQ(choose_at("IQ1_S", model, 9, "attn_output"), "IQ2_XXS");
  EXPECT_EQ(choose_at("IQ1_S", model, 3, "ffn_down"), "Q2_K");
  EXPECT_EQ(choose_at("IQ1_M", model, 4, "ffn_down"), "IQ1_M");
  EXPECT_EQ(choose("IQ1_S", model, "token_embd.weight"), "Q2_K");
  EXPECT_EQ(choose("IQ1_S", model, "output.weight"), "Q5_K");

  const Result<DType> refused =
      choose_type(*find_quant_mix("IQ2_XS"), kLlama8B, {}, "blk.7.ffn_up.weight",
                  std::vector<int64_t>{64, 512}, DType::kF16);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().message,
            "IQ2_XS stores blk.7.ffn_up.weight as IQ2_XS, which needs an importance matrix; make "
            "one with `realm imatrix` and pass it with --imatrix");
}

TEST(QuantMix, OutputAndEmbedding) {
  EXPECT_EQ(choose("Q4_K_M", kLlama8B, "output.weight"), "Q6_K");
  EXPECT_EQ(choose("Q4_K_M", kLlama8B, "token_embd.weight"), "Q4_K");
  EXPECT_EQ(choose("Q8_0", kLlama8B, "output.weight"), "Q8_0");
  EXPECT_EQ(choose("F16", kLlama8B, "output.weight"), "F16");
  EXPECT_EQ(choose("TQ2_0", kLlama8B, "token_embd.weight"), "Q4_K");
  EXPECT_EQ(choose("IQ3_XXS", kLlama8B, "output.weight"), "Q5_K");
  MixModel tied = kLlama8B;
  tied.tied_output = true;
  EXPECT_EQ(choose("Q4_K_M", tied, "token_embd.weight"), "Q6_K");
  EXPECT_EQ(choose("Q4_K_M", tied, "token_embd.weight", {100, 96}), "Q8_0");

  EXPECT_EQ(choose("Q4_K_M", kLlama8B, "output.weight", {64, 256}, {.keep_output = true}), "BF16");
  EXPECT_EQ(choose("Q4_K_M", tied, "token_embd.weight", {64, 256}, {.keep_output = true}), "BF16");
  EXPECT_EQ(choose("Q4_K_M", kLlama8B, "token_embd.weight", {64, 256}, {.keep_output = true}),
            "Q4_K");
  EXPECT_EQ(choose("Q4_K_M", kLlama8B, "output.weight", {64, 256}, {.pure = true}), "Q4_K");
  EXPECT_EQ(choose("Q4_K_M", kLlama8B, "blk.0.attn_v.weight", {64, 256}, {.pure = true}), "Q4_K");
  EXPECT_EQ(
      choose("Q4_K_M", kLlama8B, "output.weight", {64, 256}, {.pure = true, .keep_output = true}),
      "BF16");
}

TEST(QuantMix, SomeTensorsStayFloat) {
  for (const char* mix : {"Q4_K_M", "F16", "Q8_0", "IQ2_XS"}) {
    EXPECT_EQ(choose(mix, kLlama8B, "blk.0.attn_norm.weight", {4096}), "F32");
    EXPECT_EQ(choose(mix, kLlama8B, "blk.0.attn_q_norm.weight", {8, 128}), "F32");
    EXPECT_EQ(choose(mix, kLlama8B, "blk.0.attn_q.bias", {4096}), "F32");
    EXPECT_EQ(choose(mix, kLlama8B, "rope_freqs.weight", {64}), "F32");
    EXPECT_EQ(choose(mix, kLlama8B, "blk.3.ffn_gate_inp.weight", {128, 2048}), "F32");
    EXPECT_EQ(choose(mix, kLlama8B, "position_embd.weight", {512, 768}), "F32");
  }
  const Result<DType> integers =
      choose_type(*find_quant_mix("Q4_K_M"), kLlama8B, {}, "blk.0.ids.weight",
                  std::vector<int64_t>{4, 256}, DType::kI32);
  EXPECT_EQ(integers.value(), DType::kI32);
}

TEST(QuantMix, FallsBackByRowLength) {
  const std::vector<int64_t> of_32 = {64, 96}, of_8 = {64, 104};
  const struct {
    const char* mix;
    const char* type;
  } kCases[] = {{"Q2_K_S", "Q4_0"},   {"Q3_K_S", "Q4_0"},  {"Q4_K_S", "Q5_0"},
                {"Q5_K_S", "Q5_1"},   {"Q6_K", "Q8_0"},    {"TQ1_0", "Q4_0"},
                {"IQ4_XS", "IQ4_NL"}, {"IQ3_S", "IQ4_NL"}, {"IQ2_XS", "IQ4_NL"},
                {"IQ1_M", "IQ4_NL"},  {"Q4_0", "Q4_0"},    {"Q1_0", "Q4_0"},
                {"Q2_0", "Q4_0"}};
  for (const auto& [mix, type] : kCases) {
    EXPECT_EQ(choose(mix, kLlama8B, "blk.9.ffn_up.weight", of_32), type) << mix;
    EXPECT_EQ(choose(mix, kLlama8B, "blk.9.ffn_up.weight", of_8), "F16") << mix;
  }
}

TEST(QuantMix, Experts) {
  MixModel mixtral = kLlama8B;
  mixtral.num_experts = 8;
  EXPECT_EQ(choose_at("Q4_K_M", mixtral, 9, "attn_v"), "Q8_0");
  EXPECT_EQ(choose_at("Q4_K_M", mixtral, 9, "attn_k"), "Q8_0");
  EXPECT_EQ(choose_at("Q4_K_M", mixtral, 9, "attn_output"), "Q5_K");
  EXPECT_EQ(choose("Q4_K_M", mixtral, "blk.3.ffn_down_exps.weight", {8, 4096, 14336}), "Q6_K");
  EXPECT_EQ(choose("Q4_K_M", mixtral, "blk.4.ffn_down_exps.weight", {8, 4096, 14336}), "Q4_K");
  EXPECT_EQ(choose("MXFP4_MOE", mixtral, "blk.4.ffn_up_exps.weight", {8, 14336, 4096}), "MXFP4");
  EXPECT_EQ(choose("MXFP4_MOE", mixtral, "blk.4.attn_q.weight", {4096, 4096}), "Q8_0");
}

TEST(QuantMix, DeepModelsWithSharedKv) {
  const MixModel llama70b{.num_layers = 80, .gqa = 8};
  EXPECT_EQ(choose_at("Q4_K_M", llama70b, 11, "attn_v"), "Q5_K");
  EXPECT_EQ(choose_at("Q4_K_M", llama70b, 12, "attn_v"), "Q6_K");
  EXPECT_EQ(choose_at("Q3_K_S", llama70b, 40, "attn_v"), "Q5_K");
}

}  // namespace
}  // namespace realm
