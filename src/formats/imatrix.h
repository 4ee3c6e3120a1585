// Importance matrices: for each weight, how large the inputs of each column were on some text.
// Quantizers weigh their errors by it. Read from GGUF (as llama.cpp writes since 2025) and from the
// older .dat layout; written as GGUF.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace realm {

struct ImportanceEntry {
  std::vector<float> sums;    // [experts, columns]: sums of squares of the inputs
  std::vector<float> counts;  // [experts]: how many inputs were summed

  // [experts, columns] mean squares; 1 throughout for an expert that saw nothing.
  std::vector<float> importance() const;
};

struct ImportanceMatrix {
  std::map<std::string, ImportanceEntry, std::less<>> entries;  // by tensor name
  std::vector<std::string> datasets;  // names of the texts it was made from
  uint32_t chunk_count = 0;           // windows of text
  uint32_t chunk_size = 0;            // tokens of each; 0 where the file does not say
};

// Errors: kNotFound, kIo; kBadModel naming file and entry for anything that is not an importance
// matrix, among it negative values and values that are not finite.
Result<ImportanceMatrix> read_imatrix(const std::string& path);
Result<ImportanceMatrix> parse_imatrix(std::span<const std::byte> bytes, const std::string& label);

// GGUF with two tensors for each entry: NAME.in_sum2 and NAME.counts. Whole or not at all.
Status write_imatrix(const std::string& path, const ImportanceMatrix& matrix);

}  // namespace realm
