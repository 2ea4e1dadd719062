/*
 * tap: the Test Anything Protocol for the core's tests, and what they all need besides.
 *
 *     tap_family(0);                          the test becomes a member
 *     ok(condition, "promise");
 *     is(got, expected, "promise");           integers
 *     diag("a line for the reader");
 *     return tap_done();                      last: prints the plan, 1 if anything failed
 *
 * Only the test's own process prints results. A child or a worker says by its status what it
 * saw, or writes it into memory that it shares with the test (tap_shared).
 *
 * Tests wait for conditions, not for times: tap_until() gives up only when the patience of a
 * reader would end. To prove that a sleeper is woken, and does not merely look again at the end
 * of its slice, it sleeps with tap_without_slices(): then a wake-up that is lost is a hang,
 * which the test sees.
 *
 * With TAP_THREADS=1 the workers of tap_together() are threads of one process, so that the
 * thread sanitizer sees all of them; tests that fork or kill are left out (tap_forks()).
 */
#ifndef TAP_H
#define TAP_H

#include "core/family.h"
#include "core/spawn.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAP_PATIENCE (30 * AMP_SECOND) /* who has not acted by then hangs */
#define TAP_WORK (100 * AMP_SECOND)    /* who has not done all its rounds by then does */
#define TAP_ARENA (UINT64_C(256) << 20)
#define TAP_HUNG (-1000) /* status of a child that had to be ended */
#define TAP_WORKERS_MAX 64

static struct {
    int count, failed;
} tap;

/*
 * Results.
 */

__attribute__((format(printf, 1, 2))) static inline void
diag(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("# %s\n", text);
    fflush(stdout);
}

__attribute__((format(printf, 4, 5))) static inline bool
tap_report(bool holds, const char *file, int line, const char *format, ...)
{
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (tap.count == 0)
        printf("TAP version 13\n");
    printf("%s %d - %s\n", holds ? "ok" : "not ok", ++tap.count, name);
    fflush(stdout);
    if (!holds) {
        tap.failed++;
        diag("at %s:%d", file, line);
    }
    return holds;
}

#define ok(condition, ...) tap_report((condition), __FILE__, __LINE__, __VA_ARGS__)

#define is(got, expected, ...)                                                            \
    do {                                                                                  \
        long long tap_got = (long long) (got), tap_expected = (long long) (expected);     \
        if (!tap_report(tap_got == tap_expected, __FILE__, __LINE__, __VA_ARGS__))        \
            diag("     got: %lld\n# expected: %lld", tap_got, tap_expected);              \
    } while (0)

/* Something that the test itself needs does not work: nothing more can be said. */
#define tap_need(condition)                                                   \
    do {                                                                      \
        if (!(condition)) {                                                   \
            printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__, #condition);  \
            fflush(stdout);                                                   \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

static inline void
tap_skip(const char *name, const char *why)
{
    if (tap.count == 0)
        printf("TAP version 13\n");
    printf("ok %d - %s # SKIP %s\n", ++tap.count, name, why);
    fflush(stdout);
}

static inline int
tap_skip_all(const char *why)
{
    printf("TAP version 13\n1..0 # SKIP %s\n", why);
    return 0;
}

static inline int
tap_done(void)
{
    printf("1..%d\n", tap.count);
    fflush(stdout);
    return tap.failed > 0;
}

/*
 * Members.
 */

static inline bool
tap_threads(void)
{
    const char *value = getenv("TAP_THREADS");
    return value != NULL && *value == '1';
}

/* True where a test may fork. */
static inline bool
tap_forks(void)
{
    return !tap_threads();
}

static inline bool
tap_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

/* True where a signal's handler runs when the signal arrives. The thread sanitizer puts it off. */
static inline bool
tap_signals_arrive(void)
{
#if defined(__SANITIZE_THREAD__)
    return false;
#else
    return true;
#endif
}

/* The test becomes the first member of a family, with an arena of this size; 0: TAP_ARENA. */
static inline void
tap_family(uint64_t bytes)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    amp_thread_enter();
    tap_need(amp_lock_try_kernel() == 0);
    tap_need(amp_arena_make(bytes ? bytes : TAP_ARENA) == 0);
    amp_roster_watch();
    tap_need(amp_family_join("test") == 0);
}

/* Ends the family, so that another can be made. Only the test itself is left in it. */
static inline void
tap_family_end(void)
{
    amp_member_leave(0);
    amp_arena_drop();
}

static inline void *
tap_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tap_need(memory != MAP_FAILED);
    return memory;
}

/* A child that runs the function and leaves in good order, with what it returned as its status. */
static inline struct amp_child
tap_child(int (*function)(void *argument), void *argument)
{
    struct amp_child child;
    fflush(stdout);
    int result = amp_spawn("child", AMP_DIES_WITH_PARENT, NULL, NULL, &child);
    tap_need(result >= 0);
    if (result == AMP_IN_CHILD) {
        int status = function(argument);
        amp_member_leave(status);
        _exit(status);
    }
    return child;
}

/* Waits for the child's end: its status. */
static inline int
tap_join_within(struct amp_child *child, amp_time patience)
{
    if (amp_child_wait(child, amp_now() + patience) == 0)
        return child->status;
    amp_child_signal(child, SIGKILL);
    amp_child_wait(child, amp_now() + TAP_PATIENCE);
    return TAP_HUNG;
}

static inline int
tap_join(struct amp_child *child)
{
    return tap_join_within(child, TAP_PATIENCE);
}

/* Kills the child and reaps it, but does not bury it: that is left to the test. (But for one that
   died before it became a member, which only who reaps it can know.) */
static inline void
tap_kill(struct amp_child *child)
{
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    child->reaped = true;
    if (amp_member_phase(amp_member_at(child->member)) == AMP_RESERVED)
        amp_member_bury(child->member, child->generation, true);
}

/* What a child does that is going to be killed. */
__attribute__((noreturn)) static inline void
tap_stay(void)
{
    for (;;)
        pause();
}

struct tap_worker {
    pthread_t thread;
    struct amp_child child;
    int (*function)(int index);
    int index;
    int status;
};

static inline void *
tap_worker_run(void *argument)
{
    struct tap_worker *worker = argument;
    amp_thread_enter();
    if (amp_family_join("worker") != 0) {
        worker->status = -1;
        return NULL;
    }
    worker->status = worker->function(worker->index);
    amp_family_leave(worker->status);
    return NULL;
}

static inline int
tap_worker_child(void *argument)
{
    struct tap_worker *worker = argument;
    return worker->function(worker->index);
}

/* Runs the function in `n` members at once, with 0 ... n - 1: how many of them did not return 0. */
static inline int
tap_together(int n, int (*function)(int index))
{
    static struct tap_worker workers[TAP_WORKERS_MAX];
    int failed = 0;
    tap_need(n <= TAP_WORKERS_MAX);
    for (int i = 0; i < n; i++) {
        workers[i] = (struct tap_worker) {.function = function, .index = i};
        if (tap_threads())
            tap_need(pthread_create(&workers[i].thread, NULL, tap_worker_run, &workers[i]) == 0);
        else
            workers[i].child = tap_child(tap_worker_child, &workers[i]);
    }
    for (int i = 0; i < n; i++) {
        if (tap_threads())
            pthread_join(workers[i].thread, NULL);
        else
            workers[i].status = tap_join_within(&workers[i].child, TAP_WORK);
        failed += workers[i].status != 0;
    }
    return failed;
}

/*
 * Conditions.
 */

static inline void
tap_nap(void)
{
    struct timespec nap = {.tv_nsec = 200000};
    nanosleep(&nap, NULL);
}

/* How many descriptors this process has, among the first thousand. */
static inline int
tap_descriptors(void)
{
    int n = 0;
    for (int i = 0; i < 1024; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

/* True once the condition holds, false when it does not within the patience of a reader. */
#define tap_until(condition)                                         \
    ({                                                               \
        amp_time tap_end = amp_now() + TAP_PATIENCE;                 \
        bool tap_holds;                                              \
        while (!(tap_holds = (condition)) && amp_now() < tap_end)    \
            tap_nap();                                               \
        tap_holds;                                                   \
    })

/* The kernel's letter for what a process does: 'S' asleep, 't' traced, 'Z' dead, ... */
static inline char
tap_state(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int) pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 'X';
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] ? name_end[2] : 'X';
}

/* Waits until the child sleeps, having said that it is about to. */
static inline void
tap_sleeps(const struct amp_child *child, _Atomic int *about_to)
{
    tap_need(tap_until(atomic_load(about_to) && tap_state(child->pid) == 'S'));
}

static struct amp_futex_operations tap_kernel;

/* The limit that the kernel is about to read is an hour, but for a signal that came meanwhile. */
static inline void
tap_lengthen(time_t hour)
{
    struct timespec *limit = &amp_self.limit;
    limit->tv_sec = hour;
    atomic_signal_fence(memory_order_seq_cst);
    if (amp_self.signalled && amp_self.waiting_now)
        *limit = (struct timespec) {.tv_sec = 0};
}

static inline int
tap_wait_without_slices(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    struct timespec *limit = &amp_self.limit; /* `relative` is no other: handlers change it */
    if (limit->tv_sec * AMP_SECOND + limit->tv_nsec == AMP_SLICE)
        tap_lengthen(3600);
    return tap_kernel.wait(word, expected, relative);
}

/* A wait for many has an absolute limit, of which it cannot be told whether a slice made it: its
   deadline is lost as well. */
static inline int
tap_wait_many_without_slices(amp_word *const *words, const uint32_t *expected, unsigned n,
                             const struct timespec *absolute)
{
    tap_lengthen(absolute->tv_sec + 3600);
    return tap_kernel.wait_many(words, expected, n, absolute);
}

/* From here on a sleep of the calling process ends by a wake-up, a signal or its own deadline
   only. */
static inline void
tap_without_slices(void)
{
    if (tap_kernel.wait == NULL)
        tap_kernel = amp_futex;
    amp_futex.wait = tap_wait_without_slices;
    amp_futex.wait_many = tap_wait_many_without_slices;
}

static inline void
tap_with_slices(void)
{
    if (tap_kernel.wait == NULL)
        return;
    amp_futex.wait = tap_kernel.wait;
    amp_futex.wait_many = tap_kernel.wait_many;
}

/*
 * Objects.
 */

/* An object that needs nothing but its cell; the test holds it. */
static inline struct amp_cell *
tap_object(enum amp_kind kind, const char *name)
{
    struct amp_cell *cell;
    tap_need(amp_cell_make(kind, name, &cell) == 0);
    amp_cell_ready(cell);
    return cell;
}

static inline void
tap_unhold(struct amp_cell *cell)
{
    amp_unhold(amp_cell_handle(cell));
}

/* What must be as before when everything has been given back. */
struct tap_account {
    uint64_t bytes;
    uint32_t cells;   /* objects alive */
    uint32_t made;    /* objects half made */
    uint32_t members; /* slots that are not free */
};

static inline struct tap_account
tap_account(void)
{
    struct tap_account account = {.bytes = amp_arena_used(), .cells = amp_cells_live()};
    uint32_t cells_top = atomic_load(&amp_arena.header->h_cells_top);
    for (uint32_t i = 1; i < cells_top; i++)
        account.made += (atomic_load(&amp_cell_at(i)->c_state) & 0xff) == AMP_CELL_MADE;
    for (uint32_t i = 0; i < amp_members_top(); i++)
        account.members += amp_member_phase(amp_member_at(i)) != AMP_FREE;
    return account;
}

static inline bool
tap_same(struct tap_account a, struct tap_account b)
{
    return a.bytes == b.bytes && a.cells == b.cells && a.made == b.made &&
           a.members == b.members;
}

static inline void
tap_is_settled(struct tap_account before, const char *name)
{
    amp_roster_sweep();
    struct tap_account now = tap_account();
    if (!ok(tap_same(before, now), "%s", name))
        diag("bytes %llu, was %llu; objects %u, was %u; half made %u, was %u; members %u, was %u",
             (unsigned long long) now.bytes, (unsigned long long) before.bytes, now.cells,
             before.cells, now.made, before.made, now.members, before.members);
}

#endif
