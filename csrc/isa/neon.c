/* neon.c: 64-bit ARM, which always has NEON with FMA: 32 registers of 4 floats. */
#if defined(__aarch64__) && defined(__GNUC__)
#ifndef __clang__
/* gcc would schedule loads ahead of all sums of a tile and run out of registers. */
#pragma GCC optimize("no-schedule-insns")
#endif
#define MN_ISA_NEON
#define MN_TABLE mn_isa_neon
#define MN_ISA_NAME "neon"
#include "kernels.h"
#else
typedef int mn_isa_neon_is_for_arm;     /* a translation unit must declare something */
#endif
