// Tiles as operands of integer products (mma.m16n8k32), for one token or a few. A lane's 32 codes
// of a unit make four operands of eight; their scales stay out of it, because the columns of the
// second operand hold one sub-block's activations each (matvec_integer.cuh) and so each sum needs
// one scale.
//
// IntegerCodes<type> says of a type:
//   kNatural                 an operand's bytes are in the columns' order, not the nibbles'
//   kGroups                  sums of a sub-block that have scales of their own: of 32 columns, or
//   16 Raw load(tile, unit, lane) operand<w>(raw, row, low, high)  the eight codes 8 w .. 8 w + 7
//   of a row as signed or plain bytes value(raw, ...)          a row's sum over this lane's share
//   of the unit, in single precision
#pragma once

#include "backends/cuda/tiles.cuh"

namespace realm::cuda {

// What a lane 4 g + t knows of the sums it gets: those of sub-blocks pair and pair + 1, of one half
// of the activations' digits; and which sub-block's minimum is its own.
struct LaneShare {
  int t, pair, minimum;
  explicit __device__ LaneShare(int lane)
      : t(lane % 4), pair(2 * (lane % 2)), minimum(2 * (lane % 2) + lane % 4 / 2) {}
};

// An activation is 256 high + low digits; dx is what one is worth, and dx_of_half what one of the
// lane's half is. `sum` is the sum of the activations of sub-block LaneShare::minimum.
struct Activations {
  float dx, dx_of_half;
  int sum;
};

template <DType kType>
struct IntegerCodes;

__device__ inline int signed_byte(uint32_t word, int i) {
  return static_cast<int8_t>(word >> (8 * i));
}

// Two scales in half precision a sub-block: of rows g and g + 8.
struct HalfScales {
  uint2 d;
  __device__ void load(const uint8_t* scales, int lane) {
    d = __ldg(reinterpret_cast<const uint2*>(scales + (lane / 4 * 4 + 2 * (lane % 2)) * 4));
  }
  __device__ float value(int row, int first, int second, float factor) const {
    const uint32_t a = row == 0 ? d.x & 0xffffu : d.x >> 16;
    const uint32_t b = row == 0 ? d.y & 0xffffu : d.y >> 16;
    return factor * (half_bits(static_cast<uint16_t>(a)) * static_cast<float>(first) +
                     half_bits(static_cast<uint16_t>(b)) * static_cast<float>(second));
  }
};

template <>
struct IntegerCodes<DType::kQ8_0> {
  static constexpr int kTileBytes = TileFormat<DType::kQ8_0>::kBytes;
  static constexpr bool kNatural = true;
  static constexpr int kGroups = 1, kDepth = 3;
  struct Raw {
    uint4 q[4];
    HalfScales scales;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < 4; ++i) raw.q[i] = load_16(tile + unit * 2048 + i * 512 + lane * 16);
    raw.scales.load(tile + 4096 + unit * 128, lane);
    return raw;
  }
  template <int kWord>
  static __device__ void operand(const Raw& raw, int row, uint32_t& low, uint32_t& high) {
    const uint4& q = raw.q[2 * row + kWord / 2];
    low = word_of(q, 2 * (kWord % 2)) ^ 0x80808080u;
    high = word_of(q, 2 * (kWord % 2) + 1) ^ 0x80808080u;
  }
  static __device__ float value(const Raw& raw, const LaneShare&, int, int row,
                                const int (&first)[1], const int (&second)[1],
                                const Activations& x) {
    return raw.scales.value(row, first[0], second[0], x.dx_of_half);
  }
};

template <>
struct IntegerCodes<DType::kQ4_0> {
  static constexpr int kTileBytes = TileFormat<DType::kQ4_0>::kBytes;
  static constexpr bool kNatural = false;
  static constexpr int kGroups = 1, kDepth = 3;
  struct Raw {
    uint4 q[2];
    HalfScales scales;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.scales.load(tile + 2048 + unit * 128, lane);
    return raw;
  }
  // Sixteen times the code, less 8: a signed byte.
  template <int kWord>
  static __device__ void operand(const Raw& raw, int row, uint32_t& low, uint32_t& high) {
    const uint32_t word = word_of(raw.q[row], kWord);
    low = ((word << 4) & 0xf0f0f0f0u) ^ 0x80808080u;
    high = (word & 0xf0f0f0f0u) ^ 0x80808080u;
  }
  static __device__ float value(const Raw& raw, const LaneShare&, int, int row,
                                const int (&first)[1], const int (&second)[1],
                                const Activations& x) {
    return raw.scales.value(row, first[0], second[0], 0.0625f * x.dx_of_half);
  }
};

// Scales and minima of six bits, as KHeader has them.
struct KScales {
  // `fields`: 12 bits each of sub-blocks pair and pair + 1.
  static __device__ float value(const uint4& header, const LaneShare& share, int unit, int first,
                                int second, const Activations& x) {
    const uint32_t low = unit == 0 ? header.y : header.z, high = header.w >> (16 * unit);
    const uint32_t fields = __funnelshift_r(low, high, 12u * static_cast<uint32_t>(share.pair));
    const auto scale0 = static_cast<int>(fields & 63u);
    const auto scale1 = static_cast<int>((fields >> 12) & 63u);
    const auto minimum =
        static_cast<int>((fields >> (6 + 12 * (share.minimum - share.pair))) & 63u);
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&header.x));
    const int scaled = scale0 * first + scale1 * second;
    return static_cast<float>(scaled) * (d.x * x.dx_of_half) -
           static_cast<float>(minimum * x.sum) * (d.y * x.dx);
  }
};

template <>
struct IntegerCodes<DType::kQ4_K> {
  static constexpr int kTileBytes = TileFormat<DType::kQ4_K>::kBytes;
  static constexpr bool kNatural = false;
  static constexpr int kGroups = 1, kDepth = 3;
  using Raw = TileFormat<DType::kQ4_K>::Raw;
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    return TileFormat<DType::kQ4_K>::load(tile, unit, lane);
  }
  template <int kWord>
  static __device__ void operand(const Raw& raw, int row, uint32_t& low, uint32_t& high) {
    const uint32_t word = word_of(raw.q[row], kWord);
    low = word & 0x0f0f0f0fu;
    high = (word >> 4) & 0x0f0f0f0fu;
  }
  static __device__ float value(const Raw& raw, const LaneShare& share, int unit, int row,
                                const int (&first)[1], const int (&second)[1],
                                const Activations& x) {
    return KScales::value(raw.header[row], share, unit, first[0], second[0], x);
  }
};

template <>
struct IntegerCodes<DType::kQ5_K> {
  static constexpr int kTileBytes = TileFormat<DType::kQ5_K>::kBytes;
  static constexpr bool kNatural = false;
  static constexpr int kGroups = 1, kDepth = 3;
  using Raw = TileFormat<DType::kQ5_K>::Raw;
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    return TileFormat<DType::kQ5_K>::load(tile, unit, lane);
  }
  template <int kWord>
  static __device__ void operand(const Raw& raw, int row, uint32_t& low, uint32_t& high) {
    const uint32_t word = word_of(raw.q[row], kWord);
    const uint32_t fifth = row == 0 ? raw.high.x : raw.high.y;
    low = (word & 0x0f0f0f0fu) | (fifth_bits<2 * kWord>(fifth) & 0x10101010u);
    high = ((word >> 4) & 0x0f0f0f0fu) | (fifth_bits<2 * kWord + 1>(fifth) & 0x10101010u);
  }
  static __device__ float value(const Raw& raw, const LaneShare& share, int unit, int row,
                                const int (&first)[1], const int (&second)[1],
                                const Activations& x) {
    return KScales::value(raw.header[row], share, unit, first[0], second[0], x);
  }

 private:
  // The bits of operand i to bit 4 of each byte.
  template <int kOperand>
  static __device__ uint32_t fifth_bits(uint32_t word) {
    return kOperand < 4 ? word << (4 - kOperand) : word >> (kOperand - 4);
  }
};

// Codes of six bits less 32, times four, are signed bytes.
template <>
struct IntegerCodes<DType::kQ6_K> {
  static constexpr int kTileBytes = TileFormat<DType::kQ6_K>::kBytes;
  static constexpr bool kNatural = false;
  static constexpr int kGroups = 2, kDepth = 3;
  struct Raw {
    uint4 q[2], high;
    uint2 scales;  // of sub-blocks pair and pair + 1, as TileFormat's
    uint16_t d[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.high = load_16(tile + 2048 + unit * 512 + lane * 16);
    raw.scales = __ldg(reinterpret_cast<const uint2*>(tile + 3072 + unit * 128 +
                                                      (lane / 4 * 4 + 2 * (lane % 2)) * 4));
    const auto* d = reinterpret_cast<const uint16_t*>(tile + 3328);
    raw.d[0] = __ldg(d + lane / 4);
    raw.d[1] = __ldg(d + lane / 4 + 8);
    return raw;
  }
  template <int kWord>
  static __device__ void operand(const Raw& raw, int row, uint32_t& low, uint32_t& high) {
    const uint32_t word = word_of(raw.q[row], kWord);
    const uint32_t upper = word_of(raw.high, 2 * row + kWord / 2);
    low = signed_codes(word << 2, kWord % 2 == 0 ? upper << 6 : upper << 2);
    high = signed_codes(word >> 2, kWord % 2 == 0 ? upper << 4 : upper);
  }
  static __device__ float value(const Raw& raw, const LaneShare&, int, int row,
                                const int (&first)[2], const int (&second)[2],
                                const Activations& x) {
    const uint32_t a = raw.scales.x ^ 0x80808080u, b = raw.scales.y ^ 0x80808080u;
    const int sum = signed_byte(a, 2 * row) * first[0] + signed_byte(a, 2 * row + 1) * first[1] +
                    signed_byte(b, 2 * row) * second[0] + signed_byte(b, 2 * row + 1) * second[1];
    return static_cast<float>(sum) * (half_bits(raw.d[row]) * (0.25f * x.dx_of_half));
  }

 private:
  // Low four bits at bits 2..5 of each byte, upper two at bits 6 and 7.
  static __device__ uint32_t signed_codes(uint32_t low, uint32_t upper) {
    return ((low & 0x3c3c3c3cu) | 0x80808080u) ^ (upper & 0xc0c0c0c0u);
  }
};

}  // namespace realm::cuda
