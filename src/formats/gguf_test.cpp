#include "formats/gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("realm-gguf-test-" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

// Builds files byte by byte, right or wrong.
class Bytes {
 public:
  template <typename T>
  Bytes& n(T value) {
    const size_t at = data_.size();
    data_.resize(at + sizeof(T));
    std::memcpy(data_.data() + at, &value, sizeof(T));
    return *this;
  }
  Bytes& u32(uint64_t value) { return n(static_cast<uint32_t>(value)); }
  Bytes& u64(uint64_t value) { return n(value); }
  Bytes& str(std::string_view text) {
    u64(text.size());
    data_.append(text);
    return *this;
  }
  Bytes& zeros(size_t count) {
    data_.append(count, '\0');
    return *this;
  }
  Bytes& align(size_t to) { return zeros((to - data_.size() % to) % to); }
  Bytes& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return u32(0x46554747).u32(version).u64(tensors).u64(keys);
  }
  Bytes& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    str(name).u32(dims.size());
    for (const uint64_t d : dims) u64(d);
    return u32(type).u64(offset);
  }
  const std::string& data() const { return data_; }
  std::span<const std::byte> span() const { return std::as_bytes(std::span(data_)); }

 private:
  std::string data_;
};

std::string error_of(const Bytes& bytes) {
  const auto result = parse_gguf(bytes.span(), "test.gguf");
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.error().code, ErrorCode::kBadModel);
  EXPECT_EQ(result.error().message.find("test.gguf: "), 0u) << result.error().message;
  return result.error().message;
}

void expect_error(const Bytes& bytes, const std::string& part) {
  const std::string message = error_of(bytes);
  EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
}

constexpr uint32_t kU8 = 0, kU32 = 4, kString = 8, kArray = 9, kU64 = 10;

Bytes two_tensors() {
  Bytes b;
  b.header(2, 2).str("general.architecture").u32(kString).str("llama");
  b.str("list").u32(kArray).u32(kU32).u64(2).u32(7).u32(9);
  b.tensor("a", {2, 3}, 0, 0).tensor("b", {32}, 8, 32);
  b.align(32);
  for (int i = 0; i < 6; ++i) b.n(static_cast<float>(i));
  return b.align(32).zeros(34);
}

TEST(Gguf, ReadsTensorsAndMetadata) {
  const Bytes b = two_tensors();
  const auto result = parse_gguf(b.span(), "x");
  ASSERT_TRUE(result.ok()) << result.error().message;
  const TensorDirectory& directory = **result;
  EXPECT_EQ(*directory.metadata().get_string("general.architecture"), "llama");
  EXPECT_EQ(*directory.metadata().get_ints("list", 0, 10), (std::vector<int64_t>{7, 9}));
  ASSERT_EQ(directory.tensors().size(), 2u);
  const TensorInfo* a = directory.find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->shape, (std::vector<int64_t>{3, 2}));
  float last;
  std::memcpy(&last, a->data.data() + 20, 4);
  EXPECT_EQ(last, 5.0f);
  EXPECT_EQ(directory.find("b")->data.size(), 34u);
  EXPECT_EQ(directory.find("c"), nullptr);
}

TEST(Gguf, TruncatedAtEveryByteIsAnError) {
  const std::string whole = two_tensors().data();
  for (size_t size = 0; size < whole.size(); ++size) {
    // A buffer of the exact size, so that the address sanitizer sees any read past it.
    std::vector<std::byte> part(size);
    if (size > 0) std::memcpy(part.data(), whole.data(), size);
    const auto result = parse_gguf(part, "x");
    ASSERT_FALSE(result.ok()) << size;
    EXPECT_EQ(result.error().code, ErrorCode::kBadModel);
  }
}

TEST(Gguf, RefusesOtherVersionsByName) {
  expect_error(Bytes().u32(0x46554746).u32(3).zeros(16), "not a GGUF file");
  expect_error(Bytes().header(0, 0, 1), "version 1");
  expect_error(Bytes().header(0, 0, 0), "version 0");
  expect_error(Bytes().header(0, 0, 4), "version 4");
  expect_error(Bytes().header(0, 0, 0x03000000), "big-endian");
  EXPECT_EQ(error_of(Bytes().header(0, 0, 2)), "accepted");
}

TEST(Gguf, RefusesAbsurdCountsBeforeAllocating) {
  expect_error(Bytes().header(0, ~uint64_t{0}), "metadata count");
  expect_error(Bytes().header(~uint64_t{0}, 0), "tensor count");
  expect_error(Bytes().header(uint64_t{1} << 60, 0).zeros(100), "tensor count");
  Bytes array;
  array.header(0, 1).str("k").u32(kArray).u32(kU8).u64(uint64_t{1} << 63);
  expect_error(array, "metadata 'k': array of 9223372036854775808 elements");
  Bytes wrapping;  // 2^61 * 8 wraps to 0
  wrapping.header(0, 1).str("k").u32(kArray).u32(kU64).u64(uint64_t{1} << 61);
  expect_error(wrapping, "metadata 'k'");
  Bytes cut;
  cut.header(0, 1).str("k").u32(kArray).u32(kString).u64(1 << 20);
  expect_error(cut, "cut off");
}

TEST(Gguf, RefusesBadMetadata) {
  Bytes long_key;
  long_key.header(0, 1).u64(uint64_t{1} << 63).zeros(64);
  expect_error(long_key, "offset 24: metadata key 0: string length 9223372036854775808");
  Bytes long_value;
  long_value.header(0, 1).str("k").u32(kString).u64(uint64_t{1} << 63).zeros(64);
  expect_error(long_value, "metadata 'k': string length");
  Bytes past_end;
  past_end.header(0, 1).str("k").u32(kString).u64(100);
  expect_error(past_end, "cut off");
  Bytes empty_key;
  empty_key.header(0, 1).str("").u32(kU32).u32(1).zeros(8);
  expect_error(empty_key, "the key is empty");
  Bytes bad_type;
  bad_type.header(0, 1).str("k").u32(13).zeros(64);
  expect_error(bad_type, "value type id 13");
  Bytes bad_element;
  bad_element.header(0, 1).str("k").u32(kArray).u32(99).u64(0);
  expect_error(bad_element, "value type id 99");
  Bytes nested;
  nested.header(0, 1).str("k").u32(kArray).u32(kArray).u64(1).u32(kArray).u64(1).zeros(64);
  expect_error(nested, "array of arrays");
  Bytes duplicate;
  duplicate.header(0, 2).str("k").u32(kU32).u32(1).str("k").u32(kU32).u32(2);
  expect_error(duplicate, "'k' is there twice");
  Bytes bad_bool;
  bad_bool.header(0, 1).str("k").u32(7).n(uint8_t{2});
  expect_error(bad_bool, "bool has the value 2");
}

TEST(Gguf, RefusesBadAlignment) {
  for (const uint64_t alignment : {0ull, 4ull, 48ull, 1ull << 31, 0xffffffffull}) {
    Bytes b;
    b.header(0, 1).str("general.alignment").u32(kU32).u32(alignment);
    expect_error(b, "general.alignment");
  }
  Bytes wide;
  wide.header(0, 1).str("general.alignment").u32(kU64).u64(uint64_t{1} << 63);
  expect_error(wide, "general.alignment");
  Bytes text;
  text.header(0, 1).str("general.alignment").u32(kString).str("32");
  expect_error(text, "general.alignment");
  Bytes fine;
  fine.header(0, 1).str("general.alignment").u32(kU32).u32(64);
  EXPECT_EQ(error_of(fine), "accepted");
}

Bytes one_tensor(std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
  Bytes b;
  return b.header(1, 0).tensor("t", std::move(dims), type, offset).align(32).zeros(4096);
}

TEST(Gguf, RefusesBadTensors) {
  EXPECT_EQ(error_of(one_tensor({32, 4}, 0, 0)), "accepted");
  expect_error(one_tensor({uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0), "too many elements");
  // The product wraps to 1 modulo 2^64.
  expect_error(one_tensor({0x5555555555555555, 3}, 24, 0), "too many elements");
  expect_error(one_tensor({uint64_t{1} << 61}, 0, 0), "too many bytes");
  // 2^62 - 1 bytes, which a careless round up to the alignment would carry past the sign.
  expect_error(one_tensor({(uint64_t{1} << 62) - 1}, 24, 0), "cut off");
  expect_error(one_tensor({uint64_t{1} << 63}, 0, 0), "dimension 0 is 9223372036854775808");
  expect_error(one_tensor({~uint64_t{0}}, 0, 0), "dimension 0");
  expect_error(one_tensor({32, 0}, 0, 0), "dimension 1 is 0");
  expect_error(one_tensor({1, 1, 1, 1, 1}, 0, 0), "rank 5");
  expect_error(one_tensor({33}, 8, 0), "not a multiple of Q8_0's block of 32");
  expect_error(one_tensor({32, 4}, 4, 0), "type id 4 is not known");  // retired Q4_2
  expect_error(one_tensor({32, 4}, 1000, 0), "type id 1000");
  expect_error(one_tensor({32, 4}, 0xffffffff, 0), "type id 4294967295");
  expect_error(one_tensor({32, 4}, 0, 4096), "cut off");
  expect_error(one_tensor({32, 4}, 0, 3616), "cut off");
  expect_error(one_tensor({32, 4}, 0, 8), "not a multiple of the alignment");
  expect_error(one_tensor({32, 4}, 0, ~uint64_t{31}), "cut off");
  EXPECT_EQ(error_of(one_tensor({}, 0, 0)), "accepted");  // a scalar
}

TEST(Gguf, RefusesDuplicateAndOverlappingTensors) {
  Bytes twice;
  twice.header(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).align(32).zeros(64);
  expect_error(twice, "tensor 't': the name is there twice");
  Bytes overlap;
  overlap.header(2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).align(32).zeros(64);
  expect_error(overlap, "tensor 'b': its data overlaps that of 'a'");
  Bytes long_name;
  long_name.header(1, 0).tensor(std::string(300, 'n'), {8}, 0, 0).align(32).zeros(64);
  expect_error(long_name, "name of tensor 0: string length 300");
}

TEST(Gguf, MessagesHoldNoControlCharacters) {
  Bytes b;
  b.header(0, 1).str("a\nb\x1b[31m").u32(13).zeros(64);
  const std::string message = error_of(b);
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

void expect_same(const TensorDirectory& a, const TensorDirectory& b) {
  ASSERT_EQ(a.metadata().entries().size(), b.metadata().entries().size());
  for (size_t i = 0; i < a.metadata().entries().size(); ++i) {
    const auto& [key, value] = a.metadata().entries()[i];
    EXPECT_EQ(key, b.metadata().entries()[i].first);
    EXPECT_EQ(value.gguf_type, b.metadata().entries()[i].second.gguf_type) << key;
    EXPECT_TRUE(value.value == b.metadata().entries()[i].second.value) << key;
  }
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& tensor : a.tensors()) {
    const TensorInfo* other = b.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.dtype, other->dtype) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    ASSERT_EQ(tensor.data.size(), other->data.size()) << tensor.name;
    EXPECT_EQ(std::memcmp(tensor.data.data(), other->data.data(), tensor.data.size()), 0);
  }
}

std::vector<GgufTensorSource> sources_of(const TensorDirectory& directory, size_t first = 0,
                                         size_t count = ~size_t{0}) {
  std::vector<GgufTensorSource> sources;
  for (size_t i = first; i < directory.tensors().size() && i - first < count; ++i) {
    const TensorInfo& tensor = directory.tensors()[i];
    sources.push_back({tensor.name, tensor.dtype, tensor.shape,
                       [data = tensor.data](const auto& sink) { return sink(data); }});
  }
  return sources;
}

Metadata metadata_of_every_type() {
  Metadata m;
  m.set("u8", {uint64_t{255}, GgufType::kUint8});
  m.set("i8", {int64_t{-128}, GgufType::kInt8});
  m.set("u16", {uint64_t{65535}, GgufType::kUint16});
  m.set("i16", {int64_t{-32768}, GgufType::kInt16});
  m.set("u32", {uint64_t{0xffffffff}, GgufType::kUint32});
  m.set("i32", {int64_t{-1}, GgufType::kInt32});
  m.set("u64", {~uint64_t{0}, GgufType::kUint64});
  m.set("i64", {std::numeric_limits<int64_t>::min(), GgufType::kInt64});
  m.set("f32", {double{0.1f}, GgufType::kFloat32});
  m.set("f64", {0.1, GgufType::kFloat64});
  m.set_bool("bool", true);
  m.set_string("string", std::string("a\0b", 3));
  m.set("u8s", {MetadataArray(std::vector<uint64_t>{0, 255}), GgufType::kUint8});
  m.set("bools", {MetadataArray(std::vector<bool>{true, false}), GgufType::kBool});
  m.set("f64s", {MetadataArray(std::vector<double>{1.5, -2}), GgufType::kFloat64});
  m.set_strings("strings", {"", "x"});
  m.set_strings("none", {});
  m.set_int32s("i32s", {-5, 5});
  m.set_floats("f32s", {0.5, 0.25});
  return m;
}

TEST(Gguf, WritesEveryMetadataTypeBack) {
  TemporaryFolder folder;
  const std::string path = folder.path / "m.gguf";
  TensorDirectory original;
  original.metadata() = metadata_of_every_type();
  ASSERT_TRUE(write_gguf(path, original.metadata(), {}).ok());
  const auto back = open_gguf(path);
  ASSERT_TRUE(back.ok()) << back.error().message;
  expect_same(original, **back);
}

TEST(Gguf, WriterRefusesWhatItCannotWrite) {
  TemporaryFolder folder;
  const std::string path = folder.path / "m.gguf";
  Metadata too_big;
  too_big.set("k", {uint64_t{256}, GgufType::kUint8});
  EXPECT_EQ(write_gguf(path, too_big, {}).error().code, ErrorCode::kInvalidArgument);
  Metadata wrong_kind;
  wrong_kind.set("k", {int64_t{1}, GgufType::kString});
  EXPECT_FALSE(write_gguf(path, wrong_kind, {}).ok());

  const std::vector<std::byte> four(4);
  const auto produce = [&](const auto& sink) { return sink(four); };
  EXPECT_FALSE(write_gguf(path, {}, {{"t", DType::kF32, {2}, produce}}).ok());
  EXPECT_FALSE(write_gguf(path, {}, {{"t", DType::kF32, {0}, produce}}).ok());
  EXPECT_FALSE(
      write_gguf(path, {}, {{"t", DType::kF32, {1}, produce}, {"t", DType::kF32, {1}, produce}})
          .ok());
  const auto failing = [](const auto&) -> Status { return Error{ErrorCode::kIo, "no data"}; };
  EXPECT_EQ(write_gguf(path, {}, {{"t", DType::kF32, {1}, failing}}).error().message, "no data");
  EXPECT_TRUE(fs::is_empty(folder.path));
  EXPECT_TRUE(write_gguf(path, {}, {{"t", DType::kF32, {1}, produce}}).ok());
}

TEST(Gguf, OpensSplitFiles) {
  TemporaryFolder folder;
  const Bytes bytes = two_tensors();
  const auto whole = parse_gguf(bytes.span(), "x");
  ASSERT_TRUE(whole.ok());
  const auto write_part = [&](const std::string& name, int number, int count, int total) {
    Metadata m = number == 0 ? (*whole)->metadata() : Metadata();
    m.set("split.no", {static_cast<uint64_t>(number), GgufType::kUint16});
    m.set("split.count", {static_cast<uint64_t>(count), GgufType::kUint16});
    m.set("split.tensors.count", {static_cast<int64_t>(total), GgufType::kInt32});
    ASSERT_TRUE(write_gguf(folder.path / name, m, sources_of(**whole, number, 1)).ok());
  };
  write_part("m-00001-of-00002.gguf", 0, 2, 2);
  const auto missing = open_gguf(folder.path / "m-00001-of-00002.gguf");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find("m-00002-of-00002.gguf"), std::string::npos);

  write_part("m-00002-of-00002.gguf", 1, 2, 2);
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const auto merged = open_gguf(folder.path / name);
    ASSERT_TRUE(merged.ok()) << merged.error().message;
    expect_same(**whole, **merged);
  }

  write_part("m-00002-of-00002.gguf", 0, 2, 2);  // part 1 under the name of part 2
  EXPECT_NE(open_gguf(folder.path / "m-00001-of-00002.gguf").error().message.find("part 1 of 2"),
            std::string::npos);
  write_part("m-00001-of-00002.gguf", 0, 2, 3);
  write_part("m-00002-of-00002.gguf", 1, 2, 3);
  EXPECT_NE(open_gguf(folder.path / "m-00001-of-00002.gguf").error().message.find("2 tensors"),
            std::string::npos);
  fs::rename(folder.path / "m-00001-of-00002.gguf", folder.path / "renamed.gguf");
  EXPECT_NE(open_gguf(folder.path / "renamed.gguf").error().message.find("split.count"),
            std::string::npos);
}

TEST(Gguf, FilesThatAreNotThere) {
  EXPECT_EQ(open_gguf("/nonexistent.gguf").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(open_gguf("/tmp").error().code, ErrorCode::kIo);
  TemporaryFolder folder;
  std::ofstream(folder.path / "empty.gguf");
  EXPECT_NE(open_gguf(folder.path / "empty.gguf").error().message.find("empty"), std::string::npos);
}

TEST(Gguf, ReferenceFilesOpenAndWriteBackEqual) {
  const fs::path shared = REALM_SHARED_DIR;
  if (!fs::exists(shared / "golden")) GTEST_SKIP() << "no reference data in " << shared;
  TemporaryFolder folder;
  std::vector<fs::path> files;
  for (const char* part : {"golden", "golden-lora", "tokenizers", "models/realm-tiny"}) {
    for (const auto& entry : fs::recursive_directory_iterator(shared / part)) {
      if (entry.path().extension() == ".gguf") files.push_back(entry.path());
    }
  }
  EXPECT_GE(files.size(), 70u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.string());
    const auto original = open_gguf(file);
    ASSERT_TRUE(original.ok()) << original.error().message;
    if (fs::file_size(file) > 8u << 20) continue;
    const std::string copy = folder.path / "copy.gguf";
    ASSERT_TRUE(write_gguf(copy, (*original)->metadata(), sources_of(**original)).ok());
    const auto back = open_gguf(copy);
    ASSERT_TRUE(back.ok()) << back.error().message;
    expect_same(**original, **back);
  }
}

}  // namespace
}  // namespace realm
