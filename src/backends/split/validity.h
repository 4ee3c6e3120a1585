// On which sides the bytes of memory that exists twice are the ones last written.
#pragma once

#include <cstddef>
#include <vector>

namespace realm::split {

inline constexpr unsigned kHostSide = 1, kDeviceSide = 2, kBothSides = 3;

class Validity {
 public:
  struct Piece {
    const std::byte *begin, *end;
    unsigned sides;
  };

  // The sides on which all of [at, at + size) is valid; what was never set is on both.
  unsigned of(const std::byte* at, size_t size) const;
  void set(const std::byte* at, size_t size, unsigned sides);
  // The pieces of [at, at + size) that were set, in order.
  std::vector<Piece> within(const std::byte* at, size_t size) const;
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  std::vector<Piece> pieces_;  // in order, none overlapping
};

}  // namespace realm::split
