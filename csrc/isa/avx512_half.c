/* avx512_half.c: AVX-512 VL on 256-bit vectors: 32 registers of 8 floats. Where the last block of channels is at most
 * half full (24, 40, 72), panels of 8 waste nothing. Only the pointwise kernel is compiled; avx512.c's table holds it. */
#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx2,fma"))), apply_to = function)
#elif defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx2,fma")
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define MN_ISA_AVX2
#define MN_32_REGISTERS
#include <math.h>

#include "../mininet.h"

#include "../kernels/vec.h"

#include "../kernels/activation.c"
#include "../kernels/tile.c"
#include "../kernels/pointwise.c"

void mn_pointwise_f32_half(const mn_step *s, const mn_views *v, ptrdiff_t task) { mn_pointwise_f32(s, v, task); }
ptrdiff_t mn_pointwise_half_tasks(const mn_step *s) { return mn_pointwise_tasks(s); }
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int mn_isa_avx512_half_is_for_x86;  /* a translation unit must declare something */
#endif
