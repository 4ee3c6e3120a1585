// Formats whose 4 bits name one of 16 values, as operands of integer products (integer_codes.cuh):
// the values are small integers, looked up by permutations of bytes.
#pragma once

#include "backends/cuda/integer_codes.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

constexpr uint32_t four_values(const int8_t (&values)[16], int first) {
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) {
    word |= static_cast<uint32_t>(static_cast<uint8_t>(values[first + i])) << (8 * i);
  }
  return word;
}

template <uint32_t kValues0, uint32_t kValues4, uint32_t kValues8, uint32_t kValues12>
struct ByteTable16 {
  // The values of eight nibbles.
  static __device__ void look_up(uint32_t word, uint32_t& low, uint32_t& high) {
    const uint32_t which = word & 0x77777777u;
    // Byte i comes from the first (i) or the second (4 + i) half of the table.
    const uint32_t side = 0x32103210u | ((word >> 1) & 0x44444444u);
    low = __byte_perm(__byte_perm(kValues0, kValues4, which),
                      __byte_perm(kValues8, kValues12, which), side);
    high = __byte_perm(__byte_perm(kValues0, kValues4, which >> 16),
                       __byte_perm(kValues8, kValues12, which >> 16), side >> 16);
  }
};
using Iq4Bytes = ByteTable16<four_values(kIq4Values, 0), four_values(kIq4Values, 4),
                             four_values(kIq4Values, 8), four_values(kIq4Values, 12)>;
using Fp4Bytes = ByteTable16<four_values(kFp4Values, 0), four_values(kFp4Values, 4),
                             four_values(kFp4Values, 8), four_values(kFp4Values, 12)>;

// Scales says how those of sub-blocks pair and pair + 1 are had: kGroups, load(tile, unit, lane),
// value(row, first, second, dx).
template <DType kType, typename Table, typename Scales>
struct TableCodes {
  static constexpr int kTileBytes = TileFormat<kType>::kBytes;
  static constexpr bool kNatural = true;
  static constexpr int kGroups = Scales::kGroups, kDepth = 3;
  struct Raw {
    uint4 q[2];
    Scales scales;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.scales.load(tile + 2048, unit, lane, lane / 4 * 4 + 2 * (lane % 2));
    return raw;
  }
  template <int kWord>
  static __device__ void operand(const Raw& raw, int row, uint32_t& low, uint32_t& high) {
    Table::look_up(word_of(raw.q[row], kWord), low, high);
  }
  static __device__ float value(const Raw& raw, const LaneShare&, int, int row,
                                const int (&first)[kGroups], const int (&second)[kGroups],
                                const Activations& x) {
    return raw.scales.value(row, first, second, x.dx_of_half);
  }
};

struct TwoIq4Nl {
  static constexpr int kGroups = 1;
  HalfScales scales;
  __device__ void load(const uint8_t* at, int unit, int lane, int) {
    scales.load(at + unit * 128, lane);
  }
  __device__ float value(int row, const int (&first)[1], const int (&second)[1], float dx) const {
    return scales.value(row, first[0], second[0], dx);
  }
};
template <>
struct IntegerCodes<DType::kIQ4_NL> : TableCodes<DType::kIQ4_NL, Iq4Bytes, TwoIq4Nl> {};

struct TwoIq4Xs {
  static constexpr int kGroups = 1;
  uint32_t scales;
  uint16_t d[2];
  __device__ void load(const uint8_t* at, int unit, int lane, int pair_lane) {
    scales = __ldg(reinterpret_cast<const uint32_t*>(at + unit * 64 + pair_lane * 2));
    const auto* of_rows = reinterpret_cast<const uint16_t*>(at + 128);
    d[0] = __ldg(of_rows + lane / 4);
    d[1] = __ldg(of_rows + lane / 4 + 8);
  }
  __device__ float value(int row, const int (&first)[1], const int (&second)[1], float dx) const {
    const uint32_t bytes = scales ^ 0x80808080u;
    const int sum = signed_byte(bytes, row) * first[0] + signed_byte(bytes, 2 + row) * second[0];
    return static_cast<float>(sum) * (half_bits(d[row]) * dx);
  }
};
template <>
struct IntegerCodes<DType::kIQ4_XS> : TableCodes<DType::kIQ4_XS, Iq4Bytes, TwoIq4Xs> {};

struct TwoMxfp4 {
  static constexpr int kGroups = 1;
  uint32_t exponents;
  __device__ void load(const uint8_t* at, int unit, int, int pair_lane) {
    exponents = __ldg(reinterpret_cast<const uint32_t*>(at + unit * 64 + pair_lane * 2));
  }
  __device__ float scale(int i) const {
    return __uint_as_float(e8m0_half_bits(static_cast<uint8_t>(exponents >> (8 * i))));
  }
  __device__ float value(int row, const int (&first)[1], const int (&second)[1], float dx) const {
    return dx * (scale(row) * static_cast<float>(first[0]) +
                 scale(2 + row) * static_cast<float>(second[0]));
  }
};
template <>
struct IntegerCodes<DType::kMXFP4> : TableCodes<DType::kMXFP4, Fp4Bytes, TwoMxfp4> {};

struct TwoNvfp4 {
  static constexpr int kGroups = 2;
  uint2 scales;
  __device__ void load(const uint8_t* at, int unit, int, int pair_lane) {
    scales = __ldg(reinterpret_cast<const uint2*>(at + unit * 128 + pair_lane * 4));
  }
  __device__ float value(int row, const int (&first)[2], const int (&second)[2], float dx) const {
    float sum = 0.0f;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum += ScalesNvfp4::scale(scales.x, 2 * row + half) * static_cast<float>(first[half]) +
             ScalesNvfp4::scale(scales.y, 2 * row + half) * static_cast<float>(second[half]);
    }
    return sum * dx;
  }
};
template <>
struct IntegerCodes<DType::kNVFP4> : TableCodes<DType::kNVFP4, Fp4Bytes, TwoNvfp4> {};

}  // namespace realm::cuda
