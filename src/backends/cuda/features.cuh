// What the code of one architecture has. Device code is compiled once for each that the build names
// (REALM_CUDA_ARCHS); which of two ways an op takes is chosen at run time by what the code that was
// loaded on this device says of itself (Context::has_wgmma), so that a binary for many
// architectures holds for each one only what it can run.
//   REALM_WGMMA  Hopper's: wgmma, the copy engine, registers handed between warps (sm_90a)
//   REALM_MMA    everywhere else from sm_80 on: mma.sync and cp.async
// The host's pass sees both.
#pragma once

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define REALM_WGMMA 1
#else
#define REALM_WGMMA 0
#endif

#if !defined(__CUDA_ARCH__) || !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define REALM_MMA 1
#else
#define REALM_MMA 0
#endif
