#include "formats/synth.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "formats/gguf.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

struct TemporaryFile {
  fs::path path =
      fs::temp_directory_path() / ("realm-synth-" + std::to_string(::getpid()) + ".gguf");
  ~TemporaryFile() { fs::remove(path); }
};

TEST(Synth, WritesAModelOfThePresetsShape) {
  TemporaryFile file;
  SynthSettings settings;
  settings.preset = "qwen3-0.6b";
  settings.layers = 1;
  const Status status = write_synthetic_model(file.path, settings);
  ASSERT_TRUE(status.ok()) << status.error().message;
  const auto model = open_gguf(file.path);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(*(*model)->metadata().get_int("qwen3.block_count", 0, 99), 1);
  EXPECT_EQ((*model)->find("token_embd.weight")->shape, (std::vector<int64_t>{151936, 1024}));
  EXPECT_EQ((*model)->find("blk.0.attn_q.weight")->shape, (std::vector<int64_t>{2048, 1024}));
  EXPECT_EQ((*model)->find("output.weight"), nullptr);
  EXPECT_EQ((*model)->tensors().size(), 13u);

  const TensorInfo* down = (*model)->find("blk.0.ffn_down.weight");
  ASSERT_EQ(down->dtype, DType::kQ8_0);
  std::vector<float> values(static_cast<size_t>(down->num_elements()));
  find_block_format(down->dtype)->decode(down->data.data(), values.data(), down->num_elements());
  double sum = 0, squares = 0;
  for (const float v : values) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const double n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0.0, 0.001);
  EXPECT_NEAR(std::sqrt(squares / n * 3072), 1.0, 0.02);
  // Rows are alike but not the same.
  EXPECT_NE(std::memcmp(down->data.data(), down->data.data() + down->data.size() / 2,
                        down->data.size() / 1024),
            0);
}

TEST(Synth, SameSeedSameFile) {
  TemporaryFile file;
  SynthSettings settings{"tinyllama", "Q4_0", 1, 7, {}};
  std::vector<std::byte> first;
  for (int round = 0; round < 3; ++round) {
    settings.seed = round < 2 ? 7 : 8;
    ASSERT_TRUE(write_synthetic_model(file.path, settings).ok());
    const auto model = open_gguf(file.path);
    const auto data = (*model)->find("blk.0.attn_v.weight")->data;
    if (round == 0) first.assign(data.begin(), data.end());
    EXPECT_EQ(std::equal(first.begin(), first.end(), data.begin()), round < 2);
  }
}

TEST(Synth, MixesTypes) {
  TemporaryFile file;
  ASSERT_TRUE(write_synthetic_model(file.path, {"tinyllama", "Q4_K_M", 2, 1, {}}).ok());
  const auto model = open_gguf(file.path);
  EXPECT_EQ((*model)->find("blk.0.attn_q.weight")->dtype, DType::kQ4_K);
  EXPECT_EQ((*model)->find("output.weight")->dtype, DType::kQ6_K);
  EXPECT_EQ(*(*model)->metadata().get_int("general.file_type", 0, 99), 15);
}

TEST(Synth, VocabularyIsWhole) {
  for (const int size : {1024, 32000, 151936}) {
    Metadata m;
    set_synthetic_vocabulary(size, m);
    const auto& tokens = **m.get_strings("tokenizer.ggml.tokens");
    const auto& merges = **m.get_strings("tokenizer.ggml.merges");
    ASSERT_EQ(tokens.size(), static_cast<size_t>(size));
    EXPECT_EQ(merges.size(), tokens.size() - 259);
    const std::set<std::string> known(tokens.begin(), tokens.end());
    EXPECT_EQ(known.size(), tokens.size());
    for (const std::string& merge : merges) {
      const size_t space = merge.find(' ');
      ASSERT_TRUE(known.contains(merge.substr(0, space)) &&
                  known.contains(merge.substr(space + 1)) &&
                  known.contains(merge.substr(0, space) + merge.substr(space + 1)))
          << merge;
    }
  }
}

TEST(Synth, SaysWhatIsWrong) {
  TemporaryFile file;
  const auto error = [&](SynthSettings settings) {
    const Status status = write_synthetic_model(file.path, settings);
    return status.ok() ? "accepted" : status.error().message;
  };
  EXPECT_NE(error({"llama-9b", "Q8_0", 1, 1, {}}).find("no preset 'llama-9b'; there are tinyllama"),
            std::string::npos);
  EXPECT_NE(error({"tinyllama", "Q8", 1, 1, {}}).find("there is no type 'Q8'"), std::string::npos);
  EXPECT_NE(error({"tinyllama", "Q8_0", -1, 1, {}}).find("layers"), std::string::npos);
  EXPECT_FALSE(fs::exists(file.path));
}

TEST(Synth, PresetsAreConsistent) {
  for (const SynthPreset& p : synth_presets()) {
    EXPECT_EQ(p.heads % p.kv_heads, 0) << p.name;
    EXPECT_EQ(p.hidden % 32, 0) << p.name;
    EXPECT_EQ(p.ffn % 32, 0) << p.name;
    EXPECT_EQ(p.experts > 0, p.expert_ffn > 0) << p.name;
  }
}

}  // namespace
}  // namespace realm
