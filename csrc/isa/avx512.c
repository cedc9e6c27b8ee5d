/* avx512.c: x86-64 with AVX-512 F and VL: 32 registers of 16 floats, masked tails. */
#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx2,fma"))), apply_to = function)
#elif defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx2,fma")
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define MN_ISA_AVX512
#define MN_TABLE mn_isa_avx512
#define MN_ISA_NAME "avx512"
#define MN_HALF mn_isa_avx512_half
#include "kernels.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int mn_isa_avx512_is_for_x86;   /* a translation unit must declare something */
#endif
