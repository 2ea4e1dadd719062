/*
 * The barrier: all or none go on, whoever is late, gives up, or dies.
 */
#include "tap.h"

static struct amp_futex_operations kernel;

static struct {
    amp_handle handle;
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int round[TAP_WORKERS_MAX];
    _Atomic int indexes; /* bits, of one round */
    _Atomic int actions;
} *board;

static struct amp_cell *
barrier(uint32_t parties)
{
    struct amp_cell *cell;
    tap_need(amp_cell_make(AMP_BARRIER, "barrier", &cell) == 0);
    amp_barrier_init(cell, parties);
    board->handle = amp_cell_ready(cell);
    return cell;
}

static struct amp_cell *
shared(void)
{
    return amp_cell_of(board->handle);
}

/* The whole of a wait, as a binding does it: the index, or a failure. */
static int
wait_at(struct amp_cell *cell, amp_time deadline, void (*action)(void))
{
    struct amp_what what = {.kind = AMP_BARRIER, .cell = amp_cell_index(cell)};
    struct amp_ticket *ticket;
    int result = amp_barrier_arrive(cell, deadline, &what, &ticket);
    if (result < 0)
        return result;
    if (result == AMP_BARRIER_LAST) {
        if (action)
            action();
        result = amp_barrier_open(cell, ticket);
    } else {
        result = amp_barrier_sleep(cell, ticket, deadline, &what);
    }
    return result < 0 ? result : (int) ticket->t_place;
}

static amp_time
milliseconds(int n)
{
    return amp_now() + n * AMP_MILLISECOND;
}

static void
test_alone(void)
{
    struct amp_cell *b = barrier(1);
    is(wait_at(b, AMP_AT_ONCE, NULL), 1, "a barrier of one party is open");
    is(wait_at(b, AMP_FOREVER, NULL), 1, "again and again");
    amp_barrier_abort(b);
    is(wait_at(b, AMP_FOREVER, NULL), -EPIPE, "one that was aborted is broken");
    is(wait_at(b, AMP_FOREVER, NULL), -EPIPE, "and stays so");
    amp_barrier_reset(b);
    is(wait_at(b, AMP_FOREVER, NULL), 1, "until it is reset");
    tap_unhold(b);

    b = barrier(2);
    is(amp_barrier_waiting(b), 0, "nobody waits at a new barrier");
    is(wait_at(b, AMP_AT_ONCE, NULL), -ETIMEDOUT, "a party that does not wait");
    is(wait_at(b, AMP_FOREVER, NULL), -EPIPE, "breaks it");
    amp_barrier_reset(b);
    amp_time deadline = milliseconds(5);
    is(wait_at(b, deadline, NULL), -ETIMEDOUT, "so does one that waits a short time");
    ok(amp_now() >= deadline, "which has gone by");
    is(wait_at(b, AMP_FOREVER, NULL), -EPIPE, "it is broken");
    amp_barrier_reset(b);

    struct amp_what what = {.kind = AMP_BARRIER};
    struct amp_ticket *ticket, *other;
    is(amp_barrier_arrive(b, AMP_FOREVER, &what, &ticket), 0, "a party arrives");
    is(amp_barrier_waiting(b), 1, "and is counted");
    amp_barrier_withdraw(b, ticket);
    is(amp_barrier_waiting(b), 0, "it withdraws");
    amp_barrier_arrive(b, AMP_FOREVER, &what, &ticket);
    is(ticket->t_place, 1, "and arrives again, as the first");
    is(amp_barrier_arrive(b, AMP_FOREVER, &what, &other), AMP_BARRIER_LAST,
       "the last one is told");
    is(other->t_place, 2, "that it is the second");
    is(amp_barrier_open(b, other), 0, "and opens the round");
    is(amp_barrier_sleep(b, ticket, AMP_FOREVER, &what), 0, "in which the first goes on");
    is(amp_barrier_waiting(b), 0, "and nobody waits any more");

    amp_barrier_arrive(b, AMP_FOREVER, &what, &ticket);
    amp_barrier_reset(b);
    is(amp_barrier_sleep(b, ticket, AMP_FOREVER, &what), -EPIPE, "a reset breaks who waits");
    is(wait_at(b, AMP_AT_ONCE, NULL), -ETIMEDOUT, "but not who comes later");
    amp_barrier_reset(b);

    amp_barrier_arrive(b, AMP_FOREVER, &what, &ticket);
    amp_barrier_arrive(b, AMP_FOREVER, &what, &other);
    amp_barrier_abort(b);
    is(amp_barrier_open(b, other), -EPIPE, "an abort during the action is told to its runner");
    is(amp_barrier_sleep(b, ticket, AMP_FOREVER, &what), -EPIPE, "and to who waits");
    amp_barrier_reset(b);

    amp_barrier_arrive(b, AMP_FOREVER, &what, &ticket);
    amp_barrier_arrive(b, AMP_FOREVER, &what, &other);
    struct amp_ticket *late;
    is(amp_barrier_arrive(b, milliseconds(5), &what, &late), -ETIMEDOUT,
       "who comes while the action runs waits for the next round");
    amp_barrier_withdraw(b, ticket);
    is(amp_barrier_open(b, other), 0, "a party that withdraws from a full round does not stop it");
    is(amp_barrier_waiting(b), 0, "it is over");

    struct amp_ticket *third;
    struct amp_cell *triple = barrier(3);
    amp_barrier_arrive(triple, AMP_FOREVER, &what, &ticket);
    amp_barrier_arrive(triple, AMP_FOREVER, &what, &other);
    amp_barrier_withdraw(triple, ticket);
    amp_barrier_arrive(triple, AMP_FOREVER, &what, &ticket);
    amp_barrier_arrive(triple, AMP_FOREVER, &what, &third);
    amp_barrier_open(triple, third);
    amp_barrier_sleep(triple, ticket, AMP_FOREVER, &what);
    amp_barrier_sleep(triple, other, AMP_FOREVER, &what);
    is(1 << ticket->t_place | 1 << other->t_place | 1 << third->t_place, 1 << 1 | 1 << 2 | 1 << 3,
       "after a withdrawal, too, each place is given once");
    tap_unhold(triple);

    struct amp_ticket *tickets[AMP_TICKETS];
    struct amp_cell *wide = barrier(100);
    for (int i = 0; i < AMP_TICKETS; i++)
        amp_barrier_arrive(wide, AMP_FOREVER, &what, &tickets[i]);
    is(amp_barrier_arrive(wide, AMP_FOREVER, &what, &late), -EAGAIN,
       "a member waits as often at once as it has tickets");
    for (int i = 0; i < AMP_TICKETS; i++)
        amp_barrier_withdraw(wide, tickets[i]);
    is(amp_barrier_waiting(wide), 0, "all withdraw");
    tap_unhold(wide);
    tap_unhold(b);
}

/*
 * Many rounds.
 */

#define PARTIES 12
#define ROUNDS 150

static void
check_indexes(void)
{
    /* All are here: each index was given once. The last party has not put in its own yet. */
    atomic_fetch_add(&board->actions, 1);
}

static int
go_round(int index)
{
    struct amp_cell *b = shared();
    int status = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        atomic_store(&board->round[index], round);
        int place = wait_at(b, AMP_FOREVER, check_indexes);
        if (place < 1 || place > PARTIES)
            return 1;
        for (int i = 0; i < PARTIES; i++) {
            int other = atomic_load(&board->round[i]);
            if (other != round && other != round + 1)
                status = 2;
        }
        if (atomic_fetch_or(&board->indexes, 1 << place) & 1 << place)
            status = 3;
        if (wait_at(b, AMP_FOREVER, NULL) == PARTIES) /* between the rounds: one of them checks */
            if (atomic_exchange(&board->indexes, 0) != ((1 << PARTIES) - 1) << 1)
                status = 4;
        if (wait_at(b, AMP_FOREVER, NULL) < 0)
            return 5;
    }
    return status;
}

static void
test_rounds(const char *under)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *b = barrier(PARTIES);
    is(tap_together(PARTIES, go_round), 0, "%s: all go on together, each with a place of its own",
       under);
    is(board->actions, ROUNDS, "%s: each round's action runs once", under);
    tap_unhold(b);
}

static int
sleepless(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return 0;
}

/*
 * Parties that give up or die.
 */

static int
wait_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = wait_at(shared(), AMP_FOREVER, NULL);
    atomic_store(&board->result[i], result);
    return 0;
}

static struct amp_child
party(int i)
{
    struct amp_child child = tap_child(wait_and_tell, &i);
    tap_sleeps(&child, &board->started[i]);
    return child;
}

static int
told_broken(struct amp_child *children, int from, int n)
{
    int told = 0;
    for (int i = from; i < n; i++)
        told += tap_join(&children[i]) == 0 && board->result[i] == -EPIPE;
    return told;
}

static int
arrive_last_and_stay(void *argument)
{
    (void) argument;
    struct amp_what what = {.kind = AMP_BARRIER};
    struct amp_ticket *ticket;
    int result = amp_barrier_arrive(shared(), AMP_FOREVER, &what, &ticket);
    atomic_store(&board->result[10], result);
    atomic_store(&board->started[10], 1);
    tap_stay();
}

static int
die_with_lock(void *argument)
{
    (void) argument;
    amp_lock_enter(&shared()->c_lock0);
    raise(SIGKILL);
    return 0;
}

static void
test_give_up(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *b = barrier(5);
    struct amp_child child[5];
    for (int i = 0; i < 3; i++)
        child[i] = party(i);
    is(amp_barrier_waiting(b), 3, "three of five parties wait");
    is(wait_at(b, milliseconds(20), NULL), -ETIMEDOUT, "the time of a fourth runs out");
    is(told_broken(child, 0, 3), 3, "and the others are told that the barrier is broken");
    amp_barrier_reset(b);

    for (int i = 0; i < 3; i++) {
        atomic_store(&board->started[i], 0);
        child[i] = party(i);
    }
    amp_barrier_abort(b);
    is(told_broken(child, 0, 3), 3, "an abort is told to all who wait");
    tap_unhold(b);
}

static void
test_deaths(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *b = barrier(5);
    struct amp_child child[5];
    for (int i = 0; i < 4; i++)
        child[i] = party(i);
    kill(child[0].pid, SIGKILL);
    is(tap_join(&child[0]), -SIGKILL, "a party dies while it waits");
    is(told_broken(child, 1, 4), 3, "the others are told that the barrier is broken");
    is(wait_at(b, AMP_FOREVER, NULL), -EPIPE, "and so is who comes later");
    amp_barrier_reset(b);

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(b);
    for (int i = 0; i < 4; i++)
        child[i] = party(i);
    struct amp_child last = tap_child(arrive_last_and_stay, NULL);
    tap_need(tap_until(atomic_load(&board->started[10])));
    is(board->result[10], AMP_BARRIER_LAST, "the last party arrives");
    kill(last.pid, SIGKILL);
    is(tap_join(&last), -SIGKILL, "and dies in its action");
    is(told_broken(child, 0, 4), 4, "the others do not pass without it");
    amp_barrier_reset(b);

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(b);
    for (int i = 0; i < 4; i++)
        child[i] = party(i);
    struct amp_child dead = tap_child(die_with_lock, NULL);
    is(tap_join(&dead), -SIGKILL, "somebody dies with the barrier's lock");
    is(wait_at(b, AMP_FOREVER, NULL), 5, "the next one still knows who is here");
    int passed = 0;
    for (int i = 0; i < 4; i++)
        passed += tap_join(&child[i]) == 0 && board->result[i] >= 1 && board->result[i] <= 4;
    is(passed, 4, "and all go on");

    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(b);
    child[0] = party(0);
    amp_lock_enter(&b->c_lock0);
    atomic_store(&b->b_broken, 1); /* a break that its author did not live to finish */
    amp_lock_leave(&b->c_lock0);
    dead = tap_child(die_with_lock, NULL);
    tap_join(&dead);
    is(wait_at(b, AMP_FOREVER, NULL), -EPIPE, "a break that was begun by a dead one is finished");
    is(told_broken(child, 0, 1), 1, "and told to who waits");
    tap_unhold(b);
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_alone();
    test_rounds("usual");
    amp_futex.wait = sleepless;
    test_rounds("waits that return at once");
    amp_futex = kernel;
    if (tap_forks()) {
        tap_without_slices();
        test_rounds("sleeps without slices");
        tap_with_slices();
        test_give_up();
        test_deaths();
    }
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
