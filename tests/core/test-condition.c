/*
 * The condition: who waits is called in the order of coming, and what a dead waiter was called for
 * goes to the next.
 */
#include "tap.h"

static struct amp_futex_operations kernel;

static struct {
    amp_handle handle;
    struct amp_lock lock; /* stands for the script's */
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int order[TAP_WORKERS_MAX];
    _Atomic int arrivals, stop;
    uint64_t items, taken; /* under the lock */
} *board;

static struct amp_cell *
condition(void)
{
    struct amp_cell *cell = tap_object(AMP_CONDITION, "condition");
    board->handle = amp_cell_handle(cell);
    return cell;
}

static struct amp_cell *
shared(void)
{
    return amp_cell_of(board->handle);
}

/* The whole of a wait, as a binding does it: 0, -ETIMEDOUT. With the lock before and after. */
static int
wait_for(struct amp_cell *cell, struct amp_lock *lock, amp_time deadline)
{
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION, .cell = amp_cell_index(cell)};
    int result = amp_condition_enlist(cell, &ticket);
    if (result != 0)
        return result;
    if (lock)
        amp_lock_leave(lock);
    result = amp_condition_sleep(ticket, deadline, &what);
    if (amp_condition_delist(cell, ticket))
        result = 0;
    if (lock)
        amp_lock_enter(lock);
    return result;
}

static void
test_alone(void)
{
    struct amp_cell *c = condition();
    is(amp_condition_notify(c, 1), 0, "nobody waits, nobody is called");
    is(wait_for(c, NULL, AMP_AT_ONCE), -ETIMEDOUT, "that call is not kept for later");
    amp_time deadline = amp_now() + 5 * AMP_MILLISECOND;
    is(wait_for(c, NULL, deadline), -ETIMEDOUT, "a wait ends with its deadline");
    ok(amp_now() >= deadline, "and not before");
    is(amp_condition_notify(c, 1), 0, "who has given up is not called");

    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION};
    is(amp_condition_enlist(c, &ticket), 0, "one is enlisted");
    is(amp_condition_notify(c, 5), 1, "more calls than waiters: one is called");
    is(amp_condition_notify(c, 5), 0, "and not a second time");
    is(amp_condition_sleep(ticket, AMP_FOREVER, &what), 0, "who was called before does not sleep");
    ok(amp_condition_delist(c, ticket), "and is told so");
    amp_condition_enlist(c, &ticket);
    is(amp_condition_sleep(ticket, AMP_AT_ONCE, &what), -ETIMEDOUT, "a time runs out");
    amp_condition_notify(c, 1);
    ok(amp_condition_delist(c, ticket), "and the call that comes just then counts");
    amp_condition_enlist(c, &ticket);
    ok(!amp_condition_delist(c, ticket), "a new wait knows nothing of the call before");
    tap_unhold(c);
}

/* Handlers of signals wait inside of waits. */
static void
test_tickets(void)
{
    struct amp_cell *c = condition(), *other = condition();
    struct amp_ticket *tickets[AMP_TICKETS], *none;
    int failed = 0;
    for (int i = 0; i < AMP_TICKETS; i++)
        failed += amp_condition_enlist(i % 2 ? other : c, &tickets[i]) != 0;
    is(failed, 0, "a member waits as often at once as it has tickets");
    is(amp_condition_enlist(c, &none), -EAGAIN, "but not more often");
    is(amp_condition_notify(c, UINT32_MAX), AMP_TICKETS / 2, "a condition calls its own waits");
    bool right = true;
    for (int i = 0; i < AMP_TICKETS; i++)
        right = right && amp_condition_delist(i % 2 ? other : c, tickets[i]) == (i % 2 == 0);
    ok(right, "and leaves another's alone");
    is(amp_condition_enlist(c, &none), 0, "a ticket that was given back is good again");
    amp_condition_delist(c, none);

    c->d_next = UINT32_MAX; /* the numbers go round between these two */
    amp_condition_enlist(c, &tickets[0]);
    amp_condition_enlist(c, &tickets[1]);
    amp_condition_notify(c, 1);
    ok(amp_condition_delist(c, tickets[0]) && !amp_condition_delist(c, tickets[1]),
       "first come is first called, also where the numbers go round");
    tap_unhold(c);
    tap_unhold(other);
}

/* The call comes at the moment between the look and the sleep. */
static int
call_meanwhile(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    amp_condition_notify(shared(), 1);
    return kernel.wait(word, expected, relative);
}

static void
test_call_before_sleep(void)
{
    struct amp_cell *c = condition();
    amp_futex.wait = call_meanwhile;
    amp_time begun = amp_now();
    is(wait_for(c, NULL, begun + TAP_PATIENCE), 0,
       "a call between the look and the sleep is heard");
    amp_futex = kernel;
    tap_unhold(c);
}

/*
 * Many: consumers wait for items, producers make them and call.
 */

#define ITEMS 400
#define PRODUCERS 8

static int
produce_or_consume(int index)
{
    struct amp_cell *c = shared();
    bool producer = index < PRODUCERS;
    for (int i = 0; i < ITEMS; i++) {
        amp_lock_enter(&board->lock);
        if (producer) {
            board->items++;
            amp_condition_notify(c, 1);
        } else {
            while (board->items == 0) {
                int result = wait_for(c, &board->lock, amp_now() + TAP_PATIENCE);
                if (result != 0) {
                    amp_lock_leave(&board->lock);
                    return 1;
                }
            }
            board->items--;
            board->taken++;
        }
        amp_lock_leave(&board->lock);
    }
    return 0;
}

static void
test_many(const char *under)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *c = condition();
    is(tap_together(2 * PRODUCERS, produce_or_consume), 0, "%s: no call is lost among many", under);
    ok(board->items == 0 && board->taken == PRODUCERS * ITEMS, "%s: all items are taken", under);
    tap_unhold(c);
}

static int
sleepless(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return 0;
}

/*
 * Order, and deaths.
 */

static int
wait_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = wait_for(shared(), NULL, AMP_FOREVER);
    atomic_store(&board->order[i], atomic_fetch_add(&board->arrivals, 1) + 1);
    atomic_store(&board->result[i], result == 0 ? 100 : result);
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
test_order(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *c = condition();
    struct amp_child child[8];
    for (int i = 0; i < 8; i++)
        child[i] = waiter(i);
    bool right = true;
    for (int i = 0; i < 4; i++) {
        amp_condition_notify(c, 1);
        right = right && tap_until(board->result[i] == 100) && board->order[i] == i + 1;
    }
    ok(right, "waiters are called in the order of their coming");
    is(atomic_load(&board->arrivals), 4, "and nobody else is woken");
    is(amp_condition_notify(c, AMP_WAKE_ALL), 4, "all others are called at once");
    int failed = 0;
    for (int i = 0; i < 8; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "and all go on");
    tap_unhold(c);
}

static int
take_call_and_die(void *argument)
{
    (void) argument;
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION};
    amp_condition_enlist(shared(), &ticket);
    atomic_store(&board->started[0], 1);
    amp_condition_sleep(ticket, AMP_FOREVER, &what);
    atomic_store(&board->result[0], 1);
    tap_stay(); /* called, and the ticket not given back */
}

static int
die_with_guard(void *argument)
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
    struct amp_cell *c = condition();
    struct amp_child first = waiter(0), second = waiter(1), third = waiter(2);
    tap_kill(&first);
    amp_roster_sweep();
    is(amp_condition_notify(c, 1), 1, "a waiter that was killed and buried is not called,");
    ok(tap_until(board->result[1] == 100), "but the next one");
    is(tap_join(&second), 0, "and it goes on");
    tap_kill(&third);
    amp_roster_sweep();
    is(amp_condition_notify(c, 1), 0, "when all are dead, nobody is called");

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(c);
    first = tap_child(take_call_and_die, NULL);
    tap_sleeps(&first, &board->started[0]);
    second = waiter(1);
    is(amp_condition_notify(c, 1), 1, "one of two is called");
    tap_need(tap_until(board->result[0] == 1));
    kill(first.pid, SIGKILL);
    is(tap_join(&first), -SIGKILL, "and dies of it");
    ok(tap_until(board->result[1] == 100), "then its burial calls the other");
    is(tap_join(&second), 0, "who goes on");

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(c);
    second = waiter(1);
    first = tap_child(die_with_guard, NULL);
    is(tap_join(&first), -SIGKILL, "somebody dies with the condition's guard");
    is(amp_condition_notify(c, 1), 1, "the next one calls the waiter");
    is(tap_join(&second), 0, "who goes on");
    tap_unhold(c);
}

static int
churn(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    while (!atomic_load(&board->stop)) {
        if (wait_for(shared(), NULL, AMP_FOREVER) != 0)
            atomic_store(&board->result[i], 1);
        atomic_fetch_add(&board->started[i], 1);
        amp_condition_notify(shared(), 1); /* one call goes round and round */
    }
    amp_condition_notify(shared(), AMP_WAKE_ALL);
    return 0;
}

/* A call is handed from one to the next; a member that dies with it must not make it vanish. */
static void
test_deaths_at_random(void)
{
    enum { N = 5, DEATHS = 150 };
    memset(board, 0, sizeof *board);
    struct amp_cell *c = condition();
    struct amp_child child[N];
    for (int i = 0; i < N; i++)
        child[i] = tap_child(churn, &i);
    tap_until(amp_condition_notify(c, 1) == 1);
    bool alive = true;
    for (int k = 0; k < DEATHS && alive; k++) {
        int i = k * 3 % N, other = (i + 1) % N;
        int before = atomic_load(&board->started[other]);
        tap_kill(&child[i]);
        amp_roster_sweep();
        child[i] = tap_child(churn, &i);
        alive = tap_until(atomic_load(&board->started[other]) != before ||
                          amp_condition_notify(c, 1) == 0);
        amp_condition_notify(c, 1); /* it died between its wait and its call: the script's affair */
    }
    ok(alive, "calls go on whoever is killed");
    atomic_store(&board->stop, 1);
    int failed = 0;
    for (int i = 0; i < N; i++) {
        while (amp_child_wait(&child[i], AMP_AT_ONCE) == -ETIMEDOUT) {
            amp_condition_notify(c, AMP_WAKE_ALL);
            tap_nap();
        }
        failed += tap_join(&child[i]) != 0 || board->result[i] != 0;
    }
    is(failed, 0, "and all end when they are told to");
    tap_unhold(c);
}

/* A condition is held together with its lock. */
static void
test_lock_of_condition(void)
{
    struct amp_cell *lock = tap_object(AMP_LOCK, "its lock"), *c;
    amp_handle handle = amp_cell_handle(lock);
    tap_need(amp_cell_make(AMP_CONDITION, "condition", &c) == 0);
    c->d_lock = handle;
    amp_handle_sent(c, &c->d_lock, 1);
    amp_handle_sent_done();
    amp_cell_ready(c);
    tap_unhold(lock);
    ok(amp_cell_of(handle) == lock, "a condition keeps its lock alive");
    tap_unhold(c);
    ok(amp_cell_of(handle) == NULL, "and lets it go when it ends");
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_alone();
    test_tickets();
    test_call_before_sleep();
    test_lock_of_condition();
    test_many("usual");
    amp_futex.wait = sleepless;
    test_many("waits that return at once");
    amp_futex = kernel;
    if (tap_forks()) {
        test_order();
        test_deaths();
        test_deaths_at_random();
    }
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
