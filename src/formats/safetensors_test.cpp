#include "formats/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace realm {
namespace {

namespace fs = std::filesystem;

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("realm-st-test-" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

std::string file_of(const std::string& header, size_t buffer_bytes) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  return file + header + std::string(buffer_bytes, '\1');
}

std::string error_of(const std::string& file) {
  // A buffer of the exact size, so that the address sanitizer sees any read past it.
  std::vector<std::byte> bytes(file.size());
  if (!file.empty()) std::memcpy(bytes.data(), file.data(), file.size());
  const auto result = parse_safetensors(bytes, "t.safetensors");
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.error().code, ErrorCode::kBadModel);
  EXPECT_EQ(result.error().message.find("t.safetensors: "), 0u) << result.error().message;
  return result.error().message;
}

void expect_error(const std::string& header, size_t buffer_bytes, const std::string& part) {
  const std::string message = error_of(file_of(header, buffer_bytes));
  EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
}

const char* const kTwo =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}  )";

TEST(Safetensors, ReadsTensorsAndMetadata) {
  const std::string file = file_of(kTwo, 32);
  const auto result = parse_safetensors(std::as_bytes(std::span(file)), "x");
  ASSERT_TRUE(result.ok()) << result.error().message;
  const TensorDirectory& directory = **result;
  EXPECT_EQ(*directory.metadata().get_string("format"), "pt");
  ASSERT_EQ(directory.tensors().size(), 2u);
  EXPECT_EQ(directory.find("a")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(directory.find("a")->data.size(), 24u);
  EXPECT_EQ(directory.find("b")->dtype, DType::kBF16);
}

TEST(Safetensors, TruncatedAtEveryByteIsAnError) {
  const std::string whole = file_of(kTwo, 32);
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_NE(error_of(whole.substr(0, size)), "accepted") << size;
  }
  EXPECT_EQ(error_of(whole), "accepted");
}

TEST(Safetensors, RefusesBadHeaders) {
  EXPECT_NE(error_of(std::string(8, '\xff') + "{}").find("header length 18446744073709551615"),
            std::string::npos);
  expect_error("[]", 0, "expected a JSON object");
  expect_error("", 0, "not valid JSON");
  expect_error("{} x", 0, "not valid JSON at offset 3");
  expect_error("{\"a\":\xff}", 0, "not valid JSON");
  expect_error("{\"\xff\":1}", 0, "not valid JSON");
  expect_error(R"({"a":{"dtype":"F32","shape":[[[[[[1]]]]]],"data_offsets":[0,4]}})", 4,
               "not valid JSON");  // too deep
  expect_error(std::string(100000, '['), 0, "not valid JSON");
  expect_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
               R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
               8, "JSON key 'a' is there twice");
  expect_error(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
               "JSON key 'dtype' is there twice");
  expect_error(R"({"__metadata__":{"a":1}})", 0, "__metadata__: field 'a': expected a string");
}

TEST(Safetensors, RefusesBadTensors) {
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  EXPECT_EQ(error_of(file_of(tensor("F16", "[2,2]", "[0,8]"), 8)), "accepted");
  EXPECT_EQ(error_of(file_of(tensor("F32", "[]", "[0,4]"), 4)), "accepted");
  EXPECT_EQ(error_of(file_of("{}", 0)), "accepted");
  expect_error(tensor("F8_E4M3", "[8]", "[0,8]"), 8,
               "tensor 't': field 'dtype': element type 'F8_E4M3' is not supported");
  expect_error(tensor("F32", "[0]", "[0,0]"), 0, "dimension below 1");
  expect_error(tensor("F32", "[-1]", "[0,4]"), 4, "field 'shape'");
  expect_error(tensor("F32", "[1.5]", "[0,4]"), 4, "field 'shape'");
  expect_error(tensor("F32", "[1e300]", "[0,4]"), 4, "field 'shape'");
  expect_error(tensor("F32", "[18446744073709551615]", "[0,4]"), 4, "field 'shape'");
  expect_error(tensor("F32", "[4294967296,4294967296]", "[0,4]"), 4, "too many elements");
  expect_error(tensor("F32", "[4611686018427387904]", "[0,0]"), 0, "too many bytes");
  expect_error(tensor("F32", "[1,1,1,1,1]", "[0,4]"), 4, "rank 5");
  expect_error(tensor("F32", "[2]", "[0,4]"), 4, "does not span the 8 bytes");
  expect_error(tensor("F32", "[1]", "[4,0]"), 4, "does not span");
  expect_error(tensor("F32", "[1]", "[0]"), 4, "expected two integers");
  expect_error(tensor("F32", "[1]", "[-4,0]"), 4, "field 'data_offsets'");
  expect_error(tensor("F32", "[1]", "[0,4]"), 3, "cut off");
  expect_error(tensor("F32", "[1]", "[9223372036854775800,9223372036854775804]"), 4, "gap");
  expect_error(tensor("F32", "[1]", "[0,4]"), 5, "1 bytes at the end");
  expect_error(tensor("F32", "[1]", "[1,5]"), 5, "leaves a gap");
  expect_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
               6, "overlaps");
  expect_error(R"({"t":3})", 0, "tensor 't': expected a JSON object");
  expect_error(R"({"t":{}})", 0, "field 'dtype': missing");
}

TEST(Safetensors, ElementsAreAlignedWhateverTheOffset) {
  // A header of any length, and an I8 tensor of odd size before the others.
  for (int padding = 0; padding < 8; ++padding) {
    std::string file = file_of(R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},)"
                               R"("b":{"dtype":"F32","shape":[2],"data_offsets":[3,11]},)"
                               R"("c":{"dtype":"F16","shape":[2],"data_offsets":[11,15]},)"
                               R"("d":{"dtype":"F64","shape":[1],"data_offsets":[15,23]}})" +
                                   std::string(static_cast<size_t>(padding), ' '),
                               23);
    for (size_t i = 0; i < 23; ++i) file[file.size() - 23 + i] = static_cast<char>(i);
    const auto result = parse_safetensors(std::as_bytes(std::span(file)), "x");
    ASSERT_TRUE(result.ok()) << result.error().message;
    size_t first = 0;
    for (const auto& [name, element_bytes] :
         std::vector<std::pair<const char*, size_t>>{{"a", 1}, {"b", 4}, {"c", 2}, {"d", 8}}) {
      const std::span<const std::byte> data = (*result)->find(name)->data;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data.data()) % element_bytes, 0u) << name;
      for (size_t i = 0; i < data.size(); ++i) EXPECT_EQ(data[i], std::byte(first + i)) << name;
      first += data.size();
    }
    EXPECT_EQ(first, 23u);
  }
}

TEST(Safetensors, Index) {
  TemporaryFolder folder;
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder.path / name, std::ios::binary) << text;
  };
  write("x.safetensors", file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  write("y.safetensors", file_of(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8));
  const fs::path index = folder.path / "model.safetensors.index.json";
  const auto open_with = [&](const std::string& map) {
    write("model.safetensors.index.json",
          R"({"metadata":{"total_size":12},"weight_map":)" + map + "}");
    return open_safetensors_index(index);
  };
  const auto good = open_with(R"({"a":"x.safetensors","b":"y.safetensors"})");
  ASSERT_TRUE(good.ok()) << good.error().message;
  EXPECT_EQ((*good)->find("b")->data.size(), 8u);

  const auto expect = [&](const std::string& map, const char* part) {
    const auto result = open_with(map);
    ASSERT_FALSE(result.ok()) << map;
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  };
  expect(R"({"a":"y.safetensors"})", "has no such tensor");
  expect(R"({"a":"../x.safetensors"})", "is not the name of a file");
  expect(R"({"a":"/etc/passwd"})", "is not the name of a file");
  expect(R"({"a":".."})", "is not the name of a file");
  expect(R"({"a":7})", "expected a file name");
  expect(R"({"a":"z.safetensors"})", "cannot open");
  expect(R"([])", "expected an object");
}

}  // namespace
}  // namespace realm
