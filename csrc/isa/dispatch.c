/* dispatch.c: which instruction sets this CPU has, and the one choice that all kernels follow. */
#include <stdlib.h>
#include <string.h>

#include "../mininet.h"

extern const mn_isa mn_isa_scalar, mn_isa_avx2, mn_isa_avx512, mn_isa_neon;

const char *const mn_activation_names[MN_ACTIVATION_COUNT] = {
    "identity", "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid",
};

const char *const mn_kernel_names[MN_KERNEL_COUNT] = {
    "conv2d", "depthwise", "pointwise", "pointwise_half", "expand_depthwise", "conv_depthwise", "batch_norm", "activation",
    "clip", "softmax", "add", "multiply", "global_avg_pool", "global_max_pool", "avg_pool", "to_blocked", "to_planar",
};

#define MN_MAX_SETS 3

static const mn_isa *available[MN_MAX_SETS + 1];
static const char *names[MN_MAX_SETS + 1];

/* Fill the list of sets, best first. Idempotent: two threads that race write the same values. */
static void detect(void)
{
    int n = 0;
#if defined(__x86_64__) && defined(__GNUC__)
    /* __builtin_cpu_supports asks CPUID and whether the system saves the wide registers. */
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) available[n++] = &mn_isa_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) available[n++] = &mn_isa_avx2;
#elif defined(__aarch64__) && defined(__GNUC__)
    available[n++] = &mn_isa_neon;
#endif
    available[n++] = &mn_isa_scalar;
    for (int i = 0; i < n; i++) names[i] = available[i]->name;
}

const char *const *mn_isa_available(void)
{
    if (names[0] == NULL) detect();
    return names;
}

int mn_isa_double_pumped(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_is("amdfam19h");       /* Zen 3, which has no AVX-512, and Zen 4, which has it at half speed */
#else
    return 0;
#endif
}

const mn_isa *mn_isa_choice(void)
{
    static const mn_isa *choice;
    if (choice == NULL) {
        const char *wanted = getenv("MININET_ISA");
        mn_isa_available();
        for (int i = 0; available[i] != NULL && choice == NULL; i++)
            if (wanted == NULL || *wanted == '\0' || strcmp(wanted, available[i]->name) == 0) choice = available[i];
    }
    return choice;
}
