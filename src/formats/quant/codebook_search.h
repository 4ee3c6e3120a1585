// Finding the codebook vector nearest to a given one, for the encoders of the IQ1, IQ2 and IQ3
// formats. A vector is first rounded to the nearest level in every element; that names one of 6561
// (3 levels, 8 elements) or 4096 (8 levels, 4 elements) cells, and for each cell the closest
// codebook entries are listed in advance, so that a search weighs a few entries instead of up to
// 2048. Private to this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace realm {

class CodebookSearch {
 public:
  // Built on first use, immutable afterwards, shared by all threads.
  static const CodebookSearch& iq2_xxs();
  static const CodebookSearch& iq2_xs();
  static const CodebookSearch& iq2_s();
  static const CodebookSearch& iq3_xxs();
  static const CodebookSearch& iq3_s();
  static const CodebookSearch& iq1();

  int dims() const { return dims_; }                // elements of an entry, 8 or 4
  int top_level() const { return levels_.back(); }  // the largest magnitude
  const float* entry(int index) const { return &entries_[static_cast<size_t>(index * dims_)]; }

  // The entry with the least sum of w (v - entry)^2 among those listed for v's cell.
  int nearest(const float* v, const float* w) const;

 private:
  template <typename Grid>
  CodebookSearch(const Grid& grid, int num_entries, int dims, std::vector<int> levels);
  void list_neighbours();

  int dims_;
  std::vector<int> levels_;      // ascending
  std::vector<float> borders_;   // half-way between levels
  std::vector<float> entries_;   // [entries, dims]
  std::vector<uint16_t> lists_;  // [cells, kListed], closest first
  std::vector<bool> on_grid_;    // per cell: its own vector is an entry (the first listed)
};

}  // namespace realm
