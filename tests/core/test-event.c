/*
 * The event: set, clear and wait, in every order and by many at once.
 */
#include "tap.h"

static struct amp_futex_operations kernel;

static struct {
    amp_handle handle;
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int turn, stop;
} *board;

static struct amp_cell *
event(void)
{
    struct amp_cell *cell = tap_object(AMP_EVENT, "event");
    board->handle = amp_cell_handle(cell);
    return cell;
}

static struct amp_cell *
shared(void)
{
    return amp_cell_of(board->handle);
}

static void
set(struct amp_cell *cell)
{
    struct amp_event e = amp_event_of(cell);
    amp_event_set(&e);
}

static void
clear(struct amp_cell *cell)
{
    struct amp_event e = amp_event_of(cell);
    amp_event_clear(&e);
}

static bool
is_set(struct amp_cell *cell)
{
    struct amp_event e = amp_event_of(cell);
    return amp_event_is_set(&e);
}

static int
wait_for(struct amp_cell *cell, amp_time deadline)
{
    struct amp_event e = amp_event_of(cell);
    struct amp_what what = {.kind = AMP_EVENT, .cell = amp_cell_index(cell)};
    return amp_event_wait(&e, deadline, &what);
}

static void
test_alone(void)
{
    struct amp_cell *e = event();
    ok(!is_set(e), "a new event is not set");
    is(wait_for(e, AMP_AT_ONCE), -ETIMEDOUT, "who does not wait is told so");
    amp_time deadline = amp_now() + 5 * AMP_MILLISECOND;
    is(wait_for(e, deadline), -ETIMEDOUT, "and so is who waits a short time");
    ok(amp_now() >= deadline, "which has gone by");
    clear(e);
    ok(!is_set(e), "to clear it changes nothing");
    set(e);
    ok(is_set(e), "it is set, though a sleeper has given up before");
    set(e);
    ok(is_set(e), "to set it twice changes nothing");
    is(wait_for(e, AMP_AT_ONCE), 0, "who looks at a set event does not wait");
    is(wait_for(e, AMP_FOREVER), 0, "nor who would wait for ever");
    clear(e);
    ok(!is_set(e), "it is cleared");
    is(wait_for(e, AMP_AT_ONCE), -ETIMEDOUT, "and is waited for again");

    bool right = true;
    atomic_store(&e->e_word, 0xfffffffcu); /* the last even counts before 2^31 */
    for (int i = 0; i < 8; i++) {
        set(e);
        right = right && is_set(e);
        clear(e);
        right = right && !is_set(e);
    }
    ok(right, "it stays what it is while its count goes round");
    atomic_store(&e->e_word, 0xfffffffeu | AMP_SLEEPER);
    clear(e);
    ok(!is_set(e), "also where somebody slept");
    tap_unhold(e);
}

/* The kernel's part is played by the test: while the waiter "sleeps", the event is set and
   cleared. */
static int
pulse(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    set(shared());
    clear(shared());
    return 0;
}

static void
test_pulse(void)
{
    struct amp_cell *e = event();
    amp_futex.wait = pulse;
    is(wait_for(e, AMP_FOREVER), 0, "who sleeps sees a pulse of set and clear as well");
    ok(!is_set(e), "though the event is not set any more");
    amp_futex = kernel;
    tap_unhold(e);
}

/*
 * Many. In each round the event is set once all workers wait, and cleared when all have seen it.
 */

#define ROUNDS 100
#define WAITERS 20

static int
follow_rounds(int index)
{
    struct amp_cell *e = shared();
    if (index < WAITERS) {
        for (int round = 1; round <= ROUNDS; round++) {
            while (atomic_load(&board->turn) < round)
                sched_yield();
            if (wait_for(e, AMP_FOREVER) != 0)
                return 1;
            atomic_store(&board->result[index], round);
        }
        return 0;
    }
    for (int round = 1; round <= ROUNDS; round++) {
        atomic_store(&board->turn, round);
        if (round % 2)
            tap_nap();
        set(e);
        for (int i = 0; i < WAITERS; i++) {
            if (!tap_until(atomic_load(&board->result[i]) == round))
                return 2;
        }
        clear(e);
    }
    return 0;
}

static void
test_many(const char *under)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *e = event();
    is(tap_together(WAITERS + 1, follow_rounds), 0,
       "%s: an event lets all go who wait for it", under);
    tap_unhold(e);
}

static int
sleepless(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return 0;
}

/* Setters and clearers in disorder, with sleepers in between; the last word, when no clearer is
   left, is set. */

#define DISORDERLY 9

static int
disorder(int index)
{
    struct amp_cell *e = shared();
    for (int i = 0; i < 3000; i++) {
        if (index % 3 == 0)
            set(e);
        else if (index % 3 == 1)
            clear(e);
        else
            wait_for(e, amp_now() + AMP_MILLISECOND / 20);
    }
    if (index % 3 == 2)
        return wait_for(e, amp_now() + TAP_PATIENCE);
    if (index % 3 == 1) {
        atomic_fetch_add(&board->turn, 1);
        return 0;
    }
    while (atomic_load(&board->turn) < DISORDERLY / 3)
        sched_yield();
    set(e);
    return !is_set(e);
}

static void
test_disorder(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *e = event();
    is(tap_together(DISORDERLY, disorder), 0, "set, clear and wait may come in any disorder");
    set(e);
    ok(is_set(e), "the event works afterwards");
    tap_unhold(e);
}

/*
 * Two setters meet when a third has set the event and a fourth has cleared it again: both come
 * from a time when somebody slept, so both want the setters' lock, and neither may undo the
 * other.
 */
static int
set_from_the_past(void *argument)
{
    int i = *(int *) argument;
    atomic_store(&board->started[i], 1);
    set(shared());
    return 0;
}

static void
test_setters_from_the_past(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *e = event();
    struct amp_child child[4];
    atomic_store(&e->e_word, AMP_SLEEPER); /* somebody slept */
    amp_lock_enter(&e->c_lock0);
    for (int i = 0; i < 4; i++) {
        child[i] = tap_child(set_from_the_past, &i);
        tap_sleeps(&child[i], &board->started[i]);
    }
    atomic_store(&e->e_word, 4); /* set and cleared since */
    amp_lock_leave(&e->c_lock0);
    int failed = 0;
    for (int i = 0; i < 4; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "setters that waited for each other end");
    ok(is_set(e), "and have set the event once");
    is(amp_count(atomic_load(&e->e_word)), 3, "by one step");
    tap_unhold(e);
}

/*
 * Deaths.
 */

static int
wait_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = wait_for(shared(), AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? 100 : result);
    return 0;
}

static int
die_with_setters_lock(void *argument)
{
    (void) argument;
    amp_lock_enter(&shared()->c_lock0);
    raise(SIGKILL);
    return 0;
}

static void
test_deaths(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *e = event();
    struct amp_child child[12];
    for (int i = 0; i < 12; i++) {
        child[i] = tap_child(wait_and_tell, &i);
        tap_sleeps(&child[i], &board->started[i]);
    }
    for (int i = 0; i < 12; i += 3)
        tap_kill(&child[i]);
    struct amp_child setter = tap_child(die_with_setters_lock, NULL);
    is(tap_join(&setter), -SIGKILL, "a setter dies with the setters' lock");
    set(e);
    ok(is_set(e), "the next one sets the event");
    int failed = 0;
    for (int i = 0; i < 12; i++) {
        if (i % 3 != 0)
            failed += tap_join(&child[i]) != 0 || board->result[i] != 100;
    }
    is(failed, 0, "and wakes all that live");
    tap_unhold(e);
    amp_roster_sweep();
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_alone();
    test_pulse();
    test_many("usual");
    amp_futex.wait = sleepless;
    test_many("waits that return at once");
    amp_futex = kernel;
    test_disorder();
    if (tap_forks()) {
        tap_without_slices();
        test_many("sleeps without slices");
        tap_with_slices();
        test_setters_from_the_past();
        test_deaths();
    }
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
