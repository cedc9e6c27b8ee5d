/* avx2.c: x86-64 with AVX2 and FMA: 16 registers of 8 floats. */
#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define MN_ISA_AVX2
#define MN_TABLE mn_isa_avx2
#define MN_ISA_NAME "avx2"
#include "kernels.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int mn_isa_avx2_is_for_x86;     /* a translation unit must declare something */
#endif
