/* threads.c: the worker pool.
 *
 * A job is a list of steps, each of some tasks. Whoever takes part has a share of every step's tasks, the same part of
 * each, so that a thread finds in its own cache most of what it reads. It claims runs of neighbouring tasks, half of what
 * is left of its share and then of the others', and goes on to the next step when all tasks of this one are done. Long
 * runs are faster, short ones at the end let all finish together. A thread that the system puts to sleep holds up one
 * run and no more, and the caller alone can finish a job that no worker comes to help with.
 *
 * The pool serves one job at a time. A caller who finds it busy (two Python threads, one network
 * each) runs its own job by itself. A job is counted: the last one to leave frees it, so the caller
 * never waits for a straggler who has nothing left to do.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <time.h>
#include <unistd.h>

#include "mininet.h"

#define MAX_THREADS 256
#define SPIN_NANOSECONDS 100000      /* how long a thread waits awake; a pause takes 10 to 50 of them, so they are not counted */
#define PAUSES_PER_LOOK 16          /* at the clock */

/* The tasks of a step that a seat begins with. */
typedef struct {
    atomic_ptrdiff_t next;
    ptrdiff_t end;
} share;

typedef struct {
    atomic_ptrdiff_t done;
    ptrdiff_t tasks;
} counter;

typedef struct {
    mn_task run;
    void *context;
    ptrdiff_t steps, least;         /* least: tasks that are claimed at once, if so many are left */
    int seats;                      /* threads that may take part, the caller included */
    atomic_int users, seated;
    share *shares;                  /* [step][seat] */
    counter counters[];
} job;

typedef struct {
    int asleep;                     /* until a job comes */
#ifdef __linux__
    pid_t thread;
    int moved;                      /* may not run everywhere now: see wake_elsewhere */
    cpu_set_t home;                 /* where it might run before that */
#endif
} worker;

static struct {
    pthread_mutex_t lock;           /* of `current`, `workers`, `crew` and both conditions */
    pthread_cond_t posted, stepped; /* a job has come; all tasks of a step are done */
    job *current;
    atomic_ptrdiff_t generation;    /* grows with every post: idle workers watch it */
    atomic_int asleep;              /* threads that sleep until a step is done */
    int workers;
    worker crew[MAX_THREADS];
    atomic_flag busy;
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .posted = PTHREAD_COND_INITIALIZER, .stepped = PTHREAD_COND_INITIALIZER,
    .busy = ATOMIC_FLAG_INIT,
};

static atomic_int wanted;           /* 0: not set yet */

static void pause_briefly(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ __volatile__("yield");
#endif
}

int mn_cpu_count(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : (int)count;
}

void mn_set_num_threads(int count) { atomic_store(&wanted, count > MAX_THREADS ? MAX_THREADS : count); }

int mn_get_num_threads(void)
{
    const int count = atomic_load(&wanted);
    return count > 0 ? count : mn_cpu_count();
}

static void leave(job *j)
{
    if (atomic_fetch_sub(&j->users, 1) == 1) free(j);
}

/* Claim a run of tasks of a share: half of what is left, in multiples of `least`. It begins at *first. How many. */
static ptrdiff_t claim_of(share *own, ptrdiff_t least, ptrdiff_t *first)
{
    ptrdiff_t run;
    *first = atomic_load(&own->next);
    do {
        const ptrdiff_t left = own->end - *first;
        if (left <= 0) return 0;
        run = left <= least ? left : left / 2 > least ? left / 2 - left / 2 % least : least;
    } while (!atomic_compare_exchange_weak(&own->next, first, *first + run));
    return run;
}

/* Claim a run of tasks: of one's own share, or of the next one of which something is left. */
static ptrdiff_t claim(const job *j, ptrdiff_t step, int seat, ptrdiff_t *first)
{
    share *shares = j->shares + step * j->seats;
    ptrdiff_t run = 0;
    for (int i = 0; i < j->seats && run == 0; i++) run = claim_of(shares + (seat + i) % j->seats, j->least, first);
    return run;
}

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Wait awake for a little while: what is waited for often comes at once, and waking a sleeper takes long. */
static int soon_reaches(atomic_ptrdiff_t *value, ptrdiff_t least)
{
    if (atomic_load(value) >= least) return 1;
    const int64_t end = nanoseconds() + SPIN_NANOSECONDS;
    do
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            pause_briefly();
            if (atomic_load(value) >= least) return 1;
        }
    while (nanoseconds() < end);
    return 0;
}

/* Who waits longer sleeps, so that a thread which was put to sleep in the midst of its tasks gets the processor. */
static void wait_for_step(counter *c)
{
    if (soon_reaches(&c->done, c->tasks)) return;
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.asleep, 1);
    while (atomic_load(&c->done) < c->tasks) pthread_cond_wait(&pool.stepped, &pool.lock);
    atomic_fetch_sub(&pool.asleep, 1);
    pthread_mutex_unlock(&pool.lock);
}

/* A run of tasks is done; whoever does the last one wakes those who sleep. */
static void count_done(counter *c, ptrdiff_t run)
{
    if (atomic_fetch_add(&c->done, run) + run < c->tasks || atomic_load(&pool.asleep) == 0) return;
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.stepped);
    pthread_mutex_unlock(&pool.lock);
}

static void take_part(job *j, int seat)
{
    for (ptrdiff_t s = 0; s < j->steps; s++) {
        counter *c = &j->counters[s];
        ptrdiff_t first, run;
        while ((run = claim(j, s, seat, &first)) > 0) {
            j->run(j->context, s, first, first + run, seat);
            count_done(c, run);
        }
        wait_for_step(c);
    }
}

/* Join the posted job if there is one with a seat left. Called with the lock held. */
static job *join(int *seat)
{
    job *j = pool.current;
    if (j == NULL || (*seat = atomic_fetch_add(&j->seated, 1)) >= j->seats) return NULL;
    atomic_fetch_add(&j->users, 1);
    return j;
}

/* Linux may wake a worker on the caller's own processor though another one is idle: it takes a virtual machine's halted
 * processor for one that its host has given to somebody else. There the two would take turns until the next balancing,
 * which is milliseconds away. So a sleeping worker is forbidden the caller's processor while it is woken, and takes the
 * ban off itself. Both are called with the lock held. */
static void wake_elsewhere(worker *w)
{
#ifdef __linux__
    const int here = sched_getcpu();
    if (!w->asleep || w->moved || here < 0 || sched_getaffinity(w->thread, sizeof w->home, &w->home) != 0) return;
    cpu_set_t others = w->home;
    CPU_CLR(here, &others);
    w->moved = CPU_COUNT(&others) > 0 && sched_setaffinity(w->thread, sizeof others, &others) == 0;
#else
    (void)w;
#endif
}

static void settle(worker *w)
{
#ifdef __linux__
    if (w->moved) sched_setaffinity(0, sizeof w->home, &w->home);
    w->moved = 0;
#endif
    w->asleep = 0;
}

static void *work(void *context)
{
    worker *self = context;
    ptrdiff_t seen = 0;
#ifdef __linux__
    self->thread = (pid_t)syscall(SYS_gettid);
#endif
    for (;;) {
        soon_reaches(&pool.generation, seen + 1);
        pthread_mutex_lock(&pool.lock);
        while (atomic_load(&pool.generation) == seen) {
            self->asleep = 1;
            pthread_cond_wait(&pool.posted, &pool.lock);
        }
        settle(self);
        seen = atomic_load(&pool.generation);
        int seat;
        job *j = join(&seat);
        pthread_mutex_unlock(&pool.lock);
        if (j != NULL) {
            take_part(j, seat);
            leave(j);
        }
    }
    return NULL;
}

/* After fork() the child has the memory of a pool and none of its threads: start afresh. */
static void forget_workers(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.posted, NULL);
    pthread_cond_init(&pool.stepped, NULL);
    atomic_store(&pool.asleep, 0);
    pool.current = NULL;
    pool.workers = 0;
    atomic_flag_clear(&pool.busy);
}

/* Before anything of the pool is held, or a fork would copy it held. */
static void register_fork_handler(void) { pthread_atfork(NULL, NULL, forget_workers); }

/* Start workers until there are `count`; fewer is no error, only slower. Called with the lock held. A signal is for
 * the process, so it must find a thread of the program and not a worker; a fault is the thread's own. */
static void hire(int count)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, callers;
    if (pool.workers >= count) return;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &callers);
    while (pool.workers < count) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, memset(&pool.crew[pool.workers], 0, sizeof(worker))) != 0) break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
}

static void run_alone(mn_task run, void *context, const char *tasks, size_t stride, ptrdiff_t steps)
{
    for (ptrdiff_t s = 0; s < steps; s++) run(context, s, 0, *(const ptrdiff_t *)(const void *)(tasks + (size_t)s * stride), 0);
}

static job *new_job(mn_task run, void *context, const char *tasks, size_t stride, ptrdiff_t steps, ptrdiff_t least, int seats)
{
    const size_t counters = (size_t)steps * sizeof(counter), shares = (size_t)steps * (size_t)seats * sizeof(share);
    job *j = malloc(sizeof(job) + counters + shares);
    if (j == NULL) return NULL;
    j->shares = (share *)(void *)((char *)j + sizeof(job) + counters);
    j->run = run, j->context = context, j->steps = steps, j->least = least, j->seats = seats;
    atomic_init(&j->users, 1);
    atomic_init(&j->seated, 1);
    for (ptrdiff_t s = 0; s < steps; s++) {
        const ptrdiff_t count = *(const ptrdiff_t *)(const void *)(tasks + (size_t)s * stride);
        atomic_init(&j->counters[s].done, 0);
        j->counters[s].tasks = count;
        for (int i = 0; i < seats; i++) {
            share *own = j->shares + s * seats + i;
            atomic_init(&own->next, (i * count + seats - 1) / seats);
            own->end = ((i + 1) * count + seats - 1) / seats;
        }
    }
    return j;
}

int mn_parallel_steps(mn_task run, void *context, const ptrdiff_t *tasks, size_t stride, ptrdiff_t steps, ptrdiff_t least,
                      int threads)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *first = (const char *)tasks;
    pthread_once(&once, register_fork_handler);
    if (threads < 2 || atomic_flag_test_and_set(&pool.busy)) {
        run_alone(run, context, first, stride, steps);
        return 0;
    }
    job *j = new_job(run, context, first, stride, steps, least, threads);
    if (j == NULL) {
        atomic_flag_clear(&pool.busy);
        return -1;
    }
    pthread_mutex_lock(&pool.lock);
    hire(threads - 1);
    for (int i = 0; i < pool.workers && i < threads - 1; i++) wake_elsewhere(&pool.crew[i]);
    pool.current = j;
    atomic_fetch_add(&pool.generation, 1);
    pthread_cond_broadcast(&pool.posted);
    pthread_mutex_unlock(&pool.lock);
    take_part(j, 0);
    pthread_mutex_lock(&pool.lock);
    pool.current = NULL;
    pthread_mutex_unlock(&pool.lock);
    leave(j);
    atomic_flag_clear(&pool.busy);
    return 0;
}
