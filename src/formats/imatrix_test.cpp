#include "formats/imatrix.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "formats/gguf.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

ImportanceMatrix sample() {
  ImportanceMatrix matrix;
  matrix.entries["blk.0.attn_q.weight"] = {.sums = {2, 4, 8}, .counts = {4}};
  matrix.entries["blk.0.ffn_up_exps.weight"] = {.sums = {1, 2, 3, 4, 5, 6}, .counts = {2, 0, 1}};
  matrix.datasets = {"text.txt"};
  matrix.chunk_count = 7;
  matrix.chunk_size = 512;
  return matrix;
}

class Dat {
 public:
  Dat& number(int32_t value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Dat& text(const std::string& value) {
    number(static_cast<int32_t>(value.size()));
    bytes_ += value;
    return *this;
  }
  Dat& floats(std::initializer_list<float> values) {
    number(static_cast<int32_t>(values.size()));
    for (const float v : values) bytes_.append(reinterpret_cast<const char*>(&v), sizeof v);
    return *this;
  }
  Result<ImportanceMatrix> parse(size_t length = std::string::npos) const {
    return parse_imatrix(std::as_bytes(std::span(bytes_.data(), std::min(length, bytes_.size()))),
                         "m.dat");
  }
  size_t size() const { return bytes_.size(); }

 private:
  std::string bytes_;
};

TEST(Imatrix, WritesWhatItReads) {
  const std::string path =
      testing::TempDir() + "realm_imatrix_test_" + std::to_string(::getpid()) + ".gguf";
  ASSERT_TRUE(write_imatrix(path, sample()).ok());
  const auto read = read_imatrix(path);
  const auto file = open_gguf(path);
  fs::remove(path);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->datasets, sample().datasets);
  EXPECT_EQ(read->chunk_count, 7u);
  EXPECT_EQ(read->chunk_size, 512u);
  ASSERT_EQ(read->entries.size(), 2u);
  const ImportanceEntry& experts = read->entries.at("blk.0.ffn_up_exps.weight");
  EXPECT_EQ(experts.importance(), (std::vector<float>{0.5, 1, 1, 1, 5, 6}));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->metadata().get_string("general.type").value(), "imatrix");
  EXPECT_EQ((*file)->find("blk.0.ffn_up_exps.weight.in_sum2")->shape, (std::vector<int64_t>{3, 2}));
}

TEST(Imatrix, ReadsTheOlderLayout) {
  Dat dat;
  dat.number(2).text("a").number(4).floats({2, 6}).text("b").number(0).floats({3});
  const auto bare = dat.parse();
  ASSERT_TRUE(bare.ok()) << bare.error().message;
  EXPECT_EQ(bare->entries.at("a").importance(), (std::vector<float>{0.5, 1.5}));
  EXPECT_EQ(bare->entries.at("b").importance(), (std::vector<float>{3}));
  dat.number(9).text("wiki.txt");
  const auto whole = dat.parse();
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->chunk_count, 9u);
  EXPECT_EQ(whole->datasets, (std::vector<std::string>{"wiki.txt"}));
  // Cut anywhere it is refused, but where it may end.
  for (size_t length = 0; length < dat.size(); ++length) {
    const auto cut = dat.parse(length);
    const bool may_end = length == dat.size() - 16 || length == dat.size() - 12;
    EXPECT_EQ(cut.ok(), may_end) << length;
    if (!cut.ok()) {
      EXPECT_EQ(cut.error().code, ErrorCode::kBadModel);
      EXPECT_EQ(cut.error().message.find("m.dat"), 0u);
    }
  }
}

TEST(Imatrix, RefusesWhatIsNone) {
  const auto refused = [](const Dat& dat) {
    const auto matrix = dat.parse();
    ASSERT_FALSE(matrix.ok());
    EXPECT_EQ(matrix.error().code, ErrorCode::kBadModel) << matrix.error().message;
  };
  refused(Dat().number(0));
  refused(Dat().number(-1));
  refused(Dat().number(0x736e6f6e).number(0x65736e65));  // "nonsense"
  refused(Dat().number(1).text("a").number(1).floats({}));
  refused(Dat().number(1).text("a").number(1).floats({-1}));
  refused(Dat().number(1).text("a").number(1).floats({NAN}));
  refused(Dat().number(2).text("a").number(1).floats({1}).text("a").number(1).floats({1}));
  EXPECT_EQ(read_imatrix("/nowhere.imatrix").error().code, ErrorCode::kNotFound);

  ImportanceMatrix uneven = sample();
  uneven.entries["blk.0.attn_q.weight"].sums = {1, -2, 3};
  const std::string path =
      testing::TempDir() + "realm_imatrix_bad_" + std::to_string(::getpid()) + ".gguf";
  ASSERT_TRUE(write_imatrix(path, uneven).ok());
  const auto read = read_imatrix(path);
  fs::remove(path);
  ASSERT_FALSE(read.ok());
  EXPECT_NE(read.error().message.find("attn_q"), std::string::npos) << read.error().message;
}

}  // namespace
}  // namespace realm
