/*
 * Semaphores: permits that go round among many, and bounded ones that come back from the dead.
 */
#include "tap.h"

static struct amp_futex_operations kernel;

static struct {
    amp_handle handle;
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int inside, most, entries;
    _Atomic int stop;
} *board;

static struct amp_cell *
semaphore(uint32_t permits)
{
    struct amp_cell *cell = tap_object(AMP_SEMAPHORE, "permits");
    atomic_store(&cell->s_permits, permits << 1);
    board->handle = amp_cell_handle(cell);
    return cell;
}

static struct amp_cell *
bounded(uint32_t permits)
{
    struct amp_cell *cell;
    tap_need(amp_cell_make(AMP_BOUNDED_SEMAPHORE, "bounded", &cell) == 0);
    tap_need(amp_semaphore_bind(cell, permits) == 0);
    atomic_store(&cell->s_permits, permits << 1);
    board->handle = amp_cell_ready(cell);
    return cell;
}

static int
acquire(struct amp_cell *cell, amp_time deadline)
{
    struct amp_semaphore s = amp_semaphore_of(cell);
    struct amp_what what = {.kind = amp_cell_kind(cell), .cell = amp_cell_index(cell)};
    return amp_semaphore_acquire(&s, deadline, &what);
}

static int
release(struct amp_cell *cell)
{
    struct amp_semaphore s = amp_semaphore_of(cell);
    return amp_semaphore_release(&s);
}

static uint32_t
value(struct amp_cell *cell)
{
    struct amp_semaphore s = amp_semaphore_of(cell);
    return amp_semaphore_value(&s);
}

static struct amp_cell *
shared(void)
{
    return amp_cell_of(board->handle);
}

static amp_time
milliseconds(int n)
{
    return amp_now() + n * AMP_MILLISECOND;
}

static void
test_plain(void)
{
    struct amp_cell *s = semaphore(2);
    is(value(s), 2, "it has the permits that it was given");
    is(acquire(s, AMP_AT_ONCE), 0, "the first is taken without waiting");
    is(acquire(s, AMP_FOREVER), 0, "and the second");
    is(value(s), 0, "then there are none");
    is(acquire(s, AMP_AT_ONCE), -ETIMEDOUT, "who does not wait gets none");
    amp_time deadline = milliseconds(5);
    is(acquire(s, deadline), -ETIMEDOUT, "nor does who waits a short time");
    ok(amp_now() >= deadline, "which has gone by");
    is(release(s), 0, "anybody may release,");
    is(value(s), 1, "also after a sleeper has given up");
    is(acquire(s, milliseconds(-1)), 0, "a permit that is there needs no time");
    tap_unhold(s);

    s = semaphore(0);
    is(release(s), 0, "it may be released above what it began with");
    is(value(s), 1, "and counts on");
    tap_unhold(s);

    s = semaphore(AMP_PERMITS_MAX);
    is(release(s), -EOVERFLOW, "but not above what it can count");
    is(value(s), AMP_PERMITS_MAX, "which changes nothing");
    is(acquire(s, AMP_AT_ONCE), 0, "the largest count goes down");
    is(release(s), 0, "and up again");
    tap_unhold(s);
}

static void
test_bounded(void)
{
    struct tap_account before = tap_account();
    struct amp_cell *s = bounded(2);
    is(release(s), -EOVERFLOW, "a bounded one cannot be released above its limit");
    is(acquire(s, AMP_AT_ONCE), 0, "it is taken");
    is(acquire(s, AMP_AT_ONCE), 0, "twice");
    is(acquire(s, AMP_AT_ONCE), -ETIMEDOUT, "but not three times");
    is(acquire(s, milliseconds(5)), -ETIMEDOUT, "not in a short time either");
    is(release(s), 0, "it is released");
    is(release(s), 0, "twice");
    is(release(s), -EOVERFLOW, "but not three times");
    is(value(s), 2, "and is whole again");
    tap_unhold(s);
    tap_is_settled(before, "its memory ends with it");
}

static int
release_foreign(void *argument)
{
    (void) argument;
    return release(shared()) == -EPERM ? 0 : 1;
}

static void
test_owners(void)
{
    struct amp_cell *s = bounded(3);
    acquire(s, AMP_AT_ONCE);
    struct amp_child child = tap_child(release_foreign, NULL);
    is(tap_join(&child), 0, "a permit of a bounded one is its taker's to give back");
    is(value(s), 2, "another's attempt changes nothing");
    is(release(s), 0, "the taker may");
    tap_unhold(s);
}

/*
 * Many.
 */

#define PERMITS 3
#define ROUNDS 300

static int
go_round(int index)
{
    struct amp_cell *s = shared();
    int status = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int result;
        do
            result = acquire(s, index % 4 == 3 ? milliseconds(1) : AMP_FOREVER);
        while (result == -ETIMEDOUT);
        if (result != 0)
            return 1;
        if (atomic_fetch_add(&board->inside, 1) >= PERMITS)
            status = 2;
        atomic_fetch_add(&board->entries, 1);
        if (i % 8 == 0)
            sched_yield();
        atomic_fetch_sub(&board->inside, 1);
        if (release(s) != 0)
            status = 3;
    }
    return status;
}

static void
test_many(const char *under, int n)
{
    struct amp_cell *both[] = {semaphore(PERMITS), bounded(PERMITS)};
    for (int i = 0; i < 2; i++) {
        memset(board, 0, sizeof *board);
        board->handle = amp_cell_handle(both[i]);
        const char *which = i ? "bounded" : "plain";
        is(tap_together(n, go_round), 0, "%s, %s: no more than %d of %d are inside", under, which,
           PERMITS, n);
        is(board->entries, n * ROUNDS, "%s, %s: all have their turns", under, which);
        is(value(both[i]), PERMITS, "%s, %s: all permits come back", under, which);
        tap_unhold(both[i]);
    }
}

static int
sleepless(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return 0;
}

static void
test_other_kernels(void)
{
    amp_futex.wait = sleepless;
    test_many("waits that return at once", 4);
    amp_futex = kernel;
    if (tap_forks()) { /* the children inherit the kernel; threads would share it with the test */
        tap_without_slices();
        test_many("sleeps without slices", 8);
        tap_with_slices();
    }
}

/*
 * Deaths.
 */

static int
take_one_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = acquire(shared(), AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? 100 : result);
    return 0;
}

static struct amp_child
waiter(int i)
{
    struct amp_child child = tap_child(take_one_and_tell, &i);
    tap_sleeps(&child, &board->started[i]);
    return child;
}

static void
test_death_of_waiters(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *s = semaphore(0);
    struct amp_child child[12];
    for (int i = 0; i < 12; i++)
        child[i] = waiter(i);
    tap_kill(&child[0]); /* the one that sleeps on the permits */
    tap_kill(&child[1]); /* its heir */
    tap_kill(&child[5]);
    for (int i = 0; i < 9; i++)
        release(s);
    int failed = 0;
    for (int i = 0; i < 12; i++) {
        if (i != 0 && i != 1 && i != 5)
            failed += tap_join(&child[i]) != 0 || board->result[i] != 100;
    }
    is(failed, 0, "waiters that are killed take nobody's permit with them");
    is(value(s), 0, "each of the others took one");

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(s);
    child[0] = waiter(0);
    child[1] = waiter(1);
    release(s); /* wakes the first, who may be killed before it knows */
    tap_kill(&child[0]);
    if (value(s) == 0 && !tap_until(board->result[1] == 100 || value(s) > 0))
        release(s); /* the dead had taken it: a plain semaphore's permit has no owner */
    ok(tap_until(board->result[1] == 100), "a permit that a dead one did not take finds the next");
    tap_join(&child[1]);
    amp_roster_sweep();
    tap_unhold(s);
}

static int
take_many_and_die(void *argument)
{
    int n = *(int *) argument;
    for (int i = 0; i < n; i++)
        acquire(shared(), AMP_AT_ONCE);
    atomic_store(&board->started[0], 1);
    tap_stay();
}

static void
test_death_of_owner(void)
{
    memset(board, 0, sizeof *board);
    int n = 3 * AMP_COMMIT_MAX + 5; /* more than one commit can add */
    struct amp_cell *s = bounded((uint32_t) n);
    struct amp_child owner = tap_child(take_many_and_die, &n);
    tap_need(tap_until(atomic_load(&board->started[0])));
    is(value(s), 0, "a child has all permits");
    struct amp_child child = waiter(1);
    tap_kill(&owner);
    is(value(s), 0, "and keeps them until it is buried");
    amp_roster_sweep();
    ok(tap_until(board->result[1] == 100), "then who waits for one gets it");
    is(tap_join(&child), 0, "and ends");
    amp_roster_sweep();
    is(value(s), n, "without giving it back, but it comes back");

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(s);
    owner = tap_child(take_many_and_die, &n);
    tap_need(tap_until(atomic_load(&board->started[0])));
    kill(owner.pid, SIGKILL);
    is(tap_join(&owner), -SIGKILL, "who reaps a child");
    is(value(s), n, "has its permits back at once");
    tap_unhold(s);
}

/* Dies with the releasers' lock, so that the next one counts again. */
static int
die_with_releasers_lock(void *argument)
{
    (void) argument;
    amp_lock_enter(&shared()->c_lock0);
    raise(SIGKILL);
    return 0;
}

/* The child became a member after the test looked at the semaphore. */
static void
test_count_of_later_members(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *s = bounded(2);
    struct amp_semaphore early = amp_semaphore_of(s);
    uint32_t members = amp_members_top();
    int one = 1;
    struct amp_child owners[8];
    for (int i = 0; i < 8; i++) { /* the last of them in a slot that nobody had before */
        atomic_store(&board->started[0], 0);
        int n = i == 7 ? one : 0;
        owners[i] = tap_child(take_many_and_die, &n);
        tap_need(tap_until(atomic_load(&board->started[0])));
    }
    tap_need(owners[7].member >= members);
    is(value(s), 1, "a later member has a permit");
    struct amp_child dead = tap_child(die_with_releasers_lock, NULL);
    tap_join(&dead);
    struct amp_what what = {.kind = AMP_BOUNDED_SEMAPHORE};
    is(amp_semaphore_acquire(&early, AMP_AT_ONCE, &what), 0, "the test has the other one");
    is(amp_semaphore_acquire(&early, AMP_AT_ONCE, &what), -ETIMEDOUT,
       "a count after a death has not forgotten the later member's");
    is(value(s), 0, "all permits are taken");
    for (int i = 0; i < 8; i++)
        tap_kill(&owners[i]);
    amp_roster_sweep();
    tap_unhold(s);
}

static int
churn(void *argument)
{
    int i = *(int *) argument;
    struct amp_cell *s = shared();
    tap_without_slices();
    while (!atomic_load(&board->stop)) {
        if (acquire(s, AMP_FOREVER) != 0 || release(s) != 0)
            atomic_store(&board->result[i], 1);
        atomic_fetch_add(&board->started[i], 1);
    }
    return 0;
}

static void
test_deaths_at_random(void)
{
    enum { N = 6, DEATHS = 200 };
    memset(board, 0, sizeof *board);
    struct amp_cell *s = bounded(2);
    struct amp_child child[N];
    for (int i = 0; i < N; i++)
        child[i] = tap_child(churn, &i);
    bool alive = true, within = true;
    for (int k = 0; k < DEATHS && alive; k++) {
        int i = k * 5 % N, other = (i + 1) % N;
        tap_kill(&child[i]);
        amp_roster_sweep();
        child[i] = tap_child(churn, &i);
        within = within && value(s) <= 2;
        int before = atomic_load(&board->started[other]);
        alive = tap_until(atomic_load(&board->started[other]) != before);
    }
    ok(alive, "the others go on whenever one of them is killed and buried");
    ok(within, "there are never more permits than the limit");
    atomic_store(&board->stop, 1);
    int failed = 0;
    for (int i = 0; i < N; i++)
        failed += tap_join(&child[i]) != 0 || atomic_load(&board->result[i]) != 0;
    is(failed, 0, "nobody is told of a failure");
    is(value(s), 2, "and all permits are back in the end");
    tap_unhold(s);
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    if (tap_forks())
        test_count_of_later_members(); /* before others have used up the slots */
    test_plain();
    test_bounded();
    test_many("usual", 40);
    test_other_kernels();
    if (tap_forks()) {
        test_owners();
        test_death_of_waiters();
        test_death_of_owner();
        test_deaths_at_random();
    }
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
