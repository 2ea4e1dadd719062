/*
 * The roster: who is a member, who is dead, and what becomes of a slot.
 */
#include "tap.h"

#include <signal.h>

static struct {
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic uint32_t member, generation;
    _Atomic int stop;
    amp_handle handle[4];
} *board;

static uint32_t
phase(uint32_t member)
{
    return amp_member_phase(amp_member_at(member));
}

static uint32_t
generation_of(uint32_t member)
{
    return amp_member_generation(amp_member_at(member));
}

static int
stay(void *argument)
{
    (void) argument;
    atomic_store(&board->started[0], 1);
    tap_stay();
}

static struct amp_child
staying_child(void)
{
    atomic_store(&board->started[0], 0);
    struct amp_child child = tap_child(stay, NULL);
    tap_need(tap_until(atomic_load(&board->started[0])));
    return child;
}

static int
leave_at_once(void *argument)
{
    (void) argument;
    return 7;
}

static void
test_slots(void)
{
    uint32_t member, other, generation;
    is(amp_self.member, 0, "the first member has the first slot");
    is(amp_member_of_thread(amp_self.tid), 0, "and is found by its thread");
    is(amp_member_of_thread(1), AMP_NOBODY, "a stranger is not");
    is(strcmp(amp_member_at(0)->m_name, "test"), 0, "it has its name");
    is(amp_member_at(0)->m_pid, getpid(), "and its process");
    ok(amp_member_lives(0, generation_of(0)), "and it lives");
    ok(!amp_member_lives(0, generation_of(0) + 1), "in this generation only");

    char name[AMP_NAME_SIZE * 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    is(amp_member_reserve(name, &member, &generation), 0, "a slot is reserved");
    is(phase(member), AMP_RESERVED, "and says so");
    is(strlen(amp_member_at(member)->m_name), AMP_NAME_SIZE - 1, "a name that is too long is cut");
    is(amp_member_at(member)->m_parent, 0, "it knows its parent");
    ok(amp_member_lives(member, generation), "who is about to be born counts as living");
    amp_roster_sweep();
    is(phase(member), AMP_RESERVED, "a sweep leaves it alone");
    amp_member_bury(member, generation, false);
    is(phase(member), AMP_RESERVED, "nor can it be buried while it may yet be born");
    amp_member_bury(member, generation, true);
    is(phase(member), AMP_FREE, "but when its process is known to be gone");
    is(generation_of(member), generation + 1, "then the slot is free, in another generation");
    ok(!amp_member_lives(member, generation), "who was to be born does not live");
    amp_member_bury(member, generation, true);
    is(generation_of(member), generation + 1, "a second burial does nothing");

    uint32_t next;
    is(amp_member_reserve("again", &other, &next), 0, "a slot is reserved again");
    ok(other == member && next == generation + 1, "the same one, in its other generation");
    is(amp_member_enter(member, generation), -ESTALE, "who comes too late is turned away");
    is(amp_self.member, 0, "and is who it was");
    is(phase(member), AMP_RESERVED, "it took nobody's slot");
    amp_member_bury(other, next, true);
}

static void
test_life(void)
{
    struct amp_child child = staying_child();
    is(phase(child.member), AMP_LIVE, "a child is a live member");
    is(amp_member_at(child.member)->m_pid, child.pid, "with its process");
    is(amp_member_of_thread((uint32_t) child.pid), child.member, "it is found by its thread");
    is(amp_member_join(child.member, child.generation, AMP_AT_ONCE), -ETIMEDOUT,
       "to join it takes time");
    is(amp_member_join(child.member, child.generation, amp_now() + 5 * AMP_MILLISECOND), -ETIMEDOUT,
       "more than a little");
    amp_member_bury(child.member, child.generation, false);
    amp_member_bury(child.member, child.generation, true);
    amp_roster_sweep();
    ok(amp_member_lives(child.member, child.generation),
       "the living are not buried, whoever says so");
    uint32_t value;
    amp_word *word = amp_member_life(child.member, child.generation, &value);
    ok(word != NULL && atomic_load(word) == value && (value & FUTEX_WAITERS),
       "its life can be waited for among other words");
    tap_kill(&child);
    ok(!amp_member_lives(child.member, child.generation), "a killed child is dead at once");
    ok(atomic_load(word) != value, "as its word says");
    is(phase(child.member), AMP_LIVE, "its slot waits for a burial");
    is(amp_member_of_thread((uint32_t) child.pid), AMP_NOBODY, "but it is not found any more");
    uint32_t deaths = atomic_load(&amp_arena.header->h_deaths);
    is(amp_member_join(child.member, child.generation, AMP_AT_ONCE), 0,
       "to join it takes no time,");
    is(phase(child.member), AMP_FREE, "and buries it");
    is(atomic_load(&amp_arena.header->h_deaths), deaths + 1, "which is counted");
    ok(amp_member_life(child.member, child.generation, &value) == NULL,
       "there is no life to wait for");
    is(amp_member_join(child.member, child.generation, AMP_FOREVER), 0,
       "a former member is joined");

    child = tap_child(leave_at_once, NULL);
    tap_until(!amp_member_lives(child.member, child.generation));
    tap_until(phase(child.member) == AMP_FREE);
    is(phase(child.member), AMP_FREE, "a member that leaves buries itself");
    is(tap_join(&child), 7, "and its process ends as it wants");
    is(amp_member_at(child.member)->m_status, 7, "what it said last is remembered");
}

/*
 * Joining.
 */

static int
join_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = amp_member_join(board->member, board->generation, AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? 100 : result);
    return 0;
}

static int
stay_a_while(void *argument)
{
    (void) argument;
    atomic_store(&board->started[0], 1);
    while (!atomic_load(&board->stop))
        tap_nap();
    return 0;
}

static void
join_by_many(bool in_good_order)
{
    static const char *how[] = {"is killed", "leaves"};
    enum { N = 8 };
    memset(board, 0, sizeof *board);
    struct amp_child child = tap_child(stay_a_while, NULL);
    tap_need(tap_until(atomic_load(&board->started[0])));
    board->member = child.member;
    board->generation = child.generation;
    struct amp_child joiner[N];
    for (int i = 0; i < N; i++) {
        int number = i + 1;
        joiner[i] = tap_child(join_and_tell, &number);
        tap_sleeps(&joiner[i], &board->started[number]);
    }
    atomic_store(&board->stop, in_good_order);
    if (!in_good_order)
        tap_kill(&child);
    int told = 0;
    for (int i = 0; i < N; i++)
        told += tap_join(&joiner[i]) == 0 && board->result[i + 1] == 100;
    is(told, N, "when a member %s, all who join it are woken", how[in_good_order]);
    if (in_good_order)
        is(tap_join(&child), 0, "and it ends");
}

/*
 * Limits.
 */

static void
test_too_many(void)
{
    static uint32_t members[AMP_MEMBERS_MAX], generations[AMP_MEMBERS_MAX];
    uint32_t n = 0;
    int failure = 0;
    while (n < AMP_MEMBERS_MAX &&
           (failure = amp_member_reserve("one of many", &members[n], &generations[n])) == 0)
        n++;
    is(n, AMP_MEMBERS_MAX - 1, "there are as many slots as are promised, with ours");
    is(failure, -EUSERS, "then no more");
    is(amp_members_top(), AMP_MEMBERS_MAX, "all have been used");
    struct amp_child child;
    is(amp_spawn("one too many", 0, NULL, NULL, &child), -EUSERS, "a fork says so too");
    bool different = true;
    static bool seen[AMP_MEMBERS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        different = different && members[i] != amp_self.member && !seen[members[i]];
        seen[members[i]] = true;
    }
    ok(different, "each is another");
    amp_member_bury(members[1000], generations[1000], true);
    uint32_t member, generation;
    is(amp_member_reserve("the last", &member, &generation), 0, "one that is free again is found,");
    is(member, members[1000], "wherever it is");
    generations[1000] = generation;
    for (uint32_t i = 0; i < n; i++)
        amp_member_bury(members[i], generations[i], true);
    is(tap_account().members, 1, "all others are buried");
}

/*
 * The dead.
 */

/* Reserves a slot with an object for a child, and dies before it forks. */
static int
reserve_and_die(void *argument)
{
    (void) argument;
    uint32_t member, generation;
    if (amp_member_reserve("unborn", &member, &generation) != 0)
        return 1;
    amp_holders_copy(amp_self.member, member);
    atomic_store(&board->member, member);
    atomic_store(&board->generation, generation);
    raise(SIGKILL);
    return 0;
}

static void
test_unborn(void)
{
    struct tap_account before = tap_account();
    amp_handle handle = amp_cell_handle(tap_object(AMP_EVENT, "inherited"));
    struct amp_child child = tap_child(reserve_and_die, NULL);
    is(tap_join(&child), -SIGKILL, "a parent dies with a child unborn");
    is(phase(board->member), AMP_RESERVED, "whose slot is reserved");
    amp_roster_sweep();
    is(phase(board->member), AMP_FREE, "a sweep frees it");
    is(amp_member_enter(board->member, board->generation), -ESTALE,
       "should it be born yet, it is turned away");
    ok(amp_cell_of(handle) != NULL, "what it would have held is held by others still");
    amp_unhold(handle);
    tap_is_settled(before, "and ends with the last of them");
}

static int
bury_and_die(void *argument)
{
    (void) argument;
    amp_lock_enter(&amp_arena.header->h_recovery_lock);
    raise(SIGKILL);
    return 0;
}

static void
test_burier_dies(void)
{
    struct tap_account before = tap_account();
    struct amp_child dead[3];
    for (int i = 0; i < 3; i++) {
        dead[i] = staying_child();
        tap_kill(&dead[i]);
    }
    struct amp_child burier = tap_child(bury_and_die, NULL);
    waitpid(burier.pid, NULL, 0);
    is(tap_account().members, before.members + 4, "some are dead, and who was to bury them");
    tap_is_settled(before, "the next one buries them all");
}

/* What they die with is found: objects, a lock, a ticket. */
static int
die_with_everything(void *argument)
{
    (void) argument;
    struct amp_ticket *ticket;
    for (int i = 0; i < 700; i++) /* in more than one piece of the table */
        tap_object(AMP_VALUE, "one of many");
    amp_lock_enter(&amp_cell_of(board->handle[0])->c_lock0);
    amp_condition_enlist(amp_cell_of(board->handle[1]), &ticket);
    raise(SIGKILL);
    return 0;
}

static void
test_estate(void)
{
    struct tap_account before = tap_account();
    struct amp_cell *lock = tap_object(AMP_LOCK, "lock");
    struct amp_cell *condition = tap_object(AMP_CONDITION, "condition");
    board->handle[0] = amp_cell_handle(lock);
    board->handle[1] = amp_cell_handle(condition);
    struct amp_child child = tap_child(die_with_everything, NULL);
    waitpid(child.pid, NULL, 0);
    is(amp_cells_live(), before.cells + 702, "a member dies with hundreds of objects");
    amp_roster_sweep();
    is(amp_cells_live(), before.cells + 2, "which end with its burial");
    is(amp_condition_notify(condition, 1), 0, "where it waited it does not wait any more");
    is(amp_lock_try(&lock->c_lock0), AMP_OWNER_DIED, "and its lock can be had");
    amp_lock_leave(&lock->c_lock0);
    tap_unhold(lock);
    tap_unhold(condition);
    tap_is_settled(before, "nothing is left of it");
}

/*
 * What members wait for.
 */

static int
wait_for_event(void *argument)
{
    (void) argument;
    struct amp_cell *cell = amp_cell_of(board->handle[0]);
    struct amp_event event = amp_event_of(cell);
    struct amp_what what = {.kind = AMP_EVENT, .cell = amp_cell_index(cell)};
    atomic_store(&board->started[1], 1);
    amp_event_wait(&event, AMP_FOREVER, &what);
    return 0;
}

static void
test_waiting(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *cell = tap_object(AMP_EVENT, "event");
    board->handle[0] = amp_cell_handle(cell);
    struct amp_what what;
    ok(!amp_member_waiting(amp_self.member, &what, NULL), "who runs does not wait");
    amp_time begun = amp_now();
    struct amp_child child = tap_child(wait_for_event, NULL);
    ok(tap_until(amp_member_waiting(child.member, &what, NULL)), "who sleeps is seen to wait");
    ok(what.kind == AMP_EVENT && what.cell == amp_cell_index(cell), "for what");
    ok(what.since >= begun && what.since <= amp_now(), "and since when");
    struct amp_event event = amp_event_of(cell);
    amp_event_set(&event);
    is(tap_join(&child), 0, "it is let go");
    ok(!amp_member_waiting(child.member, &what, NULL), "and waits no more");
    tap_unhold(cell);
}

/* Child i takes lock i and waits for lock i + 1; the test waits for lock 0 and has the last one. */
static int
link_of_chain(void *argument)
{
    int i = *(int *) argument;
    struct amp_lock *mine = &amp_cell_of(board->handle[i])->c_lock0;
    struct amp_lock *next = &amp_cell_of(board->handle[i + 1])->c_lock0;
    struct amp_what what = {.kind = AMP_LOCK, .lock = amp_offset(next)};
    amp_lock_enter(mine);
    atomic_store(&board->started[i], 1);
    int result = amp_lock_acquire(next, AMP_FOREVER, &what);
    if (result >= 0)
        amp_lock_leave(next);
    amp_lock_leave(mine);
    return result >= 0 ? 0 : 1;
}

static void
test_chain(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *cells[4];
    struct amp_child child[3];
    for (int i = 0; i < 4; i++) {
        cells[i] = tap_object(AMP_LOCK, "link");
        board->handle[i] = amp_cell_handle(cells[i]);
    }
    amp_lock_enter(&cells[3]->c_lock0);
    for (int i = 2; i >= 0; i--) {
        child[i] = tap_child(link_of_chain, &i);
        tap_need(tap_until(atomic_load(&board->started[i])));
    }
    struct amp_what ours = {.kind = AMP_LOCK, .lock = amp_offset(&cells[0]->c_lock0)};
    struct amp_deadlock deadlock;
    const struct amp_edge *chain = deadlock.edges;
    ours.since = amp_now();
    ok(tap_until(amp_roster_deadlock(&ours, &deadlock) && deadlock.length == 4),
       "a circle of four that wait for each other is found");
    bool right = chain[0].member == amp_self.member && chain[3].holder == amp_self.member;
    for (int i = 0; i < 3; i++)
        right = right && chain[i].holder == child[i].member &&
                chain[i + 1].member == child[i].member;
    ok(right, "and who waits for whom");
    ours.lock = 0;
    ok(!amp_roster_deadlock(&ours, &deadlock), "who waits for no lock is in no circle");
    amp_lock_leave(&cells[3]->c_lock0);
    ours.lock = amp_offset(&cells[0]->c_lock0);
    int failed = 0;
    for (int i = 0; i < 3; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "when the test gives up its lock, all go on");
    ok(!amp_roster_deadlock(&ours, &deadlock), "and there is no circle any more");
    for (int i = 0; i < 4; i++)
        tap_unhold(cells[i]);
}

/*
 * A standstill.
 */

/* Waits until the child sleeps as it should, and has looked again since it began. */
static bool
sleeps_on(const struct amp_child *child, bool is_closed)
{
    struct amp_what what;
    struct amp_sleep sleep;
    return tap_until(amp_member_waiting(child->member, &what, &sleep) &&
                     sleep.is_closed == is_closed && sleep.looked > sleep.began);
}

/* Whether the caller, which has begun to wait as `what` says, is told when it looks again. */
static bool
is_told(const struct amp_what *what, struct amp_deadlock *deadlock)
{
    amp_self.sleep.looked = amp_now();
    amp_self.sleep.deaths = *amp_self.deaths;
    return amp_roster_deadlock(what, deadlock);
}

/* The same from some moment on, where it begins now. */
static bool
is_told_soon(const struct amp_what *what, struct amp_deadlock *deadlock)
{
    amp_self.sleep = (struct amp_sleep) {.is_closed = true, .began = amp_now()};
    return tap_until(is_told(what, deadlock));
}

static int
wait_with_limit(void *argument)
{
    (void) argument;
    struct amp_event event = amp_event_of(amp_cell_of(board->handle[0]));
    struct amp_what what = {.kind = AMP_EVENT};
    return amp_event_wait(&event, amp_now() + 1000 * AMP_SECOND, &what);
}

static int
be_told(void *argument)
{
    (void) argument;
    struct amp_event event = amp_event_of(amp_cell_of(board->handle[0]));
    struct amp_event other = amp_event_of(amp_cell_of(board->handle[1]));
    struct amp_what what = {.kind = AMP_EVENT};
    int result = amp_event_wait(&event, AMP_FOREVER, &what);
    amp_event_set(&other);
    return result == -EDEADLK ? 1 : result == 0 ? 0 : 2;
}

static void
test_standstill(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *cells[2];
    for (int i = 0; i < 2; i++) {
        cells[i] = tap_object(AMP_EVENT, "event");
        board->handle[i] = amp_cell_handle(cells[i]);
    }
    struct amp_event event = amp_event_of(cells[0]), other = amp_event_of(cells[1]);
    struct amp_what ours = {.kind = AMP_EVENT, .cell = 1, .since = amp_now()};
    struct amp_deadlock deadlock;
    struct amp_child child = tap_child(wait_for_event, NULL);
    ok(sleeps_on(&child, false) && !is_told(&ours, &deadlock),
       "where others than members may end a wait, there is no standstill");
    amp_event_set(&event);
    tap_need(tap_join(&child) == 0);
    amp_event_clear(&event);
    amp_outsiders--;
    child = tap_child(wait_for_event, NULL);
    ok(is_told_soon(&ours, &deadlock), "without: when the last member waits");
    is(deadlock.members, 2, "it is of all");
    ok(deadlock.length == 2 && deadlock.edges[0].member == amp_self.member &&
           deadlock.edges[1].member == child.member,
       "and who they are");

    struct amp_what idle = ours, follower = ours;
    idle.is_idle = true;
    ok(!is_told(&idle, &deadlock), "an idle one is not told");
    follower.follows = true;
    ok(!is_told(&follower, &deadlock), "nor one that follows another");

    kill(child.pid, SIGSTOP);
    tap_need(tap_until(tap_state(child.pid) == 'T'));
    amp_self.sleep.began = amp_now();
    ok(!is_told(&ours, &deadlock), "one that is stopped may have been woken");
    kill(child.pid, SIGCONT);
    ok(is_told_soon(&ours, &deadlock), "until it goes on, and looks");

    uint32_t slot, generation;
    tap_need(amp_member_reserve("unborn", &slot, &generation) == 0);
    ok(!is_told(&ours, &deadlock), "one that is about to be born may help");
    amp_member_bury(slot, generation, true);

    struct amp_child another = staying_child();
    ok(!is_told(&ours, &deadlock), "one that does something may help");
    kill(another.pid, SIGKILL);
    tap_join(&another);
    ok(is_told_soon(&ours, &deadlock), "when it is dead, it cannot");
    another = tap_child(wait_with_limit, NULL);
    ok(sleeps_on(&another, false) && !is_told(&ours, &deadlock),
       "one whose time is limited goes on");
    amp_event_set(&event);
    ok(tap_join(&child) == 0 && tap_join(&another) == 0, "the event ends both");

    struct amp_what join = {
        .kind = AMP_JOINING, .cell = child.member, .generation = child.generation, .since = amp_now(),
    };
    ok(!is_told(&join, &deadlock), "one that waits for an end that has come goes on");

    amp_event_clear(&event);
    struct amp_child told[2];
    for (int i = 0; i < 2; i++)
        told[i] = tap_child(be_told, NULL);
    struct amp_what real = {.kind = AMP_EVENT, .cell = amp_cell_index(cells[1])};
    int result = amp_event_wait(&other, AMP_FOREVER, &real);
    int times = result == -EDEADLK;
    amp_event_set(&event);
    for (int i = 0; i < 2; i++)
        times += tap_join(&told[i]);
    is(times, 1, "of three that wait for each other one is told, and helps the others");
    amp_outsiders++;
    for (int i = 0; i < 2; i++)
        tap_unhold(cells[i]);
}

/*
 * Threads, and forks that are not ours.
 */

static void *
be_member(void *argument)
{
    uint32_t *seen = argument;
    amp_thread_enter();
    if (amp_family_join("thread") != 0)
        return NULL;
    seen[0] = amp_self.member;
    seen[1] = amp_member_of_thread(amp_self.tid);
    amp_family_join("again");
    seen[2] = amp_self.member;
    amp_member_leave(3);
    seen[3] = amp_self.member;
    amp_member_leave(3); /* no member: nothing happens */
    return NULL;
}

static void
test_thread(void)
{
    uint32_t seen[4] = {0};
    pthread_t thread;
    pthread_create(&thread, NULL, be_member, seen);
    pthread_join(thread, NULL);
    ok(seen[0] != AMP_NOBODY && seen[0] != amp_self.member, "a thread is a member of its own");
    is(seen[1], seen[0], "found by its own id");
    is(seen[2], seen[0], "to join twice changes nothing");
    is(seen[3], AMP_NOBODY, "and leaves");
    is(phase(seen[0]), AMP_FREE, "then its slot is free");
}

static void
test_foreign_fork(void)
{
    struct tap_account before = tap_account();
    amp_handle handle = amp_cell_handle(tap_object(AMP_EVENT, "inherited"));
    uint32_t parent = amp_self.member;
    memset(board, 0, sizeof *board);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        atomic_store(&board->member, amp_self.member);
        atomic_store(&board->result[0], amp_self.member != parent &&
                                            amp_self.tid == (uint32_t) getpid() &&
                                            amp_cell_of(handle) != NULL);
        atomic_store(&board->started[0], 1);
        while (!atomic_load(&board->started[1]))
            tap_nap();
        if (amp_cell_of(handle) == NULL)
            atomic_store(&board->result[0], -1);
        _exit(0);
    }
    tap_until(atomic_load(&board->started[0]));
    is(board->result[0], 1, "a child of a fork that is not ours is a member of its own");
    is(phase(board->member), AMP_LIVE, "that lives");
    amp_unhold(handle);
    ok(amp_cell_of(handle) != NULL, "it holds what its parent held");
    atomic_store(&board->started[1], 1);
    int status;
    waitpid(pid, &status, 0);
    is(board->result[0], 1, "until it ends");
    tap_is_settled(before, "then nothing is left of it");
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!tap_forks())
        return tap_skip_all("it is about processes");
    tap_need(amp_family_join("test") == 0); /* as programs do it: forks by others are watched too */
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_slots();
    test_life();
    join_by_many(false);
    join_by_many(true);
    test_unborn();
    test_burier_dies();
    test_estate();
    test_waiting();
    test_chain();
    test_standstill();
    test_thread();
    test_foreign_fork();
    test_too_many();
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
