#include "backends/cpu/isa.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace realm::cpu {

#if defined(__x86_64__)
namespace {

// Clang 14's __builtin_cpu_supports does not know the name.
bool supports_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// Tiles are 8 KiB of state a thread, which Linux saves only for processes that asked. One answer
// holds for all threads of the process.
bool may_use_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // <asm/prctl.h> of Linux 5.16
  static const bool granted = ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

// Of leaf 7, register EDX.
constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
bool supports_amx(unsigned features) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & features) == features;
}

}  // namespace
#endif

bool has_isa(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && supports_f16c();
    case Isa::kAvx512:
      return has_isa(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
    case Isa::kAmx:
      return has_isa(Isa::kAvx512) && __builtin_cpu_supports("avx512vbmi") &&
             supports_amx(kAmxTile | kAmxInt8) && may_use_tiles();
    case Isa::kNeon:
      return false;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    case Isa::kAvx2:
    case Isa::kAvx512:
    case Isa::kAmx:
      return false;
#else
    default:
      return false;
#endif
  }
  return false;
}

bool has_bf16_tiles() {
#if defined(__x86_64__)
  return has_isa(Isa::kAmx) && supports_amx(kAmxBf16);
#else
  return false;
#endif
}

Isa best_isa() {
  for (Isa isa : {Isa::kAmx, Isa::kAvx512, Isa::kAvx2, Isa::kNeon}) {
    if (has_isa(isa)) return isa;
  }
  return Isa::kScalar;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kNeon:
      return "neon";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

Result<Isa> parse_isa(const std::string& name) {
  for (Isa isa : {Isa::kScalar, Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (name != isa_name(isa)) continue;
    if (!has_isa(isa)) {
      return Error{ErrorCode::kUnsupported, "this processor does not have " + name};
    }
    return isa;
  }
  return Error{ErrorCode::kInvalidArgument,
               "instruction set '" + name + "' is not one of scalar, neon, avx2, avx512, amx"};
}

}  // namespace realm::cpu
