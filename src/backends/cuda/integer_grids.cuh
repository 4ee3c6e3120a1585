// The codebook formats' tiles as operands of integer products (integer_codes.cuh): entries are
// small integers already, looked up in a block's own copy of the table.
#pragma once

#include "backends/cuda/integer_codes.cuh"
#include "backends/cuda/tiles_grids.cuh"

namespace realm::cuda {

// What IQ2, IQ1 and IQ3 have in common: scales that are odd numbers, and a row's d.
template <DType kType, typename FieldsOfType>
struct GridCodes {
  using Fields = FieldsOfType;
  using Scales = typename Fields::Scales;
  using Grid = SharedGrid<kType, true>;
  static constexpr int kTileBytes = Fields::kBytes;
  static constexpr bool kNatural = true;
  static constexpr int kGroups = Fields::kGroups, kDepth = 3;
  struct Raw {
    typename Fields::Raw own;
    decltype(Scales::load_two(nullptr, 0, 0)) scales;  // of sub-blocks pair and pair + 1
  };
  static __device__ void share() { Grid::share(); }
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    return {Fields::load(tile, unit, lane),
            Scales::load_two(tile + Fields::kScalesAt, unit, lane / 4 * 4 + 2 * (lane % 2))};
  }
  static __device__ float value(const Raw& raw, const LaneShare&, int, int row,
                                const int (&first)[kGroups], const int (&second)[kGroups],
                                const Activations& x) {
    int sum = 0;
#pragma unroll
    for (int half = 0; half < kGroups; ++half) {
      sum += static_cast<int>(Scales::odd_of_two(raw.scales, 0, row, half)) * first[half] +
             static_cast<int>(Scales::odd_of_two(raw.scales, 1, row, half)) * second[half];
    }
    const float d = RowScales::of(raw.own.d, row);
    return static_cast<float>(sum) * (d * (Fields::kScaleUnit * x.dx_of_half));
  }
};

template <DType kType, typename Fields, typename Values>
struct EightCodes : GridCodes<kType, Fields> {
  using Base = GridCodes<kType, Fields>;
  template <int kWord>
  static __device__ void operand(const typename Base::Raw& raw, int row, uint32_t& low,
                                 uint32_t& high) {
    const uint32_t nibbles = Fields::template nibbles<typename Base::Grid>(raw.own, row, kWord);
    low = permute(Values::kBytes0, Values::kBytes1, nibbles);
    high = permute(Values::kBytes0, Values::kBytes1, nibbles >> 16);
  }
};

template <DType kType, typename Fields>
struct FourCodes : GridCodes<kType, Fields> {
  using Base = GridCodes<kType, Fields>;
  // The negative of four bytes that are positive.
  static __device__ uint32_t negative(uint32_t bytes) { return 0x01010100u - bytes; }
  template <int kWord>
  static __device__ void operand(const typename Base::Raw& raw, int row, uint32_t& low,
                                 uint32_t& high) {
    const uint32_t a = Base::Grid::at(Fields::index(raw.own, row, 2 * kWord));
    const uint32_t b = Base::Grid::at(Fields::index(raw.own, row, 2 * kWord + 1));
    const uint32_t choices = Fields::choices(raw.own, row, kWord);
    low = permute(a, negative(a), choices);
    high = permute(b, negative(b), choices >> 16);
  }
};

template <>
struct IntegerCodes<DType::kIQ2_XXS>
    : EightCodes<DType::kIQ2_XXS, TileFormat<DType::kIQ2_XXS>::Fields, Iq2Values> {};
template <>
struct IntegerCodes<DType::kIQ2_XS>
    : EightCodes<DType::kIQ2_XS, TileFormat<DType::kIQ2_XS>::Fields, Iq2Values> {};
template <>
struct IntegerCodes<DType::kIQ2_S>
    : EightCodes<DType::kIQ2_S, TileFormat<DType::kIQ2_S>::Fields, Iq2Values> {};
template <>
struct IntegerCodes<DType::kIQ1_S>
    : EightCodes<DType::kIQ1_S, TileFormat<DType::kIQ1_S>::Fields, Iq1Values> {};
template <>
struct IntegerCodes<DType::kIQ1_M>
    : EightCodes<DType::kIQ1_M, TileFormat<DType::kIQ1_M>::Fields, Iq1Values> {};
template <>
struct IntegerCodes<DType::kIQ3_XXS>
    : FourCodes<DType::kIQ3_XXS, TileFormat<DType::kIQ3_XXS>::Fields> {};
template <>
struct IntegerCodes<DType::kIQ3_S> : FourCodes<DType::kIQ3_S, TileFormat<DType::kIQ3_S>::Fields> {};

}  // namespace realm::cuda
