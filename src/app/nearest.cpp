#include "app/nearest.h"

#include <algorithm>

namespace realm {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Names are short; a pasted page is not a misspelling, and the distance is quadratic.
constexpr size_t kMaxNameBytes = 128;

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // Rows of the table of distances between prefixes: [i-2], [i-1], [i].
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const char x = lower(a[i - 1]), y = lower(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)});
      if (i > 1 && j > 1 && x == lower(b[j - 2]) && y == lower(a[i - 2])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::vector<std::string> nearest(std::string_view name, std::span<const std::string> candidates) {
  if (name.size() > kMaxNameBytes) return {};
  size_t best = std::max<size_t>(1, name.size() / 3);
  std::vector<std::string> result;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kMaxNameBytes) continue;
    const size_t distance = edit_distance(name, candidate);
    // A candidate with nothing of the name left in it is no suggestion.
    if (distance > best || distance >= std::max(name.size(), candidate.size())) continue;
    if (distance < best) result.clear();
    best = distance;
    if (result.size() < 3) result.push_back(candidate);
  }
  return result;
}

std::string suggestion(std::string_view name, std::span<const std::string> candidates) {
  const std::vector<std::string> names = nearest(name, candidates);
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    text += i == 0 ? "; did you mean '" : i + 1 < names.size() ? "', '" : "' or '";
    text += names[i];
  }
  return text.empty() ? text : text + "'?";
}

}  // namespace realm
