/* avx512_half.c: AVX-512 VL on 256-bit vectors: 32 registers of 8 floats. Where the last block of channels is at most
 * half full (8, 24, 40, 72), they compute nothing in vain. No set of its own: avx512.c hands it such blocks. */
#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx2,fma"))), apply_to = function)
#elif defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx2,fma")
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define MN_ISA_AVX2
#define MN_32_REGISTERS
#define MN_TABLE mn_isa_avx512_half
#define MN_ISA_NAME "avx512_half"
#include "kernels.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int mn_isa_avx512_half_is_for_x86;  /* a translation unit must declare something */
#endif
