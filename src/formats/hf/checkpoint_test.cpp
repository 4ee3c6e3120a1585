#include "formats/hf/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "formats/gguf.h"
#include "formats/hf/family.h"
#include "formats/hf/rope.h"
#include "formats/open_model.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

const fs::path kShared = REALM_SHARED_DIR;

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("realm-hf-test-" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
  }
};

// Keys that say how and by whom a file was made, not what the model is.
bool may_differ(const std::string& key) {
  static const std::set<std::string> kKeys = {"general.name", "general.size_label",
                                              "general.quantization_version", "general.file_type",
                                              "general.alignment"};
  return kKeys.contains(key);
}

void expect_metadata(const Metadata& ours, const Metadata& reference) {
  for (const auto& [key, value] : reference.entries()) {
    if (may_differ(key)) continue;
    const MetadataValue* mine = ours.find(key);
    ASSERT_NE(mine, nullptr) << key;
    EXPECT_EQ(mine->gguf_type, value.gguf_type) << key;
    EXPECT_TRUE(mine->value == value.value) << key;
  }
}

void expect_tensors(const TensorDirectory& ours, const TensorDirectory& reference) {
  EXPECT_EQ(ours.tensors().size(), reference.tensors().size());
  for (const TensorInfo& tensor : reference.tensors()) {
    const TensorInfo* mine = ours.find(tensor.name);
    ASSERT_NE(mine, nullptr) << tensor.name;
    EXPECT_EQ(mine->shape, tensor.shape) << tensor.name;
    ASSERT_EQ(mine->dtype, tensor.dtype) << tensor.name;
    ASSERT_EQ(mine->data.size(), tensor.data.size()) << tensor.name;
    EXPECT_EQ(std::memcmp(mine->data.data(), tensor.data.data(), tensor.data.size()), 0)
        << tensor.name;
  }
}

TEST(Checkpoint, EqualsTheReferenceConversion) {
  if (!fs::exists(kShared / "golden")) GTEST_SKIP() << "no reference data in " << kShared;
  // Not gemma, whose reference names token 107 by itself; convert_test.cpp has its tensors.
  for (const char* name :
       {"llama-spm", "llama3-rope", "qwen2", "qwen3", "mixtral", "qwen3moe", "gemma2", "gemma3",
        "phi3", "gpt-oss", "deepseek2", "deepseek3", "qwen2moe", "olmoe", "olmo2", "exaone4",
        "granite", "ernie4_5", "seed-oss"}) {
    SCOPED_TRACE(name);
    const auto ours = open_model(kShared / "golden" / name);
    ASSERT_TRUE(ours.ok()) << ours.error().message;
    const auto reference = open_gguf(kShared / "golden" / name / "model.gguf");
    ASSERT_TRUE(reference.ok());
    expect_metadata((*ours)->metadata(), (*reference)->metadata());
    expect_tensors(**ours, **reference);
  }
}

TEST(Checkpoint, RealmTinyDecodesToItsQ8) {
  const fs::path folder = kShared / "models/realm-tiny";
  if (!fs::exists(folder)) GTEST_SKIP() << "no reference data in " << kShared;
  const auto ours = open_model(folder / "target");
  ASSERT_TRUE(ours.ok()) << ours.error().message;
  const auto reference = open_gguf(folder / "realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(reference.ok());
  expect_metadata((*ours)->metadata(), (*reference)->metadata());
  ASSERT_EQ((*ours)->tensors().size(), (*reference)->tensors().size());
  // The reference is quantized: rows in the right order are near it, others are not.
  for (const TensorInfo& tensor : (*reference)->tensors()) {
    const TensorInfo* mine = (*ours)->find(tensor.name);
    ASSERT_NE(mine, nullptr) << tensor.name;
    ASSERT_EQ(mine->shape, tensor.shape) << tensor.name;
    const size_t count = static_cast<size_t>(tensor.num_elements());
    std::vector<float> a(count), b(count);
    find_block_format(mine->dtype)->decode(mine->data.data(), a.data(), tensor.num_elements());
    find_block_format(tensor.dtype)->decode(tensor.data.data(), b.data(), tensor.num_elements());
    double error = 0, norm = 0;
    for (size_t i = 0; i < count; ++i) {
      error += (a[i] - b[i]) * (a[i] - b[i]);
      norm += a[i] * a[i];
    }
    EXPECT_LT(std::sqrt(error / norm), 0.02) << tensor.name;
  }
}

TEST(Checkpoint, OpensWithoutATokenizer) {
  const fs::path folder = kShared / "models/realm-tiny/draft";
  if (!fs::exists(folder)) GTEST_SKIP() << "no reference data in " << kShared;
  const auto draft = open_model(folder);
  ASSERT_TRUE(draft.ok()) << draft.error().message;
  EXPECT_FALSE((*draft)->metadata().contains("tokenizer.ggml.model"));
}

// A checkpoint of one layer, two heads of four dimensions and one key head, every weight its index.
std::string tiny_weights(const std::string& extra_name = "", int embedding_rows = 3) {
  std::string header = "{", data;
  const auto add = [&](const std::string& name, const std::vector<int>& shape) {
    size_t count = 1;
    std::string dims;
    for (const int d : shape) {
      dims += (dims.empty() ? "" : ",") + std::to_string(d);
      count *= static_cast<size_t>(d);
    }
    const size_t begin = data.size();
    for (size_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(i);
      data.append(reinterpret_cast<const char*>(&value), 4);
    }
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"F32\",\"shape\":[" +
              dims + "],\"data_offsets\":[" + std::to_string(begin) + "," +
              std::to_string(data.size()) + "]}";
  };
  const std::string layer = "model.layers.0.";
  add("lm_head.weight", {3, 8});
  add("model.norm.weight", {8});
  add(layer + "self_attn.q_proj.weight", {8, 8});
  add(layer + "self_attn.q_proj.bias", {8});
  add(layer + "self_attn.k_proj.weight", {4, 8});
  add(layer + "self_attn.v_proj.weight", {4, 8});
  add(layer + "self_attn.rotary_emb.inv_freq", {2});
  add("model.embed_tokens.weight", {embedding_rows, 8});
  if (!extra_name.empty()) add(extra_name, {2});
  header += "}";
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string tiny_config(const std::string& extra = "",
                        const std::string& name = "LlamaForCausalLM") {
  return R"({"architectures":[")" + name +
         R"("],"hidden_size":8,"num_attention_heads":2,"num_key_value_heads":1,)"
         R"("num_hidden_layers":1,"intermediate_size":16,"max_position_embeddings":64,)"
         R"("rms_norm_eps":1e-5,"vocab_size":3)" +
         extra + "}";
}

std::string error_of(const TemporaryFolder& folder) {
  const auto result = hf::Checkpoint::open(folder.path);
  return result.ok() ? "accepted" : result.error().message;
}

TEST(Checkpoint, InterleavesHeadsOfLlama) {
  EXPECT_EQ(hf::interleaved_rows(8, 2), (std::vector<int64_t>{0, 2, 1, 3, 4, 6, 5, 7}));
  TemporaryFolder folder;
  folder.write("config.json", tiny_config());
  folder.write("model.safetensors", tiny_weights());
  const auto model = open_model(folder.path);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto value = [&](const char* name, size_t index) {
    float f;
    std::memcpy(&f, (*model)->find(name)->data.data() + index * 4, 4);
    return f;
  };
  EXPECT_EQ(value("blk.0.attn_q.weight", 8), 16.0f);  // row 1 of the result is row 2
  EXPECT_EQ(value("blk.0.attn_q.bias", 1), 2.0f);
  EXPECT_EQ(value("blk.0.attn_k.weight", 8), 16.0f);
  EXPECT_EQ(value("blk.0.attn_v.weight", 8), 8.0f);
  EXPECT_EQ((*model)->tensors().front().name, "token_embd.weight");
  EXPECT_NE((*model)->find("output.weight"), nullptr);
  EXPECT_EQ((*model)->tensors().size(), 7u);

  folder.write("config.json", tiny_config(R"(,"tie_word_embeddings":true)"));
  EXPECT_EQ((*open_model(folder.path))->find("output.weight"), nullptr);
  folder.write("config.json", tiny_config("", "Qwen3ForCausalLM"));
  const auto qwen = open_model(folder.path);
  float second;
  std::memcpy(&second, (*qwen)->find("blk.0.attn_q.weight")->data.data() + 32, 4);
  EXPECT_EQ(second, 8.0f);
}

TEST(Checkpoint, SaysWhatIsWrong) {
  TemporaryFolder folder;
  const auto expect = [&](const char* part) {
    const std::string message = error_of(folder);
    EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
  };
  expect("config.json: cannot open");
  folder.write("config.json", tiny_config());
  expect("no model.safetensors");
  folder.write("model.safetensors", tiny_weights());
  EXPECT_EQ(error_of(folder), "accepted");
  folder.write("model.safetensors", tiny_weights("model.layers.1.mlp.up_proj.bias"));
  expect("belongs to a layer past the 1");
  folder.write("model.safetensors", tiny_weights("model.layers.0.mlp.router.weight"));
  expect("is none that LlamaForCausalLM has");
  folder.write("model.safetensors", tiny_weights("model.layers.00.mlp.up_proj.bias"));
  expect("is none that");
  folder.write("model.safetensors", tiny_weights("", 4));
  expect("has 4 rows, config.json's vocab_size is 3");
  folder.write("model.safetensors", tiny_weights());
  folder.write("config.json", tiny_config("", "BertModel"));
  expect("model class 'BertModel' is not supported; LlamaForCausalLM");
  folder.write("config.json", tiny_config(R"(,"hidden_act":"gelu")"));
  expect("hidden_act 'gelu'");
  folder.write("config.json", tiny_config(R"(,"hidden_act":"silu","hidden_act":"silu")"));
  expect("is there twice");
  folder.write("config.json", tiny_config(R"(,"head_dim":7)"));
  expect("head_dim");
  folder.write("config.json", tiny_config(R"(,"rope_scaling":{"type":"longrope"})"));
  expect("rope type 'longrope'");
  folder.write("config.json", "[1]");
  expect("expected a JSON object");
  folder.write("config.json", "{\"hidden_size\":");
  expect("not valid JSON");
  folder.write("config.json", std::string(5000, '{'));
  expect("not valid JSON");
}

Metadata rope_of(const std::string& extra) {
  const auto value = parse_json(tiny_config(extra), "config.json");
  EXPECT_TRUE(value.ok());
  Metadata metadata;
  const JsonObject config = *JsonObject::from(*value, "config.json");
  const Status status = hf::set_rope(config, "llama", 64, metadata);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return metadata;
}

TEST(Checkpoint, RopeInBothForms) {
  EXPECT_EQ(*rope_of("").get_float("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(*rope_of(R"(,"rope_theta":5e5)").get_float("llama.rope.freq_base"), 5e5);
  EXPECT_EQ(*rope_of(R"(,"rope_parameters":{"rope_theta":1e6,"rope_type":"default"})")
                 .get_float("llama.rope.freq_base"),
            1e6);
  for (const char* extra :
       {R"(,"rope_scaling":{"type":"linear","factor":4.0})",
        R"(,"rope_scaling":{"rope_type":"linear","factor":4.0})",
        R"(,"rope_parameters":{"rope_theta":1e4,"rope_type":"linear","factor":4})"}) {
    const Metadata m = rope_of(extra);
    EXPECT_EQ(*m.get_string("llama.rope.scaling.type"), "linear");
    EXPECT_EQ(*m.get_float("llama.rope.scaling.factor"), 4.0);
  }
  const Metadata yarn = rope_of(
      R"(,"rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":16,)"
      R"("beta_fast":30})");
  EXPECT_EQ(*yarn.get_string("llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(*yarn.get_int("llama.rope.scaling.original_context_length", 0, 99), 16);
  EXPECT_EQ(*yarn.get_float("llama.rope.scaling.yarn_beta_fast"), 30.0);
  EXPECT_FALSE(yarn.contains("llama.rope.scaling.attn_factor"));
  const Metadata scaled =
      rope_of(R"(,"rope_scaling":{"type":"yarn","factor":4.0,"attention_factor":1.0})");
  EXPECT_NEAR(*scaled.get_float("llama.rope.scaling.attn_factor"),
              1.0 / (0.1 * std::log(4.0) + 1.0), 1e-6);
  EXPECT_FALSE(rope_of(R"(,"rope_scaling":{"type":"dynamic","factor":2.0})")
                   .contains("llama.rope.scaling.type"));
}

}  // namespace
}  // namespace realm
