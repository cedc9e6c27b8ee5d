/* pool_stress.c: the worker pool under everything that a program may do to it at once, for ThreadSanitizer.
 *
 *   pool_stress CALLERS JOBS CHILDREN
 *
 * CALLERS threads run JOBS jobs each, of random numbers of steps and tasks on random numbers of threads, while one
 * more thread changes the number of threads all the time and another one forks CHILDREN, which use the pool
 * themselves (none under a sanitizer: ThreadSanitizer cannot start threads in the child of a process that had some, and
 * a lock of AddressSanitizer's allocator may stay closed in it). Every job must run every task once, each step after
 * the one before, on a seat that no other thread has.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mininet.h"

#define MOST_STEPS 12
#define MOST_TASKS 40
#define MOST_THREADS 6
#define MOST_CALLERS 64

/* Tasks write `values` without any lock: that the pool orders the steps is what makes it no race. */
typedef struct {
    ptrdiff_t tasks[MOST_STEPS];
    unsigned values[MOST_STEPS][MOST_TASKS];
    unsigned seats[MOST_THREADS];               /* how many tasks each seat has run; its thread's own */
    ptrdiff_t steps;
} work;

static atomic_int finished;
static int callers, jobs, children;

static void stop(const char *message)
{
    fprintf(stderr, "pool_stress: %s\n", message);
    _exit(1);
}

/* A task adds up what all tasks of the step before have written. */
static unsigned value_of(const work *w, ptrdiff_t step, ptrdiff_t task)
{
    unsigned sum = (unsigned)task + 1;
    for (ptrdiff_t t = 0; step > 0 && t < w->tasks[step - 1]; t++) sum = 31 * sum + w->values[step - 1][t];
    return sum;
}

static void run(void *context, ptrdiff_t step, ptrdiff_t first, ptrdiff_t last, int seat)
{
    work *w = context;
    if (seat < 0 || seat >= MOST_THREADS) stop("a seat beyond those of the job");
    for (ptrdiff_t task = first; task < last; task++) {
        if (w->values[step][task] != 0) stop("a task was run twice");
        w->values[step][task] = value_of(w, step, task);
        w->seats[seat]++;
    }
}

static void one_job(unsigned *random)
{
    work w = {.steps = rand_r(random) % MOST_STEPS};
    unsigned expected = 0, done = 0;
    for (ptrdiff_t s = 0; s < w.steps; s++) w.tasks[s] = rand_r(random) % (MOST_TASKS + 1), expected += (unsigned)w.tasks[s];
    const int chosen = mn_get_num_threads(), threads = rand_r(random) % 2 ? chosen : 1 + (int)(rand_r(random) % MOST_THREADS);
    if (mn_parallel_steps(run, &w, w.tasks, sizeof *w.tasks, w.steps, 1 + threads % 3, threads) != 0) stop("a job was refused");
    for (int i = 0; i < MOST_THREADS; i++) done += w.seats[i];
    if (done != expected) stop("a job ended before all its tasks");
    for (ptrdiff_t s = 0; s < w.steps; s++)
        for (ptrdiff_t t = 0; t < w.tasks[s]; t++)
            if (w.values[s][t] != value_of(&w, s, t)) stop("a step began before the one before had ended");
}

static void *call(void *number)
{
    unsigned random = *(unsigned *)number;
    for (int i = 0; i < jobs; i++) one_job(&random);
    atomic_fetch_add(&finished, 1);
    return NULL;
}

static void rest(void)
{
    const struct timespec briefly = {0, 200000};
    nanosleep(&briefly, NULL);
}

static void *change_threads(void *unused)
{
    unsigned random = 7;
    (void)unused;
    while (atomic_load(&finished) < callers) {
        mn_set_num_threads(1 + (int)(rand_r(&random) % MOST_THREADS));
        rest();
    }
    return NULL;
}

/* A child has one thread, whatever the others were doing, and a pool of its own. */
static void *fork_children(void *unused)
{
    unsigned random = 9;
    (void)unused;
    for (int i = 0; i < children; i++) {
        const pid_t child = fork();
        int status;
        if (child < 0) stop("no fork");
        if (child == 0) {
            alarm(20);                          /* a child that waits for a thread it does not have */
            for (int i = 0; i < 20; i++) one_job(&random);
            _exit(0);
        }
        if (waitpid(child, &status, 0) != child) stop("a child is gone");
        if (status != 0) stop(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "a child hangs" : "a child failed");
        rest();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t caller[MOST_CALLERS], changer, forker;
    unsigned seed[MOST_CALLERS];
    if (argc != 4) stop("expected CALLERS JOBS CHILDREN");
    callers = atoi(argv[1]), jobs = atoi(argv[2]), children = atoi(argv[3]);
    if (callers < 1 || callers > MOST_CALLERS || jobs < 1) stop("expected 1 to 64 CALLERS, and JOBS");
    mn_set_num_threads(MOST_THREADS);
    pthread_create(&changer, NULL, change_threads, NULL);
    pthread_create(&forker, NULL, fork_children, NULL);
    for (int i = 0; i < callers; i++) {
        seed[i] = (unsigned)i + 1;
        if (pthread_create(&caller[i], NULL, call, &seed[i]) != 0) stop("no thread");
    }
    for (int i = 0; i < callers; i++) pthread_join(caller[i], NULL);
    pthread_join(changer, NULL);
    pthread_join(forker, NULL);
    printf("pool: %d callers, %d jobs each, %d forked children: every task once and in order\n", callers, jobs,
           children);
    return 0;
}
