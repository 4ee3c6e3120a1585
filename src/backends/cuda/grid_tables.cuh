// The codebooks as tables that kernels look up (tiles_grids.cuh), made by the compiler: in device
// memory, and copies in a block's shared memory.
#pragma once

#include "backends/cuda/tiles_planes.cuh"
#include "formats/quant/iq_grid_members.h"

namespace realm::cuda {

// Entries of eight nibbles, each of which says which of three levels.
inline constexpr int kGridDigits[3] = {0, 1, 2};
__device__ constexpr auto kIq2XxsDigits =
    expand_grid<uint32_t, 256, 4>(kIq2XxsMembers, kGridDigits);
__device__ constexpr auto kIq2XsDigits = expand_grid<uint32_t, 512, 4>(kIq2XsMembers, kGridDigits);
__device__ constexpr auto kIq2SDigits = expand_grid<uint32_t, 1024, 4>(kIq2SMembers, kGridDigits);
__device__ constexpr auto kIq1Digits = expand_grid<uint32_t, 2048, 4>(kIq1Members, kGridDigits);
__device__ constexpr auto kIq3XxsBytes = expand_grid<uint32_t, 256>(kIq3XxsMembers, kIq3XxsLevels);
__device__ constexpr auto kIq3SBytes = expand_grid<uint32_t, 512>(kIq3SMembers, kIq3SLevels);

// Four bfloat16: the lower bytes of all, then the upper ones.
template <int kCount, size_t kWords>
constexpr IqGrid<uint64_t, kCount> expand_bfloats(const uint64_t (&members)[kWords],
                                                  const int (&levels)[8]) {
  int low[8] = {}, high[8] = {};
  for (int i = 0; i < 8; ++i) {
    low[i] = static_cast<int>(bfloat_bits(levels[i]) & 0xffu);
    high[i] = static_cast<int>(bfloat_bits(levels[i]) >> 8);
  }
  const auto lows = expand_grid<uint32_t, kCount>(members, low);
  const auto highs = expand_grid<uint32_t, kCount>(members, high);
  IqGrid<uint64_t, kCount> grid{};
  for (int i = 0; i < kCount; ++i) {
    grid.entries[i] = lows.entries[i] | static_cast<uint64_t>(highs.entries[i]) << 32;
  }
  return grid;
}
__device__ constexpr auto kIq3XxsBfloats = expand_bfloats<256>(kIq3XxsMembers, kIq3XxsLevels);
__device__ constexpr auto kIq3SBfloats = expand_bfloats<512>(kIq3SMembers, kIq3SLevels);

// A format's table: of operands in bfloat16, or of bytes.
template <typename EntryOfTable, int kCountOfTable>
struct TableOf {
  using Entry = EntryOfTable;
  static constexpr int kCount = kCountOfTable;
};
template <DType kType, bool kBytes>
struct GridTable;
template <bool kBytes>
struct GridTable<DType::kIQ2_XXS, kBytes> : TableOf<uint32_t, 256> {
  static __device__ const uint32_t* entries() { return kIq2XxsDigits.entries; }
};
template <bool kBytes>
struct GridTable<DType::kIQ2_XS, kBytes> : TableOf<uint32_t, 512> {
  static __device__ const uint32_t* entries() { return kIq2XsDigits.entries; }
};
template <bool kBytes>
struct GridTable<DType::kIQ2_S, kBytes> : TableOf<uint32_t, 1024> {
  static __device__ const uint32_t* entries() { return kIq2SDigits.entries; }
};
template <bool kBytes>
struct GridTable<DType::kIQ1_S, kBytes> : TableOf<uint32_t, 2048> {
  static __device__ const uint32_t* entries() { return kIq1Digits.entries; }
};
template <bool kBytes>
struct GridTable<DType::kIQ1_M, kBytes> : GridTable<DType::kIQ1_S, kBytes> {};
template <>
struct GridTable<DType::kIQ3_XXS, true> : TableOf<uint32_t, 256> {
  static __device__ const uint32_t* entries() { return kIq3XxsBytes.entries; }
};
template <>
struct GridTable<DType::kIQ3_XXS, false> : TableOf<uint64_t, 256> {
  static __device__ const uint64_t* entries() { return kIq3XxsBfloats.entries; }
};
template <>
struct GridTable<DType::kIQ3_S, true> : TableOf<uint32_t, 512> {
  static __device__ const uint32_t* entries() { return kIq3SBytes.entries; }
};
template <>
struct GridTable<DType::kIQ3_S, false> : TableOf<uint64_t, 512> {
  static __device__ const uint64_t* entries() { return kIq3SBfloats.entries; }
};

template <DType kType>
struct DeviceGrid {
  using Table = GridTable<kType, false>;
  static __device__ typename Table::Entry at(uint32_t index) { return Table::entries()[index]; }
};

// A block's copy. All threads share() it, and meet before they look anything up.
template <DType kType, bool kBytes>
struct SharedGrid {
  using Table = GridTable<kType, kBytes>;
  using Entry = typename Table::Entry;
  static __device__ Entry* entries() {
    __shared__ Entry shared[Table::kCount];
    return shared;
  }
  static __device__ void share() {
    for (int i = static_cast<int>(threadIdx.x); i < Table::kCount;
         i += static_cast<int>(blockDim.x)) {
      entries()[i] = Table::entries()[i];
    }
  }
  static __device__ Entry at(uint32_t index) { return entries()[index]; }
};

}  // namespace realm::cuda
