/* mininet.h: the only public header. What a step is, what a kernel is, how a program runs.
 *
 * Layout: every tensor is float32 and blocked, (c / 16, h, w, 16): 16 channels of a pixel are one cache
 * line, neighbouring pixels are neighbouring lines. A 1x1 convolution then reads its input at fixed
 * distances from one pointer, a depthwise one vectorises over channels, and no stride is a large
 * power of two. The last block is filled up; its surplus lanes hold finite rubbish that no kernel reads.
 * Only the network's own input and outputs are planar, (c, h, w).
 *
 * A batch is run image by image, or an image on each thread, so that one image's activations stay in the cache of one
 * core and a result cannot depend on its neighbours.
 */
#ifndef MININET_H
#define MININET_H

#include <stddef.h>
#include <stdint.h>

#define MN_BLOCK 16                         /* channels in a block: 64 bytes, a cache line */
#define MN_MAX_INPUTS 2
#define MN_MAX_CONSTANTS 3
#define MN_MAX_EXTERNALS 8

typedef enum {
    MN_IDENTITY, MN_RELU, MN_RELU6, MN_HARD_SIGMOID, MN_HARD_SWISH, MN_SIGMOID,
    MN_ACTIVATION_COUNT
} mn_activation;

typedef enum {
    MN_CONV2D, MN_DEPTHWISE, MN_POINTWISE, MN_POINTWISE_HALF, MN_EXPAND_DEPTHWISE,
    MN_CONV_DEPTHWISE, MN_BATCH_NORM, MN_ACTIVATION, MN_CLIP, MN_SOFTMAX, MN_ADD,
    MN_MULTIPLY, MN_GLOBAL_AVG_POOL, MN_GLOBAL_MAX_POOL, MN_AVG_POOL,
    MN_TO_BLOCKED, MN_TO_PLANAR,
    MN_KERNEL_COUNT
} mn_kernel_id;

/* Names of the enums above, in their order. */
extern const char *const mn_activation_names[MN_ACTIVATION_COUNT];
extern const char *const mn_kernel_names[MN_KERNEL_COUNT];

/* Where an operand lives: space 0 is the arena, space 1 + i the i-th array given to mn_run. */
typedef struct {
    ptrdiff_t space, offset;                /* offset in floats */
} mn_operand;

/* One image of an operand. */
typedef struct {
    ptrdiff_t h, w, c;
    ptrdiff_t lanes;                        /* MN_BLOCK, or 1 if planar */
} mn_extent;

/* One kernel call. Filled and validated in Python once; kernels trust it. */
typedef struct mn_step {
    mn_kernel_id kernel;
    mn_activation activation;
    ptrdiff_t inputs;                       /* how many operands it reads */
    mn_extent in[MN_MAX_INPUTS], out;
    ptrdiff_t kh, kw, sh, sw, dh, dw;       /* window, stride, dilation */
    ptrdiff_t pt, pl;                       /* zeros above and to the left; those below and to the */
                                            /* right follow from the output's size */
    ptrdiff_t slots;                        /* of a sliding window: rows of input that it keeps, padded; see kernels/window.c */
    ptrdiff_t groups;
    ptrdiff_t means;                        /* whether the mean of each channel is to follow the output in memory */
    ptrdiff_t halved;                       /* whether the last block, half empty, is laid out for registers of half a block */
    struct mn_step *first;                  /* of two fused convolutions: the first, as a step of its own; */
                                            /* in[0] is then its result, and x[0] its input */
    struct mn_step *last;                   /* what alone reads the result, `turn` rows of it at a time, as a step of its own: */
                                            /* x[1] is then its residual, and y its output; see kernels/turns.c */
    ptrdiff_t turn;
    const float *constant[MN_MAX_CONSTANTS];
    mn_operand x[MN_MAX_INPUTS], y;
    ptrdiff_t tasks;                        /* how many independent pieces; see mn_prepare */
} mn_step;

/* The operands of one call as addresses; NULL for an input that the step does not have. The workspace belongs to
 * the thread that runs the task. */
typedef struct {
    const float *x[MN_MAX_INPUTS];
    float *y, *workspace;
} mn_views;

/* A kernel does tasks first to last - 1 of a step; tasks write disjoint parts of y and may run in any order on any
 * thread. It may do neighbouring tasks together where that is faster, but computes each value in the same way however
 * they come: no bit of a result depends on which thread got which tasks. */
typedef void (*mn_kernel)(const mn_step *step, const mn_views *views, ptrdiff_t first, ptrdiff_t last);
typedef ptrdiff_t (*mn_split)(const mn_step *step);
/* Output rows of some blocks of channels of a depthwise convolution: see kernels/window.c. */
struct mn_part;
/* Floats of constant i that a step must come with; 0 for one that its kernel does not read. */
ptrdiff_t mn_constant_floats(const mn_step *step, int i);

/* All kernels compiled for one instruction set. */
typedef struct {
    const char *name;
    ptrdiff_t width;                        /* floats in a vector register */
    ptrdiff_t per_round;                    /* multiply-adds of one round of a burst, and floats of its result */
    void (*fma_burst)(ptrdiff_t rounds, float *result);
    mn_kernel kernel[MN_KERNEL_COUNT];
    mn_split split[MN_KERNEL_COUNT];        /* number of tasks of a step */
    /* What kernels of another set hand over: a part, and rows of a 1x1 convolution. */
    void (*part[MN_KERNEL_COUNT])(const mn_step *step, const mn_views *views, const struct mn_part *part);
    void (*pointwise_rows)(const mn_step *step, const mn_views *views, const float *x, ptrdiff_t xblock, ptrdiff_t row,
                           ptrdiff_t rows);
} mn_isa;

/* The instruction set chosen at first use: the best this CPU has, or what MININET_ISA names.
 * mn_isa_choice() returns NULL if that variable names a set that is unknown or not available. */
const mn_isa *mn_isa_choice(void);
/* Whether this CPU computes a register of the widest set in two halves, one after the other, as Zen 4 does: then half a
 * register costs half as much, elsewhere as much as a whole one. */
int mn_isa_double_pumped(void);
/* Names of the sets that this build and this CPU can run, best first; NULL ends the list. */
const char *const *mn_isa_available(void);

typedef struct {
    const mn_step *steps;
    ptrdiff_t count;
    ptrdiff_t arena, workspace;             /* floats for tensors, and for each thread's scratch */
    ptrdiff_t externals;
    ptrdiff_t stride[MN_MAX_EXTERNALS];     /* floats from one image to the next, per external */
} mn_program;

/* Fill in what depends on the instruction set: the tasks of each step. */
void mn_prepare(mn_step *steps, ptrdiff_t count);
/* Run all steps for each image of a batch on at most `threads` threads. `arena` must be aligned to 64 bytes and
 * hold arena + threads * workspace floats; or, if images are to run `abreast`, each on a thread of its own where there
 * are enough of them, threads * (arena + workspace). `seconds`, if not NULL, receives the time of each step, summed over the
 * batch. Returns 0, or -1 if memory for the few counters of a parallel run could not be had. The caller's floating-point
 * environment (rounding, denormals, flags, traps) has no influence and is the same afterwards. */
int mn_run(const mn_program *program, float *const *externals, ptrdiff_t batch, float *arena, int threads,
           int abreast, double *seconds);

/* The most multiply-adds per second that one thread was seen to do in bursts of some 20 us, over `seconds`. */
double mn_fma_peak(double seconds);

/* The worker pool. Threads are started when first needed. */
void mn_set_num_threads(int count);
int mn_get_num_threads(void);
int mn_cpu_count(void);

/* Does tasks first to last - 1 of a step. `seat` numbers the threads of one job from 0, the caller's own. */
typedef void (*mn_task)(void *context, ptrdiff_t step, ptrdiff_t first, ptrdiff_t last, int seat);
/* Run every task of each of `steps` steps, step after step, on up to `threads` threads. The number of tasks of step
 * i lies `stride` bytes after that of step i - 1. A thread takes them in multiples of `least`, as long as so many are left.
 * Returns 0, or -1 if memory could not be had. */
int mn_parallel_steps(mn_task run, void *context, const ptrdiff_t *tasks, size_t stride, ptrdiff_t steps, ptrdiff_t least,
                      int threads);

#endif
