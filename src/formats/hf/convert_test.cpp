#include "formats/hf/convert.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "formats/gguf.h"
#include "formats/quant/quant_table.h"
#include "formats/safetensors.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

const fs::path kShared = REALM_SHARED_DIR;

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("realm-convert-test-" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

std::vector<float> values_of(const TensorDirectory& directory, const std::string& name) {
  const TensorInfo* tensor = directory.find(name);
  if (tensor == nullptr) return {};
  std::vector<float> values(static_cast<size_t>(tensor->num_elements()));
  find_block_format(tensor->dtype)
      ->decode(tensor->data.data(), values.data(), tensor->num_elements());
  return values;
}

void expect_equal_tensors(const TensorDirectory& a, const TensorDirectory& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& tensor : a.tensors()) {
    const TensorInfo* other = b.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    ASSERT_EQ(tensor.dtype, other->dtype) << tensor.name;
    ASSERT_EQ(tensor.data.size(), other->data.size()) << tensor.name;
    EXPECT_EQ(std::memcmp(tensor.data.data(), other->data.data(), tensor.data.size()), 0)
        << tensor.name;
  }
}

TEST(Convert, CheckpointEqualsTheReference) {
  if (!fs::exists(kShared / "golden")) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const std::string file = out.path / "m.gguf";
  for (const char* name :
       {"llama-spm", "llama3-rope", "qwen2",   "qwen3",     "mixtral",   "qwen3moe", "gemma2",
        "gemma3",    "phi3",        "gpt-oss", "deepseek2", "deepseek3", "qwen2moe", "olmoe",
        "olmo2",     "exaone4",     "granite", "ernie4_5",  "seed-oss",  "gemma"}) {
    SCOPED_TRACE(name);
    const fs::path folder = kShared / "golden" / name;
    size_t calls = 0;
    hf::ConvertSettings settings;
    settings.on_tensor = [&](size_t, size_t) { ++calls; };
    const Status status = hf::convert_checkpoint(folder, file, settings);
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto ours = open_gguf(file);
    ASSERT_TRUE(ours.ok()) << ours.error().message;
    const auto reference = open_gguf(folder / "model.gguf");
    expect_equal_tensors(**ours, **reference);
    EXPECT_EQ(calls, (*ours)->tensors().size());
    EXPECT_EQ(*(*ours)->metadata().get_int("general.file_type", 0, 99), 1);

    settings.type = "f32";
    ASSERT_TRUE(hf::convert_checkpoint(folder, file, settings).ok());
    const auto wide = open_gguf(file);
    EXPECT_EQ((*wide)->find("token_embd.weight")->dtype, DType::kF32);
    EXPECT_EQ(values_of(**wide, "blk.1.attn_q.weight"),
              values_of(**reference, "blk.1.attn_q.weight"));
  }
}

TEST(Convert, RefusesTypesItCannotWrite) {
  if (!fs::exists(kShared / "golden")) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const auto convert = [&](const std::string& type) {
    const Status status =
        hf::convert_checkpoint(kShared / "golden/qwen3", out.path / "m.gguf", {type, {}});
    return status.ok() ? "accepted" : status.error().message;
  };
  EXPECT_NE(convert("Q9_9").find("there is no type 'Q9_9'; there are F32"), std::string::npos);
  EXPECT_NE(convert("Q8_K").find("there is no type 'Q8_K'"), std::string::npos);
  EXPECT_NE(convert("IQ2_XXS").find("imatrix"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(out.path));
}

TEST(Convert, QuantizesOnTheWay) {
  const fs::path folder = kShared / "models/realm-tiny";
  if (!fs::exists(folder)) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const std::string file = out.path / "m.gguf";
  const Status status = hf::convert_checkpoint(folder / "target", file, {"Q8_0", {}});
  ASSERT_TRUE(status.ok()) << status.error().message;
  const auto ours = open_gguf(file);
  const auto reference = open_gguf(folder / "realm-tiny.Q8_0.gguf");
  for (const TensorInfo& tensor : (*reference)->tensors()) {
    const TensorInfo* mine = (*ours)->find(tensor.name);
    ASSERT_NE(mine, nullptr) << tensor.name;
    EXPECT_EQ(mine->dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(mine->data.size(), tensor.data.size()) << tensor.name;
  }
  EXPECT_EQ(*(*ours)->metadata().get_int("general.file_type", 0, 99), 7);
  ASSERT_TRUE(hf::convert_checkpoint(folder / "target", file, {"q4_k_m", {}}).ok());
  EXPECT_EQ((*open_gguf(file))->find("token_embd.weight")->dtype, DType::kQ6_K);
}

TEST(Convert, AdapterEqualsTheReference) {
  const fs::path folder = kShared / "golden-lora/lora-llama-qv";
  if (!fs::exists(folder)) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const std::string file = out.path / "a.gguf";
  const auto reference = open_gguf(folder / "adapter.gguf");
  for (const char* base : {"golden/llama-spm", "golden/llama-spm/model.gguf"}) {
    const Status status = hf::convert_adapter(folder, kShared / base, file, {});
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto ours = open_gguf(file);
    ASSERT_TRUE(ours.ok());
    expect_equal_tensors(**ours, **reference);
    for (const char* key : {"general.architecture", "general.type", "adapter.type"}) {
      EXPECT_EQ(*(*ours)->metadata().get_string(key), *(*reference)->metadata().get_string(key));
    }
    EXPECT_EQ(*(*ours)->metadata().get_float("adapter.lora.alpha"), 8.0);
  }
}

// What a reader scales the pair by, times B, against B of the PEFT file (rows not reordered).
void expect_scaled(const TensorDirectory& adapter, const std::string& name, double scale,
                   const TensorDirectory& peft, const std::string& peft_name) {
  const std::vector<float> ours = values_of(adapter, name + ".lora_b");
  std::vector<float> original = values_of(peft, peft_name);
  ASSERT_EQ(ours.size(), original.size());
  const double alpha = *adapter.metadata().get_float("adapter.lora.alpha");
  const double rank = static_cast<double>(adapter.find(name + ".lora_b")->shape[1]);
  for (size_t i = 0; i < ours.size(); ++i) {
    ASSERT_NEAR(ours[i] * alpha / rank, original[i] * scale, 1e-6 * std::abs(original[i] * scale));
  }
}

TEST(Convert, FoldsScalesThatGgufCannotSay) {
  if (!fs::exists(kShared / "golden-lora")) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const std::string file = out.path / "a.gguf";
  const auto peft_of = [](const fs::path& folder) {
    std::ifstream in(folder / "adapter_model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const fs::path rs = kShared / "golden-lora/lora-llama-rs";  // rank 16, alpha 32, 1/sqrt(rank)
  ASSERT_TRUE(hf::convert_adapter(rs, kShared / "golden/llama-spm", file, {}).ok());
  {
    const auto ours = open_gguf(file);
    const std::string bytes = peft_of(rs);
    const auto peft = parse_safetensors(std::as_bytes(std::span(bytes)), "peft");
    expect_scaled(**ours, "blk.0.ffn_down.weight", 32.0 / 4.0, **peft,
                  "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight");
  }
  const fs::path pattern =
      kShared / "golden-lora/lora-qwen3-pattern";  // down_proj: rank 12, alpha 6
  ASSERT_TRUE(hf::convert_adapter(pattern, kShared / "golden/qwen3", file, {}).ok());
  const auto ours = open_gguf(file);
  const std::string bytes = peft_of(pattern);
  const auto peft = parse_safetensors(std::as_bytes(std::span(bytes)), "peft");
  expect_scaled(**ours, "blk.1.ffn_down.weight", 6.0 / 12.0, **peft,
                "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
  expect_scaled(**ours, "blk.0.attn_q.weight", 16.0 / 2.0, **peft,
                "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  expect_scaled(**ours, "blk.1.attn_q.weight", 16.0 / 8.0, **peft,
                "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight");
}

TEST(Convert, AdapterOfEmbeddings) {
  const fs::path folder = kShared / "golden-lora/lora-llama3-head";
  if (!fs::exists(folder)) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const std::string file = out.path / "a.gguf";
  ASSERT_TRUE(hf::convert_adapter(folder, kShared / "golden/llama3-rope", file, {}).ok());
  const auto ours = open_gguf(file);
  EXPECT_EQ((*ours)->find("token_embd.weight.lora_a")->shape, (std::vector<int64_t>{457, 8}));
  EXPECT_EQ((*ours)->find("token_embd.weight.lora_b")->shape, (std::vector<int64_t>{128, 8}));
}

TEST(Convert, AdapterErrors) {
  const fs::path source = kShared / "golden-lora/lora-llama-qv";
  if (!fs::exists(source)) GTEST_SKIP() << "no reference data in " << kShared;
  TemporaryFolder out;
  const fs::path folder = out.path / "adapter";
  fs::create_directories(folder);
  std::ifstream in(source / "adapter_config.json");
  const std::string config(std::istreambuf_iterator<char>(in), {});
  fs::copy(source / "adapter_model.safetensors", folder / "adapter_model.safetensors");
  const auto expect = [&](const std::string& from, const std::string& to, const char* part,
                          const char* base = "golden/llama-spm") {
    std::string text = config;
    if (!from.empty()) {
      ASSERT_NE(text.find(from), std::string::npos) << from;
      text.replace(text.find(from), from.size(), to);
    }
    std::ofstream(folder / "adapter_config.json") << text;
    const Status status = hf::convert_adapter(folder, kShared / base, out.path / "a.gguf", {});
    ASSERT_FALSE(status.ok()) << to;
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
  };
  expect("\"use_dora\": false", "\"use_dora\": true", "'use_dora'");
  expect("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]", "'modules_to_save'");
  expect("\"LORA\"", "\"IA3\"", "peft_type 'IA3'");
  expect("\"r\": 4", "\"r\": 5", "has rank 4 in the weights");
  expect("\"r\": 4", "\"r\": 0", "field 'r'");
  expect("\"lora_alpha\": 8", "\"lora_alpha\": 0", "lora_alpha");
  expect("\"alpha_pattern\": {}", "\"alpha_pattern\": {\".*q_proj\": 3}", "regular expressions");
  expect("\"bias\": \"none\"", "\"bias\": \"all\"", "field 'bias'");
  expect("", "", "are not supported", "golden/mamba/model.gguf");
  fs::remove(folder / "adapter_model.safetensors");
  expect("", "", "cannot open");
  EXPECT_FALSE(fs::exists(out.path / "a.gguf"));
}

}  // namespace
}  // namespace realm
