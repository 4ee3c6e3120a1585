// The small models of real architectures in REALM_SHARED_DIR/golden, a folder each: model.gguf, the
// tokens in golden.json and, in logits.f32, what Hugging Face transformers made of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/token.h"
#include "formats/gguf.h"

namespace realm {

struct GoldenFamily {
  std::filesystem::path folder;
  std::string name;
  std::vector<Token> tokens;
  std::shared_ptr<const TensorDirectory> file;

  // [tokens, vocabulary]
  std::vector<float> reference_logits() const {
    const std::string raw = read_text_file(folder / "logits.f32", size_t{1} << 30).value();
    std::vector<float> logits(raw.size() / sizeof(float));
    std::memcpy(logits.data(), raw.data(), logits.size() * sizeof(float));
    return logits;
  }
};

inline std::filesystem::path golden_root() {
  return std::filesystem::path(REALM_SHARED_DIR) / "golden";
}

// Nothing where the folder holds no model with its tokens that formats/ can open.
inline std::optional<GoldenFamily> load_golden_family(const std::filesystem::path& folder) {
  const auto json = read_text_file(folder / "golden.json", size_t{1} << 24);
  if (!json.ok()) return std::nullopt;
  GoldenFamily family{.folder = folder, .name = folder.filename(), .tokens = {}, .file = nullptr};
  // One list of integers: no JSON library, for the kernels' tests build without one.
  const size_t key = json->find("\"tokens\"");
  const size_t open = key == std::string::npos ? key : json->find('[', key);
  if (open == std::string::npos) return std::nullopt;
  const char* p = json->c_str() + open + 1;
  while (*p != ']' && *p != 0) {
    char* end = nullptr;
    family.tokens.push_back(static_cast<Token>(std::strtol(p, &end, 10)));
    p = *end == ',' ? end + 1 : end;
  }
  auto file = open_gguf(folder / "model.gguf");
  if (!file.ok() || family.tokens.empty()) return std::nullopt;
  family.file = std::move(file).value();
  return family;
}

// All of them, by name; empty without the reference data.
inline std::vector<GoldenFamily> golden_families() {
  std::vector<GoldenFamily> families;
  if (!std::filesystem::exists(golden_root())) return families;
  for (const auto& entry : std::filesystem::directory_iterator(golden_root())) {
    if (auto family = load_golden_family(entry.path())) families.push_back(std::move(*family));
  }
  std::sort(families.begin(), families.end(),
            [](const GoldenFamily& a, const GoldenFamily& b) { return a.name < b.name; });
  return families;
}

// Of the whole vector: size of the difference over size of what was expected.
inline double relative_error(std::span<const float> actual, std::span<const float> expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace realm
