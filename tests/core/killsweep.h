/*
 * killsweep: an operation is tried with a death after each instruction of it.
 *
 * For each operation a victim is born, made to run exactly N instructions of it
 * (PTRACE_SINGLESTEP), and killed. A step over an instruction that is a system call ends behind
 * the call, so a death stands before each call and behind it; one in the middle of a call that
 * sleeps is the last point of an operation that blocks. An adversary acts while the victim stands
 * still there; survivors sleep without slices, so that a wake-up that is lost is a hang and not a
 * delay. Then the whole contract is checked: the object works, nothing is lost or doubled, and when
 * all is given back the arena, the table of objects and the roster are as before.
 *
 * A test has a table of scenarios and calls sweep_main() with it.
 *
 *     test                 points chosen by a seed that is printed, within the test's budget
 *     test SEED            the same ones again
 *     test full            every instruction
 *     test full WORDS      of the operations whose promise has these words in it
 */
#ifndef KILLSWEEP_H
#define KILLSWEEP_H

#include "objects.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define PROBLEMS_MAX 3           /* a scenario that has so many is given up */
#define HELPERS 3

struct scenario {
    const char *promise;
    void (*prepare)(void);   /* the test, before the victim is born */
    void (*begin)(void);     /* the victim, before it is watched */
    void (*watch)(void);     /* the test, when the victim stands before its operation */
    void (*operation)(void); /* the victim */
    void (*release)(void);   /* the test, when the victim has blocked: it is swept from there on */
    void (*adversary)(void); /* the test, when the victim stands still at the last instruction */
    const char *(*check)(void); /* the test, when the victim is dead: what is wrong, or NULL */
    bool must_fail;          /* shows that the sweep finds what is broken */
};

/* Set by a test: called once, before the first point. */
static void (*sweep_begin)(void);

/* Set by a test: gives back, last at each point, what is its own; what is left then, or NULL. */
static const char *(*sweep_clean)(void);

/* What a point of a scenario uses. The test's own; a child has a copy. */
static struct {
    struct amp_cell *cell, *other;
    struct amp_child victim, helper[HELPERS], dead;
    bool has_helper[HELPERS];
    bool is_over; /* the victim has finished its operation, or sleeps in it */
    bool is_done; /* it has finished */
    bool barged;
    bool buried;
    uint32_t member, generation;
    amp_time patience;
} world;

static struct {
    _Atomic int started[HELPERS], done[HELPERS], result[HELPERS];
    _Atomic int seen[8];
    _Atomic uint64_t handle;
    _Atomic uint64_t data[2];
    _Atomic uint32_t page;
} *board;

/*
 * Help.
 */

/* True when the helper ends in time. */
static inline bool
served(int i)
{
    amp_time end = amp_now() + world.patience;
    while (!atomic_load(&board->done[i])) {
        if (amp_now() >= end)
            return false;
        tap_nap();
    }
    return true;
}

static inline void
help(int i, int (*function)(void *))
{
    world.helper[i] = tap_child(function, &i);
    world.has_helper[i] = true;
}

static inline void
help_asleep(int i, int (*function)(void *))
{
    help(i, function);
    tap_sleeps(&world.helper[i], &board->started[i]);
}

static inline void
bury_victim(void)
{
    amp_member_bury(world.victim.member, world.victim.generation, true);
    world.buried = true;
}

static inline void
drop_objects(void)
{
    if (world.cell)
        tap_unhold(world.cell);
    if (world.other)
        tap_unhold(world.other);
}

/*
 * The sweep.
 */

enum step {
    STEPPED,
    FINISHED, /* the operation is over */
    BLOCKED,  /* the victim sleeps in the kernel */
};

static inline struct amp_child
spawn_victim(const struct scenario *s)
{
    struct amp_child child;
    int result = amp_spawn("victim", AMP_DIES_WITH_PARENT, NULL, NULL, &child);
    tap_need(result >= 0);
    if (result == AMP_IN_CHILD) {
        free(malloc(100)); /* the allocator is ready */
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(1);
        if (s->begin)
            s->begin();
        raise(SIGSTOP);
        s->operation();
        raise(SIGSTOP);
        tap_stay();
    }
    return child;
}

/* Waits for the victim's next stop. */
static inline enum step
next_stop(pid_t pid)
{
    for (int looks = 0;; looks++) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            tap_need(WIFSTOPPED(status));
            return WSTOPSIG(status) == SIGSTOP ? FINISHED : STEPPED;
        }
        if (looks > 100 && tap_state(pid) == 'S')
            return BLOCKED;
        sched_yield();
    }
}

static inline enum step
step(pid_t pid)
{
    ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
    return next_stop(pid);
}

/* Where the victim stands, as an offset in the program, for addr2line; 0 when that is not known. */
static inline unsigned long
place_of(pid_t pid)
{
#if defined(__x86_64__)
    extern char __executable_start;
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0)
        return registers.rip - (unsigned long) &__executable_start;
#else
    (void) pid;
#endif
    return 0;
}

static inline void
end_helpers(void)
{
    for (int i = 0; i < HELPERS; i++) {
        if (world.has_helper[i] && !world.helper[i].reaped)
            tap_kill(&world.helper[i]);
    }
}

/* One point: the victim is killed after `n` instructions, or when it has finished; *steps is how
   many they were. What is wrong then, or NULL. */
static inline const char *
sweep_point(const struct scenario *s, long n, long *steps, unsigned long *place)
{
    memset(&world, 0, sizeof world);
    memset(board, 0, sizeof *board);
    world.patience = s->must_fail ? AMP_SECOND / 5 : TAP_PATIENCE;
    struct tap_account before = tap_account();
    s->prepare();
    world.victim = spawn_victim(s);
    pid_t pid = world.victim.pid;
    int status;
    tap_need(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    if (s->watch)
        s->watch();
    enum step last = STEPPED;
    if (s->release) {
        while ((last = step(pid)) == STEPPED)
            ;
        tap_need(last == BLOCKED);
        s->release();
        tap_need(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
        last = STEPPED;
    }
    for (*steps = 0; *steps < n && last == STEPPED; ++*steps)
        last = step(pid);
    world.is_over = last != STEPPED;
    world.is_done = last == FINISHED;
    *place = last == BLOCKED ? 0 : place_of(pid);
    if (s->adversary)
        s->adversary();
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    world.victim.reaped = true;
    const char *problem = s->check();
    end_helpers();
    if (!world.buried)
        bury_victim();
    drop_objects();
    const char *left = sweep_clean ? sweep_clean() : NULL;
    amp_roster_sweep();
    if (problem == NULL)
        problem = left;
    if (problem == NULL && !tap_same(before, tap_account()))
        problem = "something is left behind";
    return problem;
}

/* The points are spread evenly by the golden ratio, so that any budget looks everywhere. */
static inline long
nth_point(long i, long total, uint64_t seed)
{
    double place = (double) (seed % 1000003) / 1000003.0 + (double) i * 0.6180339887498949;
    place -= (double) (long) place;
    return (long) (place * (double) total);
}

/* What all the sweeping of a test came to, and how many pages it can have needed at a time. */
static struct {
    int operations;
    long deaths;
    uint32_t pages;
} swept = {.pages = 2000};

static inline void
sweep(const struct scenario *s, uint64_t seed, bool full, amp_time budget)
{
    long total, steps;
    unsigned long place;
    int problems = 0;
    amp_time end = amp_now() + budget;
    const char *problem = sweep_point(s, LONG_MAX, &total, &place);
    if (problem != NULL) {
        problems++;
        diag("after the whole operation: %s", problem);
    }
    long points = 0;
    for (; points < total && problems < PROBLEMS_MAX; points++) {
        bool is_missed = s->must_fail && problems == 0; /* on a slow machine a few do not hit it */
        if (!full && points > 0 && amp_now() >= end && !is_missed)
            break;
        long n = full ? points : nth_point(points, total, seed);
        problem = sweep_point(s, n, &steps, &place);
        if (problem == NULL)
            continue;
        problems++;
        if (!s->must_fail)
            diag("after %ld of %ld instructions, at 0x%lx: %s", n, total, place, problem);
    }
    ok((problems > 0) == s->must_fail, "%s", s->promise);
    diag("%ld of %ld points", points + 1, total + 1);
    swept.operations++;
    swept.deaths += points + 1;
}

/* May a process be traced here, instruction by instruction? */
static inline bool
can_trace(void)
{
    fflush(stdout);
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    bool can = waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status);
    for (int i = 0; i < 3 && can; i++)
        can = ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0 && waitpid(pid, &status, 0) == pid &&
              WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return can;
}

/* The whole test: what its main returns. The budget is for all operations together, but for a full
   sweep, which takes as long as it takes. */
static inline int
sweep_main(const struct scenario *scenarios, size_t n, amp_time budget, int argc, char **argv)
{
    if (!tap_forks())
        return tap_skip_all("it is about processes");
    if (getenv("LD_BIND_NOW") == NULL) { /* looking up a symbol would be hundreds of instructions */
        setenv("LD_BIND_NOW", "1", 1);
        execv("/proc/self/exe", argv);
    }
    if (!can_trace())
        return tap_skip_all("this system does not let a process trace its child (ptrace)");
    bool full = argc > 1 && strcmp(argv[1], "full") == 0;
    const char *words = full && argc > 2 ? argv[2] : "";
    uint64_t seed = (uint64_t) amp_now() % 1000003;
    if (argc > 1 && !full)
        seed = strtoull(argv[1], NULL, 10);
    /* Tracer and victim take turns, which is much faster on one processor. */
    cpu_set_t processors;
    CPU_ZERO(&processors);
    CPU_SET(sched_getcpu(), &processors);
    sched_setaffinity(0, sizeof processors, &processors);
    amp_spins = 10; /* one look of a receiver at its socket */
    tap_family(0);
    board = tap_shared(sizeof *board);
    diag(full ? "every instruction" : "seed %llu", (unsigned long long) seed);
    if (sweep_begin)
        sweep_begin();
    amp_time begin = amp_now();
    for (size_t i = 0; i < n; i++) {
        if (strstr(scenarios[i].promise, words) != NULL)
            sweep(&scenarios[i], seed, full, budget / (amp_time) n);
    }
    struct amp_header *h = amp_arena.header;
    uint64_t used = amp_arena_used() / AMP_PAGE;
    diag("%u slots, %u cells, %u pages, %llu of them in use", amp_members_top(),
         atomic_load(&h->h_cells_top), h->h_top, (unsigned long long) used);
    ok(amp_members_top() < 20 && atomic_load(&h->h_cells_top) < 200 && h->h_top < swept.pages && used < 20,
       "after all these deaths slots, cells and pages are used again, not new ones");
    diag("swept: %d operations, %ld deaths, %lld seconds", swept.operations, swept.deaths,
         (long long) ((amp_now() - begin) / AMP_SECOND));
    return tap_done();
}

#endif
