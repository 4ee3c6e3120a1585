// wgmma of every size and type that the kernels use: D [64, N] = A B, or plus D, of 16-bit floats
// (A [64, 16], B [16, N]) or E4M3 (A [64, 32], B [32, N]), single precision out. B lies in shared
// memory as N rows of 128 bytes or, read across, as the 16 rows of N columns, in boxes of 64
// columns; A in registers, or in shared memory as 64 rows of 128 bytes; rows are swizzled by 128
// bytes (descriptors: async.cuh). The accumulators have to be spelled out, once for each N: macros
// do it. Registers of A are read until the products' wait, which ptxas does not always heed:
// tests/wgmma_registers.py.
#pragma once

#include <cstdint>

namespace realm::cuda {

enum class WgmmaType { kBf16, kF16, kE4M3 };

// What the instruction's name says of a type after its N, and what follows its operands.
template <WgmmaType kType>
struct WgmmaName;
template <>
struct WgmmaName<WgmmaType::kBf16> {
  static constexpr char value[] = "k16.f32.bf16.bf16";
};
template <>
struct WgmmaName<WgmmaType::kF16> {
  static constexpr char value[] = "k16.f32.f16.f16";
};
template <>
struct WgmmaName<WgmmaType::kE4M3> {
  static constexpr char value[] = "k32.f32.e4m3.e4m3";
};
// Whether operands are read across, which those of 8 bits cannot be.
template <bool kAcross, bool k8Bits>
struct WgmmaAcross {
  static constexpr char of_b[] = ", 0", of_both[] = ", 0, 0";
};
template <>
struct WgmmaAcross<true, false> {
  static constexpr char of_b[] = ", 1", of_both[] = ", 0, 1";
};
template <>
struct WgmmaAcross<false, true> {
  static constexpr char of_b[] = "", of_both[] = "";
};

//   run    D = A B, plus D unless `add` is 0
//   first  D = A B; what D was before is no input, so that nothing has to be moved there
template <int kN, WgmmaType kType, bool kAcross = false>
struct Wgmma;

// clang-format off
#define REALM_VALUES_4(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define REALM_VALUES_16(c, i) REALM_VALUES_4(c, i), REALM_VALUES_4(c, i + 4), REALM_VALUES_4(c, i + 8), REALM_VALUES_4(c, i + 12)
#define REALM_VALUES_32(c, i) REALM_VALUES_16(c, i), REALM_VALUES_16(c, i + 16)
#define REALM_VALUES_64(c, i) REALM_VALUES_32(c, i), REALM_VALUES_32(c, i + 32)
#define REALM_VALUES_112(c, i) REALM_VALUES_64(c, i), REALM_VALUES_32(c, i + 64), REALM_VALUES_16(c, i + 96)
#define REALM_VALUES_128(c, i) REALM_VALUES_64(c, i), REALM_VALUES_64(c, i + 64)

#define REALM_PLACES_4 "%0, %1, %2, %3"
#define REALM_PLACES_16 \
  REALM_PLACES_4 \
  ", %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define REALM_PLACES_32 \
  REALM_PLACES_16 \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29" \
  ", %30, %31"
#define REALM_PLACES_64 \
  REALM_PLACES_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45" \
  ", %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59" \
  ", %60, %61, %62, %63"
#define REALM_PLACES_112 \
  REALM_PLACES_64 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77" \
  ", %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91" \
  ", %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104" \
  ", %105, %106, %107, %108, %109, %110, %111"
#define REALM_PLACES_128 \
  REALM_PLACES_112 \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123" \
  ", %124, %125, %126, %127"

// `half`: N / 2, how many accumulators a thread has; p0, ...: the operands' places after those.
#define REALM_WGMMA_OF(n, half, p0, p1, p2, p3, p4, p5, p6, p7) \
  template <WgmmaType kType, bool kAcross> \
  struct Wgmma<n, kType, kAcross> { \
    using Name = WgmmaName<kType>; \
    using Across = WgmmaAcross<kAcross, kType == WgmmaType::kE4M3>; \
    static __device__ void run(float (&d)[half], const uint32_t (&a)[4], uint64_t b) { \
      asm volatile("wgmma.mma_async.sync.aligned.m64n" #n p5 " {" REALM_PLACES_##half "}, " \
                   "{" p0 ", " p1 ", " p2 ", " p3 "}, " p4 ", 1, 1, 1" p6 ";\n" \
                   : REALM_VALUES_##half("+f", 0) \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), \
                     "C"(Name::value), "C"(Across::of_b)); \
    } \
    static __device__ void run(float (&d)[half], const uint32_t (&a)[4], uint64_t b, int add) { \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p5 ", 0;\n" \
                   "wgmma.mma_async.sync.aligned.m64n" #n p6 " {" REALM_PLACES_##half "}, " \
                   "{" p0 ", " p1 ", " p2 ", " p3 "}, " p4 ", p, 1, 1" p7 ";\n}\n" \
                   : REALM_VALUES_##half("+f", 0) \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), \
                     "C"(Name::value), "C"(Across::of_b)); \
    } \
    static __device__ void run(float (&d)[half], uint64_t a, uint64_t b) { \
      asm volatile("wgmma.mma_async.sync.aligned.m64n" #n p2 " {" REALM_PLACES_##half "}, " \
                   p0 ", " p1 ", 1, 1, 1" p3 ";\n" \
                   : REALM_VALUES_##half("+f", 0) \
                   : "l"(a), "l"(b), "C"(Name::value), "C"(Across::of_both)); \
    } \
    static __device__ void run(float (&d)[half], uint64_t a, uint64_t b, int add) { \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p2 ", 0;\n" \
                   "wgmma.mma_async.sync.aligned.m64n" #n p3 " {" REALM_PLACES_##half "}, " \
                   p0 ", " p1 ", p, 1, 1" p4 ";\n}\n" \
                   : REALM_VALUES_##half("+f", 0) \
                   : "l"(a), "l"(b), "r"(add), "C"(Name::value), "C"(Across::of_both)); \
    } \
    static __device__ void first(float (&d)[half], uint64_t a, uint64_t b) { \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n" \
                   "wgmma.mma_async.sync.aligned.m64n" #n p2 " {" REALM_PLACES_##half "}, " \
                   p0 ", " p1 ", p, 1, 1" p3 ";\n}\n" \
                   : REALM_VALUES_##half("=f", 0) \
                   : "l"(a), "l"(b), "C"(Name::value), "C"(Across::of_both)); \
    } \
  }

REALM_WGMMA_OF(8, 4, "%4", "%5", "%6", "%7", "%8", "%9", "%10", "%11");
REALM_WGMMA_OF(32, 16, "%16", "%17", "%18", "%19", "%20", "%21", "%22", "%23");
REALM_WGMMA_OF(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38", "%39");
REALM_WGMMA_OF(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70", "%71");
REALM_WGMMA_OF(224, 112, "%112", "%113", "%114", "%115", "%116", "%117", "%118", "%119");
REALM_WGMMA_OF(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134", "%135");

#undef REALM_WGMMA_OF
#undef REALM_VALUES_4
#undef REALM_VALUES_16
#undef REALM_VALUES_32
#undef REALM_VALUES_64
#undef REALM_VALUES_112
#undef REALM_VALUES_128
#undef REALM_PLACES_4
#undef REALM_PLACES_16
#undef REALM_PLACES_32
#undef REALM_PLACES_64
#undef REALM_PLACES_112
#undef REALM_PLACES_128
// clang-format on

}  // namespace realm::cuda
