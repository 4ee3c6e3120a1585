#include "backends/split/validity.h"

#include <algorithm>

namespace realm::split {

unsigned Validity::of(const std::byte* at, size_t size) const {
  unsigned sides = kBothSides;
  for (const Piece& piece : within(at, size)) sides &= piece.sides;
  return sides;
}

void Validity::set(const std::byte* at, size_t size, unsigned sides) {
  if (size == 0) return;
  const std::byte* const end = at + size;
  std::vector<Piece> kept;
  for (const Piece& piece : pieces_) {
    if (piece.begin < at) kept.push_back({piece.begin, std::min(piece.end, at), piece.sides});
    if (piece.end > end) kept.push_back({std::max(piece.begin, end), piece.end, piece.sides});
  }
  kept.push_back({at, end, sides});
  std::sort(kept.begin(), kept.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  pieces_ = std::move(kept);
}

std::vector<Validity::Piece> Validity::within(const std::byte* at, size_t size) const {
  std::vector<Piece> found;
  const std::byte* const end = at + size;
  for (const Piece& piece : pieces_) {
    if (piece.end <= at || piece.begin >= end) continue;
    found.push_back({std::max(piece.begin, at), std::min(piece.end, end), piece.sides});
  }
  return found;
}

}  // namespace realm::split
