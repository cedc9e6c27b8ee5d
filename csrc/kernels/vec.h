/* vec.h: the dozen vector operations that the kernels are written in, once per instruction set.
 *
 * `vf` holds MN_WIDTH floats, which divides MN_BLOCK. mn_max and mn_min return their SECOND argument when either is
 * NaN, as the x86 instructions do: mn_max(zero, x) therefore passes a NaN in x on.
 *
 * MN_ROWS x 2 is the register tile of a matrix product: pixels by panels of MN_WIDTH output channels; a tile of one panel has
 * MN_THIN_ROWS pixels. Where MN_PANELS is 3 or 4, there are tiles of 8 x 3 and 6 x 4 as well; where MN_SHARES is 1, tiles of one
 * or two panels and half a one, and of pairs of columns. MN_WINDOW_ROWS x MN_COLUMNS are the outputs that a sliding window sums
 * at once. All are chosen so that sums, weights and one broadcast value fit the register file (32 registers with AVX-512 and
 * NEON, 16 with AVX2) and cover the latency of an FMA. Two panels load half as many values as they do multiply-adds, many pixels
 * load a panel less often, which tells where it comes from L2.
 */
#ifndef MN_VEC_H
#define MN_VEC_H

#if defined(__GNUC__)
#define MN_INLINE static inline __attribute__((always_inline, unused))
#define MN_NOINLINE __attribute__((noinline, unused))
#define mn_fetch_to_l1(p) __builtin_prefetch(p, 0, 3)
#define mn_fetch_to_l2(p) __builtin_prefetch(p, 0, 2)
#else
#define MN_INLINE static inline
#define MN_NOINLINE
#define mn_fetch_to_l1(p) ((void)0)
#define mn_fetch_to_l2(p) ((void)0)
#endif

/* The compiler forgets where a value in a register came from. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define mn_opaque(v) __asm__("" : "+v"(v))
#elif defined(__GNUC__) && defined(__aarch64__)
#define mn_opaque(v) __asm__("" : "+w"(v))
#else
#define mn_opaque(v) ((void)0)
#endif

/* The same of a pointer. */
#if defined(__GNUC__)
#define mn_opaque_pointer(p) __asm__("" : "+r"(p))
#else
#define mn_opaque_pointer(p) ((void)0)
#endif

/* sum += a b, in the register that sum is in. Of the three forms of the x86 instruction gcc now and then takes one that leaves
 * the sum where a or b was; unrolled over k, so many sums wander about that it runs out of registers. */
#if defined(__GNUC__) && (defined(MN_ISA_AVX512) || defined(MN_ISA_AVX2))
#define mn_add_product(sum, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
#else
#define mn_add_product(sum, a, b) ((sum) = mn_fma(a, b, sum))
#endif

/* The same where a is a broadcast that nothing else needs: AVX-512 takes it straight from memory. */
#if defined(MN_ISA_AVX512) || defined(MN_32_REGISTERS)
#define mn_add_single_product(sum, a, b) ((sum) = mn_fma(a, b, sum))
#else
#define mn_add_single_product mn_add_product
#endif

/* The compiler moves no load across this: it would load ahead more than there are registers for. */
#if defined(__GNUC__)
#define mn_no_load_ahead() __asm__ __volatile__("" ::: "memory")
#else
#define mn_no_load_ahead() ((void)0)
#endif

/* How far ahead of its use a weight is fetched, in floats: all constants of a program follow one another in memory in
 * the order of use, so this reaches into the step that comes next, while this one computes. 128 KB, an eighth of an L2 of 1 MB:
 * what lies there longer is pushed out by the results of the step, or pushes its input out. */
#define MN_AHEAD ((ptrdiff_t)32 * 1024)

/* Panels of a tile at most. Registers of half a block do two multiply-adds in a cycle and wait for broadcasts: the more panels
 * share one, the better. Those of a whole block have tiles of three for the last of an odd number. */
#if defined(MN_32_REGISTERS)
#define MN_PANELS 4
#elif defined(MN_ISA_AVX512)
#define MN_PANELS 3
#else
#define MN_PANELS 2
#endif

#if defined(MN_ISA_AVX512)

#include <immintrin.h>
#define MN_WIDTH 16
#define MN_SINGLE_PANELS 4
#define MN_ROWS 14
#define MN_THIN_ROWS 14
#define MN_COLUMNS 8
#define MN_WINDOW_ROWS 2
typedef __m512 vf;
MN_INLINE vf mn_load(const float *p) { return _mm512_loadu_ps(p); }
MN_INLINE void mn_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
MN_INLINE vf mn_set(float a) { return _mm512_set1_ps(a); }
MN_INLINE vf mn_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
MN_INLINE vf mn_add(vf a, vf b) { return _mm512_add_ps(a, b); }
MN_INLINE vf mn_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
MN_INLINE vf mn_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
MN_INLINE vf mn_div(vf a, vf b) { return _mm512_div_ps(a, b); }
MN_INLINE vf mn_max(vf a, vf b) { return _mm512_max_ps(a, b); }
MN_INLINE vf mn_min(vf a, vf b) { return _mm512_min_ps(a, b); }

/* Two pixels share a register where they have no more than half of one each: the left one has the lower half. */
#define MN_SHARES 1
MN_INLINE vf mn_share(vf a, vf b) { return _mm512_mask_blend_ps(0xff00, a, b); }
MN_INLINE vf mn_load_twice(const float *p)
{
    return _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(p))));
}
MN_INLINE vf mn_load_shared(const float *a, const float *b)
{
    const __m512d left = _mm512_castpd256_pd512(_mm256_castps_pd(_mm256_loadu_ps(a)));
    return _mm512_castpd_ps(_mm512_insertf64x4(left, _mm256_castps_pd(_mm256_loadu_ps(b)), 1));
}
MN_INLINE void mn_store_shared(float *a, float *b, vf x)
{
    _mm256_storeu_ps(a, _mm512_castps512_ps256(x));
    _mm256_storeu_ps(b, _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
}
/* Of eight floats those whose bit is set, others 0 and not touched; and two of them, each for one of the pixels. */
MN_INLINE vf mn_load_some(const float *p, unsigned some)
{
    return _mm512_castps256_ps512(_mm256_maskz_loadu_ps((__mmask8)some, p));
}
MN_INLINE vf mn_pick(vf x, int left, int right)
{
    return _mm512_permutexvar_ps(_mm512_mask_set1_epi32(_mm512_set1_epi32(left), 0xff00, right), x);
}

#elif defined(MN_ISA_AVX2)

#include <immintrin.h>
#define MN_WIDTH 8
#define MN_SINGLE_PANELS 2
#ifdef MN_32_REGISTERS              /* AVX-512 VL has that many for 256-bit vectors too */
#define MN_ROWS 14
#define MN_THIN_ROWS 14
#define MN_COLUMNS 14
#define MN_WINDOW_ROWS 1
#else
#define MN_ROWS 6
#define MN_THIN_ROWS 12
#define MN_COLUMNS 8
#define MN_WINDOW_ROWS 1
#endif
typedef __m256 vf;
MN_INLINE vf mn_load(const float *p) { return _mm256_loadu_ps(p); }
MN_INLINE void mn_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
MN_INLINE vf mn_set(float a) { return _mm256_set1_ps(a); }
MN_INLINE vf mn_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
MN_INLINE vf mn_add(vf a, vf b) { return _mm256_add_ps(a, b); }
MN_INLINE vf mn_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
MN_INLINE vf mn_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
MN_INLINE vf mn_div(vf a, vf b) { return _mm256_div_ps(a, b); }
MN_INLINE vf mn_max(vf a, vf b) { return _mm256_max_ps(a, b); }
MN_INLINE vf mn_min(vf a, vf b) { return _mm256_min_ps(a, b); }

#elif defined(MN_ISA_NEON)

#include <arm_neon.h>
#define MN_WIDTH 4
#define MN_SINGLE_PANELS 4
#define MN_ROWS 14
#define MN_THIN_ROWS 14
#define MN_COLUMNS 8
#define MN_WINDOW_ROWS 2
typedef float32x4_t vf;
MN_INLINE vf mn_load(const float *p) { return vld1q_f32(p); }
MN_INLINE void mn_store(float *p, vf a) { vst1q_f32(p, a); }
MN_INLINE vf mn_set(float a) { return vdupq_n_f32(a); }
MN_INLINE vf mn_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
MN_INLINE vf mn_add(vf a, vf b) { return vaddq_f32(a, b); }
MN_INLINE vf mn_sub(vf a, vf b) { return vsubq_f32(a, b); }
MN_INLINE vf mn_mul(vf a, vf b) { return vmulq_f32(a, b); }
MN_INLINE vf mn_div(vf a, vf b) { return vdivq_f32(a, b); }
/* vmaxq and vminq return NaN when either is NaN, which passes a NaN in b on just as well. */
MN_INLINE vf mn_max(vf a, vf b) { return vmaxq_f32(a, b); }
MN_INLINE vf mn_min(vf a, vf b) { return vminq_f32(a, b); }

#else /* portable C: a vector of one */

#define MN_WIDTH 1
#define MN_SINGLE_PANELS 4
#define MN_ROWS 4
#define MN_THIN_ROWS 8
#define MN_COLUMNS 8
#define MN_WINDOW_ROWS 1
typedef float vf;
MN_INLINE vf mn_load(const float *p) { return *p; }
MN_INLINE void mn_store(float *p, vf a) { *p = a; }
MN_INLINE vf mn_set(float a) { return a; }
MN_INLINE vf mn_fma(vf a, vf b, vf c) { return a * b + c; }
MN_INLINE vf mn_add(vf a, vf b) { return a + b; }
MN_INLINE vf mn_sub(vf a, vf b) { return a - b; }
MN_INLINE vf mn_mul(vf a, vf b) { return a * b; }
MN_INLINE vf mn_div(vf a, vf b) { return a / b; }
MN_INLINE vf mn_max(vf a, vf b) { return a > b ? a : b; }
MN_INLINE vf mn_min(vf a, vf b) { return a < b ? a : b; }

#endif

#ifndef MN_SHARES       /* registers of less than a block are not shared */
#define MN_SHARES 0
#define mn_share(a, b) (a)
#define mn_load_twice mn_load
#define mn_load_shared(a, b) mn_load(a)
#define mn_store_shared(a, b, x) mn_store(a, x)
#define mn_load_some(p, some) ((void)(some), mn_load(p))
#define mn_pick(x, left, right) (x)
#endif

/* A constant trip count: MN_UNROLL unrolls a loop over a register array, so that it stays in registers. MN_ROLLED
 * keeps a loop around such loops as it is: unrolled, gcc would load ahead more than there are registers for. */
#if defined(__clang__)
#define MN_UNROLL _Pragma("clang loop unroll(full)")
#define MN_ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define MN_UNROLL _Pragma("GCC unroll 32")
#define MN_ROLLED _Pragma("GCC unroll 1")
#else
#define MN_UNROLL
#define MN_ROLLED
#endif

/* CASE(n, ...) for every n from 1 to what there is at most: rows of a tile, of a tile of one panel, columns of a window. */
#define MN_TO_4(CASE, ...) CASE(1, __VA_ARGS__) CASE(2, __VA_ARGS__) CASE(3, __VA_ARGS__) CASE(4, __VA_ARGS__)
#define MN_TO_6(CASE, ...) MN_TO_4(CASE, __VA_ARGS__) CASE(5, __VA_ARGS__) CASE(6, __VA_ARGS__)
#define MN_TO_7(CASE, ...) MN_TO_6(CASE, __VA_ARGS__) CASE(7, __VA_ARGS__)
#define MN_TO_8(CASE, ...) MN_TO_7(CASE, __VA_ARGS__) CASE(8, __VA_ARGS__)
#define MN_TO_12(CASE, ...) \
    MN_TO_8(CASE, __VA_ARGS__) CASE(9, __VA_ARGS__) CASE(10, __VA_ARGS__) CASE(11, __VA_ARGS__) CASE(12, __VA_ARGS__)
#define MN_TO_14(CASE, ...) MN_TO_12(CASE, __VA_ARGS__) CASE(13, __VA_ARGS__) CASE(14, __VA_ARGS__)

#if MN_COLUMNS == 14
#define MN_COLUMN_CASES MN_TO_14
#else
#define MN_COLUMN_CASES MN_TO_8
#endif

#if MN_ROWS == 14
#define MN_CASES MN_TO_14
#define MN_THIN_CASES MN_TO_14
#elif MN_ROWS == 6
#define MN_CASES MN_TO_6
#define MN_THIN_CASES MN_TO_12
#else
#define MN_CASES MN_TO_4
#define MN_THIN_CASES MN_TO_8
#endif

MN_INLINE ptrdiff_t mn_ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }
MN_INLINE ptrdiff_t mn_least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
MN_INLINE ptrdiff_t mn_most(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

/* Blocks of channels; floats of one block of a tensor, and of the whole of it. */
MN_INLINE ptrdiff_t mn_blocks(ptrdiff_t c) { return mn_ceil_div(c, MN_BLOCK); }
MN_INLINE ptrdiff_t mn_plane(const mn_extent *e) { return e->h * e->w * MN_BLOCK; }
MN_INLINE ptrdiff_t mn_floats(const mn_extent *e) { return mn_blocks(e->c) * mn_plane(e); }

/* Vectors of block b that hold channels. */
MN_INLINE ptrdiff_t mn_panels_of_block(const mn_extent *e, ptrdiff_t b)
{
    return mn_ceil_div(mn_least(MN_BLOCK, e->c - b * MN_BLOCK), MN_WIDTH);
}

#endif
