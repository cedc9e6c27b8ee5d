/* scalar.c: portable C; runs anywhere, and is the fallback that the fast sets are measured against. */
#define MN_TABLE mn_isa_scalar
#define MN_ISA_NAME "scalar"
#include "kernels.h"
