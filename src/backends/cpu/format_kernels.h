// Which struct of block_codes.h a kernel is instantiated with for a format (kernel_for), and the
// ones for formats that have none there, through BlockFormat::unpack: right for every format,
// present or future, and slower. A block (of a small format: 32 elements of one) is unpacked into a
// buffer that then looks like a format with plain int8 codes.
//
// Included only by files that define REALM_ISA, under the rules of simd.h.
#pragma once

#include "backends/cpu/block_codes.h"
#include "formats/quant/quant_table.h"

namespace realm::cpu::REALM_ISA {
namespace {

struct UnpackedSmallBlock {
  uint8_t codes[32];
  float scale[2];  // per kSub
  float min;       // to be added
};

struct UnpackedSuperBlock {
  uint8_t codes[256];
  ScaleBytes scales, mins;
  float d, dmin;
};

template <int kSubOf, bool kMin>
struct UnpackedSmall : BlockBase<UnpackedSmallBlock, 32> {
  static constexpr int kMax = 128;
  static constexpr bool kSigned = true;
  static constexpr int kSub = kSubOf;
  static constexpr bool kHasMin = kMin;
  static constexpr int kHalfScale = -1;
  static constexpr int kHalfMin = -1;
  using Buffer = UnpackedSmallBlock;

  REALM_INLINE const UnpackedSmallBlock& of(const uint8_t* b) {
    return *reinterpret_cast<const UnpackedSmallBlock*>(b);
  }
  REALM_INLINE Codes codes(const uint8_t* b, int) { return load_codes(of(b).codes); }
  REALM_INLINE float scale(const uint8_t* b, int sub) { return of(b).scale[sub]; }
  REALM_INLINE float min(const uint8_t* b) { return of(b).min; }
  // Elements 32 v .. 32 v + 31 of a block.
  static const uint8_t* unpack(const BlockFormat& format, const uint8_t* block, int v, Buffer& to) {
    UnpackedBlock from;
    format.unpack(block, from);
    const UnpackShape& shape = format.shape;
    memcpy(to.codes, from.codes + 32 * v, 32);
    for (int half = 0; half < 32 / kSub; ++half) {
      const int at = 32 * v + kSub * half;
      to.scale[half] = from.d[at / (shape.elements / shape.num_d)] *
                       static_cast<float>(from.scales[at / shape.sub_block]);
    }
    if (kMin) to.min = -(from.dmin * static_cast<float>(from.mins[32 * v / shape.sub_block]));
    return reinterpret_cast<const uint8_t*>(&to);
  }
};

template <int kSubOf, bool kMin>
struct UnpackedSuper : BlockBase<UnpackedSuperBlock, 256> {
  static constexpr int kMax = 128;
  static constexpr bool kSigned = true;
  static constexpr int kSub = kSubOf;
  static constexpr bool kHasMin = kMin;
  using Buffer = UnpackedSuperBlock;

  REALM_INLINE const UnpackedSuperBlock& of(const uint8_t* b) {
    return *reinterpret_cast<const UnpackedSuperBlock*>(b);
  }
  REALM_INLINE Codes codes(const uint8_t* b, int v) { return load_codes(of(b).codes + 32 * v); }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) { return of(b).scales; }
  REALM_INLINE ScaleBytes mins(const uint8_t* b) { return of(b).mins; }
  REALM_INLINE float d(const uint8_t* b) { return of(b).d; }
  REALM_INLINE float dmin(const uint8_t* b) { return of(b).dmin; }
  static const uint8_t* unpack(const BlockFormat& format, const uint8_t* block, int, Buffer& to) {
    UnpackedBlock from;
    format.unpack(block, from);
    memcpy(to.codes, from.codes, 256);
    int8_t scales[16] = {}, mins[16] = {};  // no format's scales need more than 8 bits
    for (int j = 0; j < 256 / kSub; ++j) {
      const int from_j = kSub * j / format.shape.sub_block;
      scales[j] = static_cast<int8_t>(from.scales[from_j]);
      if (kMin) mins[j] = static_cast<int8_t>(from.mins[from_j]);
    }
    memcpy(&to.scales, scales, 16);
    memcpy(&to.mins, mins, 16);
    to.d = from.d[0];
    to.dmin = kMin ? from.dmin : 0.0f;
    return reinterpret_cast<const uint8_t*>(&to);
  }
};

// A block of format F as the functions of F read it: itself, or unpacked into the buffer.
struct NoBuffer {};
template <typename F>
struct BufferOf {
  using Type = NoBuffer;
};
template <int kSub, bool kMin>
struct BufferOf<UnpackedSmall<kSub, kMin>> {
  using Type = UnpackedSmallBlock;
};
template <int kSub, bool kMin>
struct BufferOf<UnpackedSuper<kSub, kMin>> {
  using Type = UnpackedSuperBlock;
};

template <typename F>
REALM_INLINE const uint8_t* block_at(const BlockFormat& format, const uint8_t* block, int v,
                                     typename BufferOf<F>::Type& buffer) {
  if constexpr (sizeof(buffer) > sizeof(NoBuffer)) {
    return F::unpack(format, block, v, buffer);
  } else {
    return block;
  }
}

// A block's groups of 32 elements and its bytes: constants, but for the formats that are unpacked
// into a buffer first. (Divisions by them at run time took half as long as unpacking.)
template <typename F>
constexpr bool kUnpacksFirst = sizeof(typename BufferOf<F>::Type) > sizeof(NoBuffer);
template <typename F>
REALM_INLINE int groups_of_block(const BlockFormat& format) {
  return kUnpacksFirst<F> ? format.block_elements / 32 : F::kElements / 32;
}
template <typename F>
REALM_INLINE int64_t bytes_of_block(const BlockFormat& format) {
  return kUnpacksFirst<F> ? format.block_bytes : F::kBytes;
}

// Kernel<F>::run for a format: its own F, or the one that fits its unpacked shape.
template <typename Function, template <typename> class Kernel>
Function kernel_for(const BlockFormat& format) {
  struct Row {
    DType type;
    Function run;
  };
  static constexpr Row kRows[] = {
      {DType::kQ4_0, Kernel<CodesQ4_0>::run},     {DType::kQ4_1, Kernel<CodesQ4_1>::run},
      {DType::kQ5_0, Kernel<CodesQ5_0>::run},     {DType::kQ5_1, Kernel<CodesQ5_1>::run},
      {DType::kQ8_0, Kernel<CodesQ8_0>::run},     {DType::kQ8_1, Kernel<CodesQ8_1>::run},
      {DType::kQ2_K, Kernel<CodesQ2_K>::run},     {DType::kQ3_K, Kernel<CodesQ3_K>::run},
      {DType::kQ4_K, Kernel<CodesQ4_K>::run},     {DType::kQ5_K, Kernel<CodesQ5_K>::run},
      {DType::kQ6_K, Kernel<CodesQ6_K>::run},     {DType::kIQ2_XXS, Kernel<CodesIQ2_XXS>::run},
      {DType::kIQ2_XS, Kernel<CodesIQ2_XS>::run}, {DType::kIQ3_XXS, Kernel<CodesIQ3_XXS>::run},
      {DType::kIQ1_S, Kernel<CodesIQ1_S>::run},   {DType::kIQ4_NL, Kernel<CodesIQ4_NL>::run},
      {DType::kIQ3_S, Kernel<CodesIQ3_S>::run},   {DType::kIQ2_S, Kernel<CodesIQ2_S>::run},
      {DType::kIQ4_XS, Kernel<CodesIQ4_XS>::run}, {DType::kIQ1_M, Kernel<CodesIQ1_M>::run},
      {DType::kTQ2_0, Kernel<CodesTQ2_0>::run},   {DType::kTQ1_0, Kernel<CodesTQ1_0>::run},
      {DType::kMXFP4, Kernel<CodesMXFP4>::run},   {DType::kNVFP4, Kernel<CodesNVFP4>::run},
      {DType::kQ1_0, Kernel<CodesQ1_0>::run},
  };
  for (const Row& row : kRows) {
    if (row.type == format.type) return row.run;
  }
  const bool by_16 = format.shape.sub_block == 16;
  if (format.shape.elements == 256) {
    if (format.shape.has_min) {
      return by_16 ? Kernel<UnpackedSuper<16, true>>::run : Kernel<UnpackedSuper<32, true>>::run;
    }
    return by_16 ? Kernel<UnpackedSuper<16, false>>::run : Kernel<UnpackedSuper<32, false>>::run;
  }
  if (format.shape.has_min) return Kernel<UnpackedSmall<32, true>>::run;
  return by_16 ? Kernel<UnpackedSmall<16, false>>::run : Kernel<UnpackedSmall<32, false>>::run;
}

}  // namespace
}  // namespace realm::cpu::REALM_ISA
