/* program.c: runs a compiled plan: a flat array of steps over one arena, image by image. */
#define _POSIX_C_SOURCE 200809L
#include <fenv.h>
#include <stdlib.h>
#include <time.h>

#include "mininet.h"

/* Tasks of a step that a thread claims at once, at least: a kernel does two blocks of channels faster than one and one. */
#define MN_LEAST_TASKS 2

typedef struct {
    const mn_program *program;
    const mn_isa *isa;
    float *const *externals;
    float *arena;
    int threads;
    ptrdiff_t image;
} run_context;

static float *address(const run_context *c, const mn_operand *o)
{
    if (o->space == 0) return c->arena + o->offset;
    return c->externals[o->space - 1] + c->image * c->program->stride[o->space - 1] + o->offset;
}

static void run_tasks(void *context, ptrdiff_t step, ptrdiff_t first, ptrdiff_t last, int seat)
{
    const run_context *c = context;
    const mn_step *s = c->program->steps + step;
    const mn_views views = {
        {address(c, &s->x[0]), s->inputs > 1 ? address(c, &s->x[1]) : NULL},
        address(c, &s->y),
        c->arena + c->program->arena + seat * c->program->workspace,
    };
    c->isa->kernel[s->kernel](s, &views, first, last);
}

/* Whole images, each from the first step to the last by one thread, which has an arena of its own. */
static void run_images(void *context, ptrdiff_t unused, ptrdiff_t first, ptrdiff_t last, int seat)
{
    run_context c = *(const run_context *)context;
    (void)unused;
    c.arena += seat * (c.program->arena + c.program->workspace);
    for (c.image = first; c.image < last; c.image++)
        for (ptrdiff_t i = 0; i < c.program->count; i++) run_tasks(&c, i, 0, c.program->steps[i].tasks, 0);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double mn_fma_peak(double seconds)
{
    const mn_isa *isa = mn_isa_choice();
    const ptrdiff_t rounds = 4000;
    float result[12 * 16];
    double best = 0.0;
    for (double start = now(); now() - start < seconds;) {
        const double from = now();
        isa->fma_burst(rounds, result);
        const double rate = (double)(rounds * isa->per_round) / (now() - from);
        if (rate > best) best = rate;
    }
    return best;
}

/* One step alone, so that its time can be told. */
typedef struct {
    run_context *run;
    ptrdiff_t step;
} single_context;

static void run_single(void *context, ptrdiff_t step, ptrdiff_t first, ptrdiff_t last, int seat)
{
    const single_context *c = context;
    run_tasks(c->run, c->step + step, first, last, seat);
}

static int run_timed(run_context *c, double *seconds)
{
    int failed = 0;
    for (ptrdiff_t i = 0; i < c->program->count; i++) {
        single_context single = {c, i};
        const double start = now();
        failed |= mn_parallel_steps(run_single, &single, &c->program->steps[i].tasks, sizeof(mn_step), 1, MN_LEAST_TASKS,
                                    c->threads);
        seconds[i] += now() - start;
    }
    return failed;
}

static ptrdiff_t whole_blocks(ptrdiff_t channels) { return (channels + MN_BLOCK - 1) / MN_BLOCK * MN_BLOCK; }

ptrdiff_t mn_constant_floats(const mn_step *s, int i)
{
    const ptrdiff_t width = mn_isa_choice()->width, in = s->in[0].c, out = whole_blocks(s->out.c);
    const ptrdiff_t window = s->kh * s->kw;
    const ptrdiff_t per_group = s->out.c / s->groups, panels = (per_group + width - 1) / width * width * s->groups;
    switch (s->kernel) {
    case MN_CONV2D: return i == 0 ? panels * window * (in / s->groups) : i == 1 ? panels : 0;
    case MN_DEPTHWISE:
    case MN_EXPAND_DEPTHWISE:
    case MN_CONV_DEPTHWISE: return i == 0 ? out * window : i == 1 ? out : 0;
    case MN_POINTWISE:
    case MN_POINTWISE_HALF: return i == 0 ? out * in : i == 1 ? out : 0;
    case MN_CLIP: return i == 0 ? 2 : 0;
    case MN_BATCH_NORM: return i < 3 ? out : 0;
    default: return 0;
    }
}

void mn_prepare(mn_step *steps, ptrdiff_t count)
{
    const mn_isa *isa = mn_isa_choice();
    for (ptrdiff_t i = 0; i < count; i++) steps[i].tasks = isa->split[steps[i].kernel](steps + i);
}

/* The caller's floating-point environment is put aside: a result depends neither on its rounding mode nor on whether
 * it flushes denormals, which the workers could not know, and a rubbish lane raises no flag or trap of it. Workers
 * that this call starts inherit the default. */
int mn_run(const mn_program *program, float *const *externals, ptrdiff_t batch, float *arena, int threads,
           int abreast, double *seconds)
{
    run_context c = {program, mn_isa_choice(), externals, arena, threads, 0};
    int failed = 0;
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    if (abreast && seconds == NULL) {               /* as many images as share out evenly; the rest one by one */
        const ptrdiff_t shared = batch - batch % threads;
        failed = mn_parallel_steps(run_images, &c, &shared, 0, 1, 1, threads);
        c.image = shared;
    }
    for (; c.image < batch && !failed; c.image++) {
        if (seconds != NULL) failed = run_timed(&c, seconds);
        else
            failed = mn_parallel_steps(run_tasks, &c, &program->steps[0].tasks, sizeof(mn_step), program->count, MN_LEAST_TASKS,
                                       threads);
    }
    fesetenv(&callers);
    return failed;
}
