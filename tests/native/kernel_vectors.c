/* kernel_vectors.c: runs the programs that make_vectors.py wrote, and compares: the kernel tests without Python, for
 * a machine that has none (arm64 under emulation) and for sanitizers, which Python itself does not like.
 *
 *   kernel_vectors                     prints the instruction set and its width
 *   kernel_vectors FILE THREADS        runs all programs of FILE, on one thread and on THREADS
 *   kernel_vectors FILE THREADS behind | before    the same between fences (see fences.h)
 *
 * MININET_ISA chooses the set (exit code 2 where there is no such set); FILE must be made for its width. Every array
 * is an allocation of its own, exactly as large as promised, so that a sanitizer, or a fence, sees the first float that
 * a kernel touches beyond it.
 */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fences.h"
#include "mininet.h"

#define MOST_REPORTED 20

typedef struct {
    char *name;
    mn_step *steps;
    mn_program program;
    ptrdiff_t batch, inputs;
    float *external[MN_MAX_EXTERNALS];
    double *exact[MN_MAX_EXTERNALS], *bound[MN_MAX_EXTERNALS];  /* of outputs; a negative bound: anything will do */
} vector;

static void stop(const char *message, const char *detail)
{
    fprintf(stderr, "kernel_vectors: %s %s\n", message, detail);
    exit(2);
}

static void *allocate(size_t bytes)
{
    void *memory = fence_allocate(bytes);
    if (memory == NULL) stop("out of memory", "");
    return memory;
}

static void *read_array(FILE *file, size_t count, size_t size)
{
    void *values = allocate(count * size);
    if (fread(values, size, count, file) != count) stop("the file of vectors", "is too short");
    return values;
}

static ptrdiff_t read_number(FILE *file)
{
    int64_t value;
    if (fread(&value, sizeof value, 1, file) != 1) stop("the file of vectors", "is too short");
    return (ptrdiff_t)value;
}

static char *read_text(FILE *file)
{
    const size_t length = (size_t)read_number(file);
    char *text = allocate(length + 1);
    if (fread(text, 1, length, file) != length) stop("the file of vectors", "is too short");
    text[length] = '\0';
    return text;
}

/* Which of `names` comes next. */
static int read_name(FILE *file, const char *const *names, int count)
{
    char *name = read_text(file);
    int i = 0;
    while (i < count && strcmp(name, names[i]) != 0) i++;
    if (i == count) stop("no such kernel or activation:", name);
    fence_free(name);
    return i;
}

static mn_extent read_extent(FILE *file)
{
    const ptrdiff_t h = read_number(file), w = read_number(file), c = read_number(file), lanes = read_number(file);
    return (mn_extent){h, w, c, lanes};
}

static mn_operand read_operand(FILE *file)
{
    const ptrdiff_t space = read_number(file), offset = read_number(file);
    return (mn_operand){space, offset};
}

static void read_constants(FILE *file, mn_step *s)
{
    const ptrdiff_t constants = read_number(file);
    for (int i = 0; i < MN_MAX_CONSTANTS; i++) {
        const ptrdiff_t count = i < constants ? read_number(file) : 0;
        if (count != mn_constant_floats(s, i)) stop("a constant has another size than its kernel wants:", mn_kernel_names[s->kernel]);
        if (count > 0) s->constant[i] = fence_seal(read_array(file, (size_t)count, sizeof(float)), (size_t)count * sizeof(float));
    }
}

static mn_step *read_inner(FILE *file);

static void read_step(FILE *file, mn_step *s)
{
    s->kernel = (mn_kernel_id)read_name(file, mn_kernel_names, MN_KERNEL_COUNT);
    s->activation = (mn_activation)read_name(file, mn_activation_names, MN_ACTIVATION_COUNT);
    s->inputs = read_number(file);
    for (int i = 0; i < MN_MAX_INPUTS; i++) s->in[i] = read_extent(file);
    s->out = read_extent(file);
    ptrdiff_t *const geometry[] = {&s->kh, &s->kw, &s->sh, &s->sw, &s->dh, &s->dw, &s->pt, &s->pl, &s->slots, &s->groups, &s->means,
                                   &s->halved, &s->turn};
    for (size_t i = 0; i < sizeof geometry / sizeof *geometry; i++) *geometry[i] = read_number(file);
    read_constants(file, s);
    s->first = read_inner(file);
    s->last = read_inner(file);
}

static mn_step *read_inner(FILE *file)
{
    if (!read_number(file)) return NULL;
    mn_step *s = allocate(sizeof *s);
    memset(s, 0, sizeof *s);
    read_step(file, s);
    return s;
}

static void read_vector(FILE *file, vector *v)
{
    memset(v, 0, sizeof *v);
    v->name = read_text(file);
    mn_program *p = &v->program;
    p->count = read_number(file), p->arena = read_number(file), p->workspace = read_number(file);
    v->batch = read_number(file), v->inputs = read_number(file), p->externals = read_number(file);
    for (ptrdiff_t i = 0; i < p->externals; i++) p->stride[i] = read_number(file);
    p->steps = v->steps = allocate((size_t)p->count * sizeof(mn_step));
    memset(v->steps, 0, (size_t)p->count * sizeof(mn_step));
    for (ptrdiff_t i = 0; i < p->count; i++) {
        read_step(file, v->steps + i);
        v->steps[i].inputs = read_number(file);
        for (int j = 0; j < MN_MAX_INPUTS; j++) v->steps[i].x[j] = read_operand(file);
        v->steps[i].y = read_operand(file);
    }
    for (ptrdiff_t i = 0; i < p->externals; i++) {
        const size_t count = (size_t)(v->batch * p->stride[i]);
        if (i < v->inputs) {
            v->external[i] = fence_seal(read_array(file, count, sizeof(float)), count * sizeof(float));
        } else {
            v->external[i] = allocate(count * sizeof(float));
            v->exact[i] = read_array(file, count, sizeof(double));
            v->bound[i] = read_array(file, count, sizeof(double));
        }
    }
    mn_prepare(v->steps, p->count);
}

static void free_step(mn_step *s)
{
    for (int i = 0; i < MN_MAX_CONSTANTS; i++) fence_free(s->constant[i]);
    mn_step *const inner[] = {s->first, s->last};
    for (int i = 0; i < 2; i++) {
        if (inner[i] != NULL) free_step(inner[i]);
        fence_free(inner[i]);
    }
}

static void free_vector(vector *v)
{
    for (ptrdiff_t i = 0; i < v->program.count; i++) free_step(v->steps + i);
    for (int i = 0; i < MN_MAX_EXTERNALS; i++) fence_free(v->external[i]), fence_free(v->exact[i]), fence_free(v->bound[i]);
    fence_free(v->steps);
    fence_free(v->name);
}

/* Everything that the program may write begins as NaN (all bits set), which shows where nothing was written. */
static void run(vector *v, int threads, int timed)
{
    const mn_program *p = &v->program;
    const int abreast = !timed && v->batch >= threads;      /* several images at once, each with an arena */
    const size_t bytes = (size_t)((abreast ? threads : 1) * p->arena + threads * p->workspace) * sizeof(float);
    float *arena = allocate(bytes);
    double *seconds = allocate((size_t)p->count * sizeof(double));
    memset(arena, 0xff, bytes);
    memset(seconds, 0, (size_t)p->count * sizeof(double));
    for (ptrdiff_t i = v->inputs; i < p->externals; i++)
        memset(v->external[i], 0xff, (size_t)(v->batch * p->stride[i]) * sizeof(float));
    if (mn_run(p, v->external, v->batch, arena, threads, abreast, timed ? seconds : NULL) != 0) stop("mn_run failed:", v->name);
    fence_free(seconds);
    fence_free(arena);
}

static int is_wrong(float ours, double exact, double bound)
{
    if (isnan(exact)) return !isnan(ours);
    if (isinf(exact)) return (double)ours != exact;
    return !isfinite(ours) || fabs((double)ours - exact) > bound;
}

/* How many floats of an output are wrong; the first is reported. */
static ptrdiff_t count_wrong(const vector *v, ptrdiff_t output, int threads)
{
    const ptrdiff_t count = v->batch * v->program.stride[output];
    ptrdiff_t wrong = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double exact = v->exact[output][i], bound = v->bound[output][i];
        const float ours = v->external[output][i];
        if (bound < 0.0 || !is_wrong(ours, exact, bound) || wrong++ > 0) continue;
        printf("[%s, %d threads] %s: float %td of %td of output %td in memory is %.9g instead of %.9g, allowed %.3g\n",
               mn_isa_choice()->name, threads, v->name, i, count, output - v->inputs, (double)ours, exact, bound);
    }
    return wrong;
}

/* How many floats of an output differ in their bits from an earlier run's. */
static ptrdiff_t count_other_bits(const vector *v, ptrdiff_t output, const float *before)
{
    ptrdiff_t other = 0;
    for (ptrdiff_t i = 0; i < v->batch * v->program.stride[output]; i++)
        other += v->bound[output][i] >= 0.0 && memcmp(before + i, v->external[output] + i, sizeof(float)) != 0;
    if (other > 0) printf("[%s] %s: %td floats depend on the number of threads\n", mn_isa_choice()->name, v->name, other);
    return other;
}

static int is_good(vector *v, int threads)
{
    float *before[MN_MAX_EXTERNALS] = {NULL};
    ptrdiff_t wrong = 0;
    run(v, 1, 1);
    for (ptrdiff_t i = v->inputs; i < v->program.externals; i++) {
        const size_t bytes = (size_t)(v->batch * v->program.stride[i]) * sizeof(float);
        wrong += count_wrong(v, i, 1);
        before[i] = allocate(bytes);
        memcpy(before[i], v->external[i], bytes);
    }
    run(v, threads, 0);
    for (ptrdiff_t i = v->inputs; i < v->program.externals; i++) {
        wrong += count_wrong(v, i, threads) + count_other_bits(v, i, before[i]);
        fence_free(before[i]);
    }
    return wrong == 0;
}

/* Which program runs, for the handler of a fence that was touched. */
static const char *volatile running;

static void touched(int number)
{
    static const char message[] = "kernel_vectors: a fence was touched, or an input written, by ";
    if (write(2, message, sizeof message - 1) < 0 || write(2, running, strlen(running)) < 0 || write(2, "\n", 1) < 0) _exit(4);
    _exit(number == SIGSEGV ? 3 : 4);
}

static int fence_named(const char *name)
{
    if (strcmp(name, "behind") == 0) return MN_BEHIND;
    if (strcmp(name, "before") == 0) return MN_BEFORE;
    stop("a fence is behind or before, not", name);
    return MN_OPEN;
}

int main(int argc, char **argv)
{
    if (mn_isa_choice() == NULL) stop("this machine or this build does not have", getenv("MININET_ISA"));
    if (argc == 1) {
        printf("%s %td\n", mn_isa_choice()->name, mn_isa_choice()->width);
        return 0;
    }
    if (argc != 3 && argc != 4) stop("expected no arguments, or", "FILE THREADS [behind|before]");
    if (argc == 4) {
        fence_kind = fence_named(argv[3]);
        signal(SIGSEGV, touched);
    }
    FILE *file = fopen(argv[1], "rb");
    if (file == NULL) stop("cannot open", argv[1]);
    if (read_number(file) != mn_isa_choice()->width) stop("another register width than that of", mn_isa_choice()->name);
    const ptrdiff_t count = read_number(file);
    int failed = 0;
    for (ptrdiff_t i = 0; i < count && failed < MOST_REPORTED; i++) {
        vector v;
        read_vector(file, &v);
        running = v.name;
        failed += !is_good(&v, atoi(argv[2]));
        free_vector(&v);
    }
    fclose(file);
    printf("%s: %td programs, on 1 thread and on %s%s%s: %d failed\n", mn_isa_choice()->name, count, argv[2],
           argc == 4 ? ", fences " : "", argc == 4 ? argv[3] : "", failed);
    return failed > 0;
}
