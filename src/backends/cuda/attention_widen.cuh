// Pages of Q8_0 and E4M3 on their way from memory into shared memory, widened to half precision:
// what the feeding warps of attention_wide.cuh do where shared memory has no room for pages as they
// are. A thread has eight elements at a time, a piece of 16 bytes there: the same piece of every
// box of 64 columns, in every sixteenth row, so that all but a few addresses are constants from
// there on. Many loads are on their way before the first is used, from the L2 cache, as the tile
// after the next is asked for ahead.
#pragma once

#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_pages.cuh"

namespace realm::cuda {

inline constexpr int kWidenThreads = 128, kWidenRows = 64;

// Eight elements of a row, and where those of the row's first box lie.
template <CacheType kType>
struct Eight;

template <>
struct Eight<CacheType::kE4M3> {
  struct From {
    const std::byte* codes;

    __device__ void set(const std::byte* row, int piece) { codes = row + 8 * piece; }
  };
  uint2 codes;

  __device__ void load(const From& from, int box) {
    codes = __ldg(reinterpret_cast<const uint2*>(from.codes + 64 * box));
  }
  __device__ uint4 widen(const From&) const {
    uint4 x;
    widen_e4m3(codes.x, x.x, x.y);
    widen_e4m3(codes.y, x.z, x.w);
    return x;
  }
};

// A box is two blocks of 34 bytes: words that hold a thread's codes lie alike in all of them.
template <>
struct Eight<CacheType::kQ8_0> {
  static constexpr int kBytesOfBox = 68;
  struct From {
    const std::byte* words;  // those that hold the codes
    int last, scale;         // from there; the last of them is the second where two do

    __device__ void set(const std::byte* row, int piece) {
      const std::byte* codes = row + piece / 4 * 34 + 2 + piece % 4 * 8;
      const auto odd = static_cast<int>(reinterpret_cast<uintptr_t>(codes) & 2);
      words = codes - odd;
      last = 4 + 2 * odd;
      scale = odd - 2 - piece % 4 * 8;
    }
  };
  uint32_t words[3];
  uint32_t scale;

  __device__ void load(const From& from, int box) {
    const std::byte* const at = from.words + kBytesOfBox * box;
    words[0] = __ldg(reinterpret_cast<const uint32_t*>(at));
    words[1] = __ldg(reinterpret_cast<const uint32_t*>(at + 4));
    words[2] = __ldg(reinterpret_cast<const uint32_t*>(at + from.last));
    scale = __ldg(reinterpret_cast<const uint16_t*>(at + from.scale));
  }
  __device__ uint4 widen(const From& from) const {
    const uint32_t factors = __byte_perm(scale, 0, 0x1010);
    const auto shift = static_cast<uint32_t>(4 * from.last - 16);  // bits before the codes
    const auto two = [&](uint32_t codes, uint32_t selector) {
      return scale_halves(widen_codes(codes, selector), factors);
    };
    const uint32_t low = __funnelshift_r(words[0], words[1], shift) ^ 0x80808080u;
    const uint32_t high = __funnelshift_r(words[1], words[2], shift) ^ 0x80808080u;
    return make_uint4(two(low, 0x4140), two(low, 0x4342), two(high, 0x4140), two(high, 0x4342));
  }
};

// kBoxes boxes from `box` on: loads, then what is done with them.
template <CacheType kType, int kBoxes>
__device__ __forceinline__ void widen_boxes(const typename Eight<kType>::From (&from)[4], int box,
                                            std::byte* to) {
  Eight<kType> raw[kBoxes][4];
#pragma unroll
  for (int b = 0; b < kBoxes; ++b) {
#pragma unroll
    for (int j = 0; j < 4; ++j) raw[b][j].load(from[j], box + b);
  }
#pragma unroll
  for (int b = 0; b < kBoxes; ++b) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      *reinterpret_cast<uint4*>(to + (box + b) * kWidenRows * 128 + j * kWidenRows / 4 * 128) =
          raw[b][j].widen(from[j]);
    }
  }
}

// Boxes of 64 columns by 64 positions, swizzled by 128 bytes, from two pages of a KV head, whose
// rows follow each other; `pieces` of eight columns, those of kBoxes boxes at a time. `thread` is
// one of kWidenThreads.
template <CacheType kType, int kBoxes>
__device__ void widen_tile(const std::byte* const (&pages)[2], int row_bytes, int pieces,
                           int thread, std::byte* to) {
  static_assert(kWidenThreads == 8 * kWidenRows / 4 && kPageTokens == kWidenRows / 2);
  const int row = thread / 8, piece = thread % 8;
  typename Eight<kType>::From from[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    from[j].set(pages[j / 2] + (row + j % 2 * (kWidenRows / 4)) * row_bytes, piece);
  }
  std::byte* const place = to + row * 128 + (piece ^ row % 8) * 16;
  int box = 0;
  for (; box + kBoxes <= pieces / 8; box += kBoxes) widen_boxes<kType, kBoxes>(from, box, place);
  for (; box < pieces / 8; ++box) widen_boxes<kType, 1>(from, box, place);
  if (piece < pieces % 8) widen_boxes<kType, 1>(from, box, place);
}

// Zeros where boxes have pieces past the last: products take whole boxes.
__device__ inline void clear_past(int pieces, int pieces_of_boxes, int thread, std::byte* to) {
  for (int i = thread; i < kWidenRows * (pieces_of_boxes - pieces); i += kWidenThreads) {
    const int row = i % kWidenRows, piece = pieces + i / kWidenRows;
    *reinterpret_cast<uint4*>(to + piece / 8 * kWidenRows * 128 + row * 128 +
                              (piece % 8 ^ row % 8) * 16) = make_uint4(0, 0, 0, 0);
  }
}

// Bytes of global memory, a multiple of 16, come to be in the L2 cache.
__device__ inline void ask_ahead(const std::byte* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
}

}  // namespace realm::cuda
