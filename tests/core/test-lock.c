/*
 * The robust lock: exclusion, waiting, and above all what becomes of it when its owner or a
 * waiter dies. Waiters that must be woken by the kernel sleep without slices here, so that a
 * wake-up that is lost is a hang.
 */
#include "tap.h"

#include <signal.h>
#include <sys/time.h>

static struct amp_futex_operations kernel;

static struct {
    struct amp_lock lock[4];
    struct amp_lock many[AMP_LOCKS_MAX];
    pthread_mutex_t mutex, heir; /* the C library's: robust, and robust with inheritance */
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int stop;
    uint64_t counter, copy; /* guarded by lock[0] */
    amp_handle handle[2];
} *board;

static int
acquire(struct amp_lock *lock, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_LOCK};
    return amp_lock_acquire(lock, deadline, &what);
}

static amp_time
milliseconds(int n)
{
    return amp_now() + n * AMP_MILLISECOND;
}

/*
 * One process.
 */

static void
test_alone(void)
{
    struct amp_lock lock = {0};
    is(amp_lock_enter(&lock), 0, "a free lock is taken");
    ok(amp_lock_is_mine(&lock), "and is mine");
    is(amp_lock_owner(&lock), amp_self.tid, "as its word says");
    is(amp_lock_try(&lock), -EBUSY, "it is not taken twice");
    is(acquire(&lock, AMP_AT_ONCE), -ETIMEDOUT, "not even by who does not wait");
    amp_time deadline = milliseconds(5);
    is(acquire(&lock, deadline), -ETIMEDOUT, "nor by who waits a short time");
    ok(amp_now() >= deadline, "which has gone by");
    ok(amp_self.robust->list_op_pending == NULL, "nothing is left pending");
    amp_lock_leave(&lock);
    ok(!amp_lock_is_mine(&lock), "given back, it is not mine");
    is(amp_lock_owner(&lock), 0, "nor anybody's");
    is(amp_lock_try(&lock), 0, "and can be taken again");
    amp_lock_leave(&lock);
    ok(lock.l_next == NULL && lock.l_previous == NULL, "a free lock is in no list");
    ok(amp_self.robust->list.next == (void *) &amp_member_at(amp_self.member)->m_life.l_next,
       "and the thread's list is as it was");
}

/* All orders of giving back three locks leave a whole list. */
static void
test_list_order(void)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct amp_lock lock[3] = {{0}};
    void *first = amp_self.robust->list.next;
    bool whole = true;
    for (int order = 0; order < 6; order++) {
        for (int i = 0; i < 3; i++)
            amp_lock_enter(&lock[i]);
        for (int i = 0; i < 3; i++) {
            amp_lock_leave(&lock[orders[order][i]]);
            int left = 0;
            void *link = amp_self.robust->list.next;
            for (; link != first && left < 4; left++)
                link = *(void **) link;
            whole = whole && left == 2 - i;
        }
        whole = whole && amp_self.robust->list.next == first;
    }
    ok(whole, "locks are given back in any order");
}

/*
 * Exclusion.
 */

#define ROUNDS 2000

static int
count_up(int index)
{
    (void) index;
    int status = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (amp_lock_enter(&board->lock[0]) != 0)
            status = 1;
        uint64_t before = board->counter;
        if (board->copy != before * 3 || !amp_lock_is_mine(&board->lock[0]))
            status = 2;
        board->counter = before + 1;
        board->copy = (before + 1) * 3;
        amp_lock_leave(&board->lock[0]);
    }
    return status;
}

static void
test_exclusion(const char *under, int n)
{
    memset(board, 0, sizeof *board);
    is(tap_together(n, count_up), 0, "%s: %d members under a lock see whole changes", under, n);
    is(board->counter, (uint64_t) n * ROUNDS, "%s: and none is lost", under);
    is(amp_lock_owner(&board->lock[0]), 0, "%s: afterwards it is free", under);
}

static int
try_and_count(int index)
{
    for (int i = 0; i < ROUNDS / 4;) {
        int result = index % 2 ? amp_lock_try(&board->lock[0])
                               : acquire(&board->lock[0], milliseconds(1));
        if (result == -EBUSY || result == -ETIMEDOUT) {
            sched_yield();
            continue;
        }
        if (result != 0)
            return 1;
        board->counter++;
        amp_lock_leave(&board->lock[0]);
        i++;
    }
    return 0;
}

static void
test_impatient(void)
{
    memset(board, 0, sizeof *board);
    is(tap_together(8, try_and_count), 0, "members that try, and ones whose time runs out,");
    is(board->counter, 8 * (ROUNDS / 4), "exclude each other as well");
}

/* Kernels that no primitive may depend on. */

static int
sleepless(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return 0;
}

static int
unwilling(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    static __thread unsigned turn;
    static const int results[] = {-EAGAIN, -EINTR, 0, -ETIMEDOUT};
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return results[turn++ % 4];
}

static int
hasty(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    static const struct timespec moment = {.tv_nsec = 20000};
    (void) relative;
    return kernel.wait(word, expected, &moment);
}

static int
silent_set(amp_word *word, uint32_t value, int count)
{
    (void) count;
    atomic_store(word, value);
    return 0;
}

static void
test_other_kernels(void)
{
    amp_futex.wait = sleepless;
    test_exclusion("waits that return at once", 4);
    amp_futex.wait = unwilling;
    test_exclusion("waits that fail in all ways", 4);
    amp_futex.wait = hasty;
    amp_futex.set_and_wake = silent_set;
    test_exclusion("wake-ups that never come", 4);
    amp_futex = kernel;
    int spins = amp_spins;
    amp_spins = 0;
    test_exclusion("no spinning", 4);
    amp_spins = spins;
}

/*
 * Deaths.
 */

/* Takes the lock of its number for good, as a child that will be killed. */
static int
hold(void *argument)
{
    int i = *(int *) argument;
    amp_lock_enter(&board->lock[i]);
    atomic_store(&board->started[i], 1);
    tap_stay();
}

static struct amp_child
holder(int i)
{
    struct amp_child child = tap_child(hold, &i);
    tap_need(tap_until(atomic_load(&board->started[i])));
    return child;
}

/* Waits for lock 0 and says what it was told; a second time to see that it is told once. */
static int
wait_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = acquire(&board->lock[0], AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? 100 : result);
    if (result >= 0)
        amp_lock_leave(&board->lock[0]);
    return 0;
}

static struct amp_child
waiter(int i)
{
    struct amp_child child = tap_child(wait_and_tell, &i);
    tap_sleeps(&child, &board->started[i]);
    return child;
}

static void
test_death_of_owner(void)
{
    memset(board, 0, sizeof *board);
    struct amp_child owner = holder(0);
    is(amp_lock_try(&board->lock[0]), -EBUSY, "a lock of another process is busy");
    ok(!amp_lock_is_mine(&board->lock[0]), "and not mine");
    tap_kill(&owner);
    is(amp_lock_try(&board->lock[0]), AMP_OWNER_DIED,
       "who takes the lock of a killed owner is told");
    amp_lock_leave(&board->lock[0]);
    is(amp_lock_try(&board->lock[0]), 0, "and the next one is not");
    amp_lock_leave(&board->lock[0]);

    memset(board, 0, sizeof *board);
    owner = holder(0);
    struct amp_child child = waiter(1);
    tap_kill(&owner);
    ok(tap_until(atomic_load(&board->result[1])),
       "a waiter of a lock gets it when its owner is killed,");
    is(board->result[1], AMP_OWNER_DIED, "and is told");
    is(tap_join(&child), 0, "and can give it back");

    memset(board, 0, sizeof *board);
    owner = holder(0);
    struct amp_child waiters[10];
    for (int i = 1; i < 10; i++)
        waiters[i] = waiter(i);
    tap_kill(&owner);
    int told = 0, not_told = 0, failed = 0;
    for (int i = 1; i < 10; i++)
        failed += tap_join(&waiters[i]) != 0;
    for (int i = 1; i < 10; i++) {
        told += board->result[i] == AMP_OWNER_DIED;
        not_told += board->result[i] == 100;
    }
    ok(failed == 0 && told == 1 && not_told == 8,
       "of many waiters all get it, and the first is told");
    amp_roster_sweep();
}

static int
hold_two_of_three(void *argument)
{
    (void) argument;
    for (int i = 0; i < 3; i++)
        amp_lock_enter(&board->lock[i]);
    amp_lock_leave(&board->lock[1]);
    raise(SIGKILL);
    return 0;
}

static int
hold_many(void *argument)
{
    (void) argument;
    for (int i = 0; i < AMP_LOCKS_MAX; i++)
        amp_lock_enter(&board->many[i]);
    raise(SIGKILL);
    return 0;
}

static int
die_in_exec(void *argument)
{
    (void) argument;
    amp_lock_enter(&board->lock[0]);
    atomic_store(&board->started[0], 1);
    execl("/bin/sh", "sh", "-c", "sleep 20", (char *) NULL);
    return 1;
}

static int
leave_with_lock(void *argument)
{
    (void) argument;
    amp_lock_enter(&board->lock[0]);
    return 0;
}

static void
test_deaths_with_locks(void)
{
    memset(board, 0, sizeof *board);
    struct amp_child child = tap_child(hold_two_of_three, NULL);
    is(tap_join(&child), -SIGKILL, "a child dies with two of three locks that it had");
    is(amp_lock_try(&board->lock[0]), AMP_OWNER_DIED, "the first had an owner that died");
    is(amp_lock_try(&board->lock[1]), 0, "the one that was given back had not");
    is(amp_lock_try(&board->lock[2]), AMP_OWNER_DIED, "the last had");
    for (int i = 0; i < 3; i++)
        amp_lock_leave(&board->lock[i]);

    child = tap_child(hold_many, NULL);
    tap_join(&child);
    int told = 0;
    for (int i = 0; i < AMP_LOCKS_MAX; i++)
        told += amp_lock_try(&board->many[i]) == AMP_OWNER_DIED;
    for (int i = 0; i < AMP_LOCKS_MAX; i++)
        amp_lock_leave(&board->many[i]);
    is(told, AMP_LOCKS_MAX, "as many locks as one may have are all marked");
    ok(!amp_member_lives(child.member, child.generation), "and its owner's life is over");

    memset(board, 0, sizeof *board);
    child = tap_child(leave_with_lock, NULL);
    is(tap_join(&child), 0, "a child leaves with a lock");
    is(amp_lock_try(&board->lock[0]), AMP_OWNER_DIED, "that counts as a death");
    amp_lock_leave(&board->lock[0]);

    memset(board, 0, sizeof *board);
    child = tap_child(die_in_exec, NULL);
    tap_until(atomic_load(&board->started[0]));
    ok(tap_until(amp_lock_owner(&board->lock[0]) == 0),
       "a program that is started in its owner's place ends its ownership");
    is(amp_lock_try(&board->lock[0]), AMP_OWNER_DIED, "as a death");
    amp_lock_leave(&board->lock[0]);
    tap_kill(&child);
    amp_roster_sweep();
}

static int
die_among_mutexes(void *argument)
{
    int kill_after = *(int *) argument;
    amp_lock_enter(&board->lock[0]);
    pthread_mutex_lock(&board->heir);
    amp_lock_enter(&board->lock[1]);
    pthread_mutex_lock(&board->mutex);
    amp_lock_enter(&board->lock[2]);
    if (kill_after == 1) /* the lock whose neighbours are the C library's */
        amp_lock_leave(&board->lock[1]);
    if (kill_after == 2) {
        pthread_mutex_unlock(&board->heir);
        pthread_mutex_unlock(&board->mutex);
    }
    raise(SIGKILL);
    return 0;
}

static int
mutex_state(pthread_mutex_t *mutex)
{
    int result = pthread_mutex_trylock(mutex);
    if (result == EOWNERDEAD)
        pthread_mutex_consistent(mutex);
    if (result == 0 || result == EOWNERDEAD)
        pthread_mutex_unlock(mutex);
    return result == EOWNERDEAD ? AMP_OWNER_DIED : result;
}

static int
lock_state(struct amp_lock *lock)
{
    int result = amp_lock_try(lock);
    if (result >= 0)
        amp_lock_leave(lock);
    return result;
}

static void
test_among_mutexes(void)
{
    static const int expected[3][5] = {{1, 1, 1, 1, 1}, {1, 1, 0, 1, 1}, {1, 0, 1, 0, 1}};
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    memset(board, 0, sizeof *board);
    pthread_mutex_init(&board->mutex, &attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&board->heir, &attributes);
    for (int i = 0; i < 3; i++) {
        struct amp_child child = tap_child(die_among_mutexes, &i);
        tap_join(&child);
        ok(lock_state(&board->lock[0]) == expected[i][0] &&
               mutex_state(&board->heir) == expected[i][1] &&
               lock_state(&board->lock[1]) == expected[i][2] &&
               mutex_state(&board->mutex) == expected[i][3] &&
               lock_state(&board->lock[2]) == expected[i][4],
           "the C library's robust mutexes and ours live and die in one list (%d)", i);
    }
    pthread_mutexattr_destroy(&attributes);
}

static void *
die_as_thread(void *argument)
{
    (void) argument;
    amp_thread_enter();
    amp_lock_enter(&board->lock[0]);
    return NULL;
}

static void
test_death_of_thread(void)
{
    pthread_t thread;
    memset(board, 0, sizeof *board);
    pthread_create(&thread, NULL, die_as_thread, NULL);
    pthread_join(thread, NULL);
    is(amp_lock_try(&board->lock[0]), AMP_OWNER_DIED, "a thread that ends with a lock has died");
    amp_lock_leave(&board->lock[0]);
}

static int
look_at_parents_lock(void *argument)
{
    (void) argument;
    return amp_lock_is_mine(&board->lock[0]) || amp_lock_try(&board->lock[0]) != -EBUSY;
}

static void
test_fork_with_lock(void)
{
    memset(board, 0, sizeof *board);
    amp_lock_enter(&board->lock[0]);
    struct amp_child child = tap_child(look_at_parents_lock, NULL);
    is(tap_join(&child), 0, "a child does not own what its parent owns");
    ok(amp_lock_is_mine(&board->lock[0]), "and the parent still does");
    amp_lock_leave(&board->lock[0]);
}

/* Waiters are killed all the time, while others want their turn. */
static void
test_death_of_waiters(void)
{
    memset(board, 0, sizeof *board);
    amp_lock_enter(&board->lock[0]);
    struct amp_child waiters[20];
    for (int i = 0; i < 20; i++)
        waiters[i] = waiter(i);
    for (int i = 0; i < 20; i += 2)
        tap_kill(&waiters[i]);
    amp_lock_leave(&board->lock[0]);
    int failed = 0;
    for (int i = 1; i < 20; i += 2)
        failed += tap_join(&waiters[i]) != 0 || board->result[i] != 100;
    is(failed, 0, "waiters that are killed take nobody's turn with them");

    memset(board, 0, sizeof *board);
    amp_lock_enter(&board->lock[0]);
    for (int i = 0; i < 20; i++)
        waiters[i] = waiter(i);
    amp_lock_leave(&board->lock[0]); /* wakes one, who may be killed before it knows */
    for (int i = 0; i < 10; i++)
        tap_kill(&waiters[i]);
    failed = 0;
    for (int i = 10; i < 20; i++)
        failed += tap_join(&waiters[i]) != 0;
    is(failed, 0, "nor do those that are killed as they are woken");
    amp_roster_sweep();
}

static int
churn(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    while (!atomic_load(&board->stop)) {
        int result = acquire(&board->lock[0], AMP_FOREVER);
        if (result == AMP_OWNER_DIED)
            board->copy = board->counter * 3;
        if (result < 0 || board->copy != board->counter * 3)
            atomic_store(&board->result[i], 1);
        board->counter++;
        AMP_COMPILER_BARRIER();
        board->copy = board->counter * 3;
        amp_lock_leave(&board->lock[0]);
        atomic_fetch_add(&board->started[i], 1);
    }
    return 0;
}

/* Owners, waiters and those between are killed at any moment, and replaced. */
static void
test_deaths_at_random(void)
{
    enum { N = 6, DEATHS = 200 };
    memset(board, 0, sizeof *board);
    struct amp_child child[N];
    for (int i = 0; i < N; i++)
        child[i] = tap_child(churn, &i);
    bool alive = true;
    for (int k = 0; k < DEATHS && alive; k++) {
        int i = k * 5 % N, other = (i + 1) % N;
        tap_kill(&child[i]);
        amp_roster_sweep();
        child[i] = tap_child(churn, &i);
        int before = atomic_load(&board->started[other]);
        alive = tap_until(atomic_load(&board->started[other]) != before);
    }
    ok(alive, "the others go on whenever one of them is killed");
    atomic_store(&board->stop, 1);
    int failed = 0;
    for (int i = 0; i < N; i++)
        failed += tap_join(&child[i]) != 0 || atomic_load(&board->result[i]) != 0;
    is(failed, 0, "and who is not told of a death finds nothing half done");
    amp_roster_sweep();
}

/*
 * Signals.
 */

static void
handler(int signal)
{
    (void) signal;
    amp_signal_arrived();
}

static void
test_signal(void)
{
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, NULL);
    memset(board, 0, sizeof *board);
    struct amp_child owner = holder(0);
    struct itimerval timer = {.it_value = {.tv_usec = 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    tap_without_slices();
    is(acquire(&board->lock[0], AMP_FOREVER), -EINTR, "a signal ends the wait for a lock");
    tap_with_slices();
    ok(amp_self.robust->list_op_pending == NULL, "with nothing pending");
    amp_self.signalled = 0;
    tap_kill(&owner);
    is(acquire(&board->lock[0], AMP_FOREVER), AMP_OWNER_DIED, "the next attempt has its result");
    amp_lock_leave(&board->lock[0]);
    amp_roster_sweep();
}

/* A kernel that wakes this process and has a signal for it at the same moment. */
static int
wait_with_signal(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    int result = tap_wait_without_slices(word, expected, relative);
    if (result == 0)
        amp_signal_arrived();
    return result;
}

static int
be_interrupted(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    amp_futex.wait = wait_with_signal;
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], acquire(&board->lock[0], AMP_FOREVER));
    tap_stay(); /* in a handler that takes its time */
}

static void
test_woken_and_interrupted(void)
{
    memset(board, 0, sizeof *board);
    amp_lock_enter(&board->lock[0]);
    int zero = 0;
    struct amp_child first = tap_child(be_interrupted, &zero);
    tap_sleeps(&first, &board->started[0]);
    struct amp_child second = waiter(1);
    amp_lock_leave(&board->lock[0]);
    ok(tap_until(board->result[1] == 100),
       "a waiter that is woken and has a signal at the same moment keeps nobody waiting");
    tap_until(board->result[0] != 0); /* it wakes the other before it returns */
    is(board->result[0], -EINTR, "itself it is told of the signal");
    tap_kill(&first);
    if (tap_join(&second) != 0)
        diag("the other waiter still slept on a free lock");
    amp_roster_sweep();
}

/*
 * Deadlock.
 */

static struct amp_lock *
lock_of(amp_handle handle)
{
    return &amp_cell_of(handle)->c_lock0;
}

static int
acquire_object(amp_handle handle, amp_time deadline)
{
    struct amp_lock *lock = lock_of(handle);
    struct amp_what what = {.kind = AMP_LOCK, .cell = amp_handle_index(handle)};
    what.lock = deadline == AMP_FOREVER ? amp_offset(lock) : 0;
    return amp_lock_acquire(lock, deadline, &what);
}

/* Takes a lock, and then the other one when both have one. */
static int
embrace(void *argument)
{
    int i = *(int *) argument;
    acquire_object(board->handle[i], AMP_FOREVER);
    atomic_store(&board->started[i], 1);
    tap_until(atomic_load(&board->started[1 - i]));
    int result = acquire_object(board->handle[1 - i], AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? 100 : result);
    if (result >= 0)
        amp_lock_leave(lock_of(board->handle[1 - i]));
    amp_lock_leave(lock_of(board->handle[i]));
    return 0;
}

static void
test_deadlock(void)
{
    memset(board, 0, sizeof *board);
    for (int i = 0; i < 2; i++)
        board->handle[i] = amp_cell_handle(tap_object(AMP_LOCK, "embraced"));
    acquire_object(board->handle[0], AMP_FOREVER);
    amp_time begun = amp_now();
    is(acquire_object(board->handle[0], AMP_FOREVER), -EDEADLK, "who waits for himself is told");
    ok(amp_now() - begun >= AMP_SUSPICION, "of the deadlock after a second");
    const struct amp_deadlock *deadlock = amp_roster_last_deadlock();
    const struct amp_edge *chain = deadlock->edges;
    is(deadlock->length, 1, "and can say of how many it was");
    ok(chain[0].member == amp_self.member && chain[0].holder == amp_self.member, "and of whom");
    is(acquire_object(board->handle[0], milliseconds(1300)), -ETIMEDOUT,
       "who waits for himself with a limit is told when it has come");
    amp_lock_leave(lock_of(board->handle[0]));

    struct amp_child child[2];
    for (int i = 0; i < 2; i++)
        child[i] = tap_child(embrace, &i);
    int failed = 0;
    for (int i = 0; i < 2; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "two that wait for each other do not hang");
    ok(board->result[0] == -EDEADLK || board->result[1] == -EDEADLK, "one of them is told");
    ok((board->result[0] == -EDEADLK || board->result[0] == 100) &&
           (board->result[1] == -EDEADLK || board->result[1] == 100),
       "and the other gets its lock, or is told as well");
    for (int i = 0; i < 2; i++) {
        is(lock_state(lock_of(board->handle[i])), 0, "lock %d is free afterwards", i);
        amp_unhold(board->handle[i]);
    }
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    board = tap_shared(sizeof *board);
    is(amp_lock_try_kernel(), 0, "this kernel does what the lock relies on");
    test_alone();
    test_list_order();
    test_exclusion("usual", 40);
    test_impatient();
    test_other_kernels();
    if (tap_forks()) {
        test_death_of_owner();
        test_deaths_with_locks();
        test_among_mutexes();
        test_death_of_thread();
        test_fork_with_lock();
        test_death_of_waiters();
        test_deaths_at_random();
        test_signal();
        test_woken_and_interrupted();
        test_deadlock();
    }
    return tap_done();
}
