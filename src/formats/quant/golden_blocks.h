// Test data: shared/quants, blocks encoded by ggml's own quantizers and what ggml decodes them to.
// Only the tests of this folder include this.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"

namespace realm::golden {

struct Row {
  std::string name;  // as the files are named: "q4_K"
  uint32_t type_id;
  int block_elements, block_bytes, row_bytes;
};

inline constexpr int kRows = 8;
inline constexpr int kRowElements = 1024;

inline std::string folder() {
  return std::string(REALM_SHARED_DIR) + "/quants";
}
inline bool available() {
  return std::filesystem::is_directory(folder());
}

inline std::vector<Row> index() {
  std::ifstream file(folder() + "/index.tsv");
  std::vector<Row> rows;
  std::string line;
  std::getline(file, line);  // column names
  while (std::getline(file, line)) {
    Row row;
    std::istringstream fields(line);
    fields >> row.name >> row.type_id >> row.block_elements >> row.block_bytes >> row.row_bytes;
    if (fields) rows.push_back(row);
  }
  return rows;
}

inline std::string read_bytes(const std::string& name) {
  return read_text_file(folder() + "/" + name, size_t{1} << 24).value();
}

inline std::vector<float> read_floats(const std::string& name) {
  const std::string bytes = read_bytes(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace realm::golden
