/*
 * The kill sweep: whatever a member is doing with an object of the arena, it may be killed after any
 * instruction of it. See killsweep.h for how it is done, and test-killsweep-sockets.c for connections.
 */

/* So large that its memory is had and given back without the arena's lock. */
#define COLD_RUN (UINT64_C(65) << 20)

#include "killsweep.h"

#include <sys/prctl.h>
#include <sys/stat.h>

#define BUDGET (25 * AMP_SECOND)

/*
 * Lock.
 */

static struct amp_lock *
the_lock(void)
{
    return &world.cell->c_lock0;
}

static void
prepare_lock(void)
{
    world.cell = tap_object(AMP_LOCK, "lock");
}

static void
take_lock(void)
{
    amp_lock_enter(the_lock());
}

static void
leave_lock(void)
{
    amp_lock_leave(the_lock());
}

/* Both numbers are changed under the lock; who is not told of a death finds them equal. */
static void
change_under_lock(void)
{
    amp_lock_enter(the_lock());
    atomic_fetch_add(&board->data[0], 1);
    atomic_fetch_add(&board->data[1], 1);
    amp_lock_leave(the_lock());
}

static int
wait_for_lock(void *argument)
{
    int i = *(int *) argument;
    struct amp_what what = {.kind = AMP_LOCK};
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], amp_lock_acquire(the_lock(), AMP_FOREVER, &what));
    atomic_store(&board->done[i], 1);
    amp_lock_leave(the_lock());
    return 0;
}

static void
barge(void)
{
    world.barged = amp_lock_try(the_lock()) >= 0;
}

static void
wait_behind(void)
{
    help_asleep(0, wait_for_lock);
}

static const char *
check_lock(void)
{
    if (world.barged)
        amp_lock_leave(the_lock());
    if (world.has_helper[0] && !served(0))
        return "a waiter sleeps on a lock that is free";
    if (world.has_helper[0])
        tap_until(tap_state(world.helper[0].pid) == 'Z');
    int first = amp_lock_try(the_lock());
    if (first < 0)
        return "the lock cannot be taken";
    bool equal = atomic_load(&board->data[0]) == atomic_load(&board->data[1]);
    amp_lock_leave(the_lock());
    bool told = first == AMP_OWNER_DIED || world.barged || board->result[0] == AMP_OWNER_DIED;
    if (!equal && !told)
        return "the change was cut in two, and nobody was told";
    if (amp_lock_try(the_lock()) != 0)
        return "the second owner was told of the death again";
    amp_lock_leave(the_lock());
    return NULL;
}

/* The victim sleeps on a lock that the test has, and another behind it. */
static void
prepare_held_lock(void)
{
    prepare_lock();
    take_lock();
}

static void
take_lock_for_good(void)
{
    struct amp_what what = {.kind = AMP_LOCK};
    tap_without_slices();
    amp_lock_acquire(the_lock(), AMP_FOREVER, &what);
}

static void
wake_victim_of_lock(void)
{
    help_asleep(0, wait_for_lock);
    leave_lock();
}

/* The victim wants a lock for which another waits; it does not wait. */
static void
try_lock_in_vain(void)
{
    if (amp_lock_try(the_lock()) >= 0)
        amp_lock_leave(the_lock());
}

/* A kernel in two steps: what the C library's robust mutex relies on. */
static int
set_then_wake(amp_word *word, uint32_t value, int count)
{
    (void) value;
    atomic_store(word, 0);
    return amp_futex.wake(word, count);
}

static void
take_lock_with_two_steps(void)
{
    amp_futex.set_and_wake = set_then_wake;
    amp_lock_enter(the_lock());
}

/*
 * Semaphores.
 */

static struct amp_semaphore
the_semaphore(void)
{
    return amp_semaphore_of(world.cell);
}

static uint32_t
permits(void)
{
    struct amp_semaphore s = the_semaphore();
    return amp_semaphore_value(&s);
}

static int
acquire_permit(amp_time deadline)
{
    struct amp_semaphore s = the_semaphore();
    struct amp_what what = {.kind = AMP_SEMAPHORE};
    return amp_semaphore_acquire(&s, deadline, &what);
}

static void
release_permit(void)
{
    struct amp_semaphore s = the_semaphore();
    amp_semaphore_release(&s);
}

static void
take_permit_for_ever(void)
{
    tap_without_slices();
    acquire_permit(AMP_FOREVER);
}

static void
take_permit(void)
{
    acquire_permit(AMP_AT_ONCE);
}

static void
take_and_give_permit(void)
{
    acquire_permit(AMP_FOREVER);
    release_permit();
}

static int
wait_for_permit(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], acquire_permit(AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
wait_for_permit_behind(void)
{
    help_asleep(0, wait_for_permit);
}

/* The victim sleeps for a permit, and another behind it. */
static void
give_permit_to_victim(void)
{
    help_asleep(0, wait_for_permit);
    release_permit();
}

static void
prepare_empty_semaphore(void)
{
    world.cell = tap_object(AMP_SEMAPHORE, "semaphore");
}

static void
prepare_bounded(void)
{
    tap_need(amp_cell_make(AMP_BOUNDED_SEMAPHORE, "bounded", &world.cell) == 0);
    tap_need(amp_semaphore_bind(world.cell, 1) == 0);
    atomic_store(&world.cell->s_permits, 1 << 1);
    amp_cell_ready(world.cell);
}

/* The victim gives a permit, or takes one that was given before it; another waits for one. */
static const char *
check_semaphore(void)
{
    if (permits() > 0 && !served(0))
        return "a permit is there, and who waits for it sleeps";
    release_permit();
    if (!served(0))
        return "a permit was given after the death, and who waits for it sleeps";
    if (permits() > 1)
        return "there are more permits than were given";
    release_permit();
    if (acquire_permit(AMP_AT_ONCE) != 0)
        return "the semaphore does not work any more";
    return NULL;
}

/* A permit is there, and the victim takes it; plain ones go with their owner. */
static void
prepare_semaphore(void)
{
    prepare_empty_semaphore();
    release_permit();
}

static const char *
check_semaphore_taken(void)
{
    uint32_t left = permits();
    if (left > 1 || (world.is_done && left != 0))
        return "there are not as many permits as were left";
    release_permit();
    for (uint32_t i = 0; i <= left; i++)
        if (acquire_permit(AMP_AT_ONCE) != 0)
            return "the semaphore does not work any more";
    return acquire_permit(AMP_AT_ONCE) == -ETIMEDOUT ? NULL : "a permit is there that nobody gave";
}

/* The test has the permit; the victim and another wait for it. */
static void
prepare_held_bounded(void)
{
    prepare_bounded();
    take_permit();
}

static const char *
check_bounded(void)
{
    bury_victim();
    if (world.has_helper[0]) {
        if (!served(0))
            return "the permit of the dead did not come to who waits for it";
        tap_join(&world.helper[0]);
    }
    if (permits() != 1)
        return "there are not as many permits as before";
    if (acquire_permit(AMP_AT_ONCE) != 0 || acquire_permit(AMP_AT_ONCE) != -ETIMEDOUT)
        return "the semaphore does not count right";
    release_permit();
    return NULL;
}

/*
 * Event.
 */

static void
prepare_event(void)
{
    world.cell = tap_object(AMP_EVENT, "event");
}

static void
set_event(void)
{
    struct amp_event e = amp_event_of(world.cell);
    amp_event_set(&e);
}

static void
clear_event(void)
{
    struct amp_event e = amp_event_of(world.cell);
    amp_event_clear(&e);
}

static bool
event_is_set(void)
{
    struct amp_event e = amp_event_of(world.cell);
    return amp_event_is_set(&e);
}

static int
wait_for_event(void *argument)
{
    int i = *(int *) argument;
    struct amp_event e = amp_event_of(world.cell);
    struct amp_what what = {.kind = AMP_EVENT};
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], amp_event_wait(&e, AMP_FOREVER, &what));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
two_wait_for_event(void)
{
    help_asleep(0, wait_for_event);
    help_asleep(1, wait_for_event);
}

static const char *
check_event(void)
{
    if (event_is_set() && !(served(0) && served(1)))
        return "the event is set, and who waits for it sleeps";
    set_event();
    if (!served(0) || !served(1))
        return "the event was set after the death, and who waits for it sleeps";
    clear_event();
    if (event_is_set())
        return "the event cannot be cleared";
    return NULL;
}

static void
prepare_set_event(void)
{
    prepare_event();
    set_event();
}

static const char *
check_event_works(void)
{
    clear_event();
    help_asleep(0, wait_for_event);
    set_event();
    return served(0) ? NULL : "the event does not work any more";
}

static const char *
check_clear(void)
{
    if (world.is_done && event_is_set())
        return "the event was cleared, and is set";
    return check_event_works();
}

static void
sleep_for_event(void)
{
    struct amp_event e = amp_event_of(world.cell);
    struct amp_what what = {.kind = AMP_EVENT};
    tap_without_slices();
    amp_event_wait(&e, AMP_FOREVER, &what);
}

/* The victim sleeps, and another besides it. */
static void
set_event_for_victim(void)
{
    help_asleep(0, wait_for_event);
    set_event();
}

static const char *
check_woken_for_event(void)
{
    if (!served(0))
        return "the event is set, and who waits for it sleeps";
    return check_event_works();
}

/* A setter comes from a time when somebody slept, so it wants the setters' lock; when it has it,
   the event has been set and cleared by others. Now another sets it too. Nobody is killed before
   the end. */
static void
set_event_late(void)
{
    tap_without_slices();
    set_event();
}

static void
hold_setters_lock(void)
{
    atomic_store(&world.cell->e_word, AMP_SLEEPER);
    amp_lock_enter(&world.cell->c_lock0);
}

static void
set_and_clear(void)
{
    atomic_store(&world.cell->e_word, 2 * 2);
    amp_lock_leave(&world.cell->c_lock0);
}

/* The victim finishes its operation, and is killed then. */
static void
let_finish(void)
{
    int status;
    if (world.is_over)
        return;
    ptrace(PTRACE_CONT, world.victim.pid, 0, 0);
    tap_need(waitpid(world.victim.pid, &status, 0) == world.victim.pid && WIFSTOPPED(status));
}

static void
set_beside(void)
{
    set_event();
    let_finish();
}

static const char *
check_set_for_good(void)
{
    if (!event_is_set())
        return "two have set the event, and it is not set";
    return NULL;
}

/*
 * Condition.
 */

static void
prepare_condition(void)
{
    world.cell = tap_object(AMP_CONDITION, "condition");
}

static void
notify_one(void)
{
    amp_condition_notify(world.cell, 1);
}

static void
wait_at_condition(void)
{
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION};
    tap_without_slices();
    amp_condition_enlist(world.cell, &ticket);
    amp_condition_sleep(ticket, AMP_FOREVER, &what);
    amp_condition_delist(world.cell, ticket);
}

static void
look_into_condition(void)
{
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION};
    amp_condition_enlist(world.cell, &ticket);
    amp_condition_sleep(ticket, AMP_AT_ONCE, &what);
    amp_condition_delist(world.cell, ticket);
}

static int
wait_for_call(void *argument)
{
    int i = *(int *) argument;
    atomic_store(&board->started[i], 1);
    wait_at_condition();
    atomic_store(&board->done[i], 1);
    return 0;
}

/* The victim waits, and another came after it. */
static void
call_victim(void)
{
    help_asleep(0, wait_for_call);
    notify_one();
}

static void
two_wait_for_call(void)
{
    help_asleep(0, wait_for_call);
    help_asleep(1, wait_for_call);
}

static void
notify_all(void)
{
    amp_condition_notify(world.cell, AMP_WAKE_ALL);
}

/* A whole wait: it has the condition's lock, which is world.other, before and after. */
static void
prepare_condition_with_lock(void)
{
    prepare_condition();
    world.other = tap_object(AMP_LOCK, "lock of a condition");
}

static void
wait_with_lock(void)
{
    amp_lock_enter(&world.other->c_lock0);
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION};
    tap_without_slices();
    amp_condition_enlist(world.cell, &ticket);
    amp_lock_leave(&world.other->c_lock0);
    amp_condition_sleep(ticket, AMP_FOREVER, &what);
    amp_condition_delist(world.cell, ticket);
    amp_lock_enter(&world.other->c_lock0);
    amp_lock_leave(&world.other->c_lock0);
}

static int
wait_with_lock_beside(void *argument)
{
    int i = *(int *) argument;
    atomic_store(&board->started[i], 1);
    wait_with_lock();
    atomic_store(&board->done[i], 1);
    return 0;
}

/* The victim waits, and another; they are called, and want the lock that who calls has. */
static void
call_all_under_lock(void)
{
    help_asleep(0, wait_with_lock_beside);
    amp_lock_enter(&world.other->c_lock0);
    notify_all();
    amp_lock_leave(&world.other->c_lock0);
}

static bool
is_called(int i)
{
    struct amp_member *m = amp_member_at(world.helper[i].member);
    return atomic_load(&m->m_tickets[0].t_word) == AMP_TICKET_CALLED;
}

static const char *
check_notify(void)
{
    if (is_called(0) && !served(0))
        return "a waiter was called, and sleeps";
    if (is_called(1) && !board->done[0])
        return "the second was called before the first";
    bury_victim();
    amp_condition_notify(world.cell, AMP_WAKE_ALL);
    if (!served(0) || !served(1))
        return "all were called after the death, and one sleeps";
    return NULL;
}

/* The victim was called, and may have died before it gave its ticket back. */
static const char *
check_called(void)
{
    struct amp_ticket *ticket = &amp_member_at(world.victim.member)->m_tickets[0];
    bool has_ticket = atomic_load(&ticket->t_cell) != 0;
    bury_victim();
    if (has_ticket && !served(0))
        return "the call of the dead did not come to the next";
    if (!has_ticket && is_called(0))
        return "a call was made twice";
    amp_condition_notify(world.cell, AMP_WAKE_ALL);
    if (!served(0))
        return "a waiter was called after the death, and sleeps";
    return NULL;
}

static const char *
check_ticket_is_gone(void)
{
    bury_victim();
    help_asleep(0, wait_for_call);
    if (amp_condition_notify(world.cell, 1) != 1 || !served(0))
        return "a call went to the dead";
    if (amp_condition_notify(world.cell, 1) != 0)
        return "the dead still waits";
    return NULL;
}

static const char *
check_waits_with_lock(void)
{
    bury_victim();
    if (world.has_helper[0] && !served(0))
        return "all were called, and one sleeps";
    int result = amp_lock_acquire(&world.other->c_lock0, amp_now() + TAP_PATIENCE,
                                  &(struct amp_what) {.kind = AMP_LOCK});
    if (result < 0)
        return "the condition's lock cannot be taken";
    if (amp_condition_notify(world.cell, 1) != 0)
        return "the dead still waits";
    amp_lock_leave(&world.other->c_lock0);
    help_asleep(1, wait_with_lock_beside);
    amp_lock_enter(&world.other->c_lock0);
    notify_all();
    amp_lock_leave(&world.other->c_lock0);
    return served(1) ? NULL : "the condition does not work any more";
}

/*
 * Barrier.
 */

static void
prepare_barrier(void)
{
    tap_need(amp_cell_make(AMP_BARRIER, "barrier", &world.cell) == 0);
    amp_barrier_init(world.cell, 2);
    amp_cell_ready(world.cell);
}

static struct amp_ticket *ticket; /* of the last wait at a barrier */

static int
pass_barrier(amp_time deadline)
{
    struct amp_what what = {.kind = AMP_BARRIER};
    int result = amp_barrier_arrive(world.cell, deadline, &what, &ticket);
    if (result == AMP_BARRIER_LAST)
        return amp_barrier_open(world.cell, ticket);
    return result < 0 ? result : amp_barrier_sleep(world.cell, ticket, deadline, &what);
}

static void
pass_barrier_for_ever(void)
{
    tap_without_slices();
    pass_barrier(AMP_FOREVER);
}

static void
give_up_at_barrier(void)
{
    pass_barrier(AMP_AT_ONCE);
}

static int
wait_at_barrier(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], pass_barrier(AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_waits_at_barrier(void)
{
    help_asleep(0, wait_at_barrier);
}

static void
second_comes_to_barrier(void)
{
    pass_barrier(AMP_FOREVER);
}

static void
open_barrier_for_victim(void)
{
    pass_barrier(AMP_FOREVER);
}

static const char *
check_barrier_works(void)
{
    amp_barrier_reset(world.cell);
    if (amp_barrier_waiting(world.cell) != 0)
        return "somebody waits at a barrier that was reset";
    help_asleep(1, wait_at_barrier);
    if (pass_barrier(amp_now() + TAP_PATIENCE) != 0 || !served(1) || board->result[1] != 0)
        return "two parties cannot pass after a reset";
    return NULL;
}

/* The victim comes as the second of two. */
static const char *
check_barrier(void)
{
    bury_victim();
    bool has_broken = atomic_load(&world.cell->b_broken);
    if (!has_broken && amp_barrier_waiting(world.cell) == 1) { /* it died before it came */
        if (pass_barrier(amp_now() + TAP_PATIENCE) != 0)
            return "the barrier is not broken, and cannot be passed";
    }
    if (!served(0))
        return "a party waits for the dead";
    if (board->result[0] != (has_broken ? -EPIPE : 0))
        return "a party was told what is not so";
    return check_barrier_works();
}

/* Another waits as the first of two when the victim breaks the barrier, or resets it. */
static void
break_barrier(void)
{
    amp_barrier_abort(world.cell);
}

static void
reset_barrier(void)
{
    amp_barrier_reset(world.cell);
}

static const char *
check_reset(void)
{
    bury_victim();
    if (amp_barrier_waiting(world.cell) == 1) { /* it died before it came to it */
        if (pass_barrier(amp_now() + TAP_PATIENCE) != 0 || !served(0) || board->result[0] != 0)
            return "the barrier is not broken, and cannot be passed";
    } else if (!served(0) || board->result[0] != -EPIPE) {
        return "a barrier was reset, and a party that waited was not told";
    }
    return check_barrier_works();
}

/* The victim has slept as the first of two, and was let go by the second. */
static const char *
check_passed_barrier(void)
{
    bury_victim();
    if (atomic_load(&world.cell->b_broken))
        return "a party that had passed broke the barrier";
    return check_barrier_works();
}

/* The victim's time ran out, at a barrier at which nobody else waits. */
static const char *
check_given_up_barrier(void)
{
    bury_victim();
    if (amp_barrier_waiting(world.cell) != 0)
        return "the dead still waits";
    if (!atomic_load(&world.cell->b_broken)) {
        help_asleep(0, wait_at_barrier);
        if (pass_barrier(amp_now() + TAP_PATIENCE) != 0 || !served(0))
            return "the barrier is not broken, and cannot be passed";
    }
    return check_barrier_works();
}

static void
prepare_barrier_of_three(void)
{
    tap_need(amp_cell_make(AMP_BARRIER, "barrier", &world.cell) == 0);
    amp_barrier_init(world.cell, 3);
    amp_cell_ready(world.cell);
}

static void
arrive_at_barrier(void)
{
    struct amp_what what = {.kind = AMP_BARRIER};
    amp_barrier_arrive(world.cell, AMP_FOREVER, &what, &ticket);
}

static void
withdraw_from_barrier(void)
{
    amp_barrier_withdraw(world.cell, ticket);
}

static int
take_place_at_barrier(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], pass_barrier(AMP_FOREVER));
    atomic_store(&board->seen[i], (int) ticket->t_place);
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_takes_place_at_barrier(void)
{
    help_asleep(0, take_place_at_barrier);
}

/* The victim has come as the first of three, another as the second; then it withdraws. */
static const char *
check_withdrawal(void)
{
    bury_victim();
    if (atomic_load(&world.cell->b_broken)) {
        if (!served(0))
            return "a party waits for the dead";
        return board->result[0] == -EPIPE ? NULL : "a party was told what is not so";
    }
    if (amp_barrier_waiting(world.cell) != 1)
        return "the one that waits is not counted";
    help_asleep(1, take_place_at_barrier);
    if (pass_barrier(amp_now() + TAP_PATIENCE) != 0 || !served(0) || !served(1))
        return "the barrier is not broken, and cannot be passed";
    int places = 1 << board->seen[0] | 1 << board->seen[1] | 1 << ticket->t_place;
    return places == (1 << 1 | 1 << 2 | 1 << 3) ? NULL : "a place was given twice";
}

/*
 * Queues. Messages are numbers; the victim's is 100.
 */

static void
prepare_queue(void)
{
    world.cell = queue_make(0, 0);
}

static void
prepare_queue_of_two(void)
{
    world.cell = queue_make(2, 0);
    queue_put(world.cell, 1, 40, AMP_AT_ONCE);
    queue_put(world.cell, 2, 40, AMP_AT_ONCE);
}

/* Large messages, of which only the number is written: to fill them would be most of the sweep. */
static int
put_large_until(struct amp_cell *queue, uint64_t number, size_t length, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    unsigned char *where;
    int result = amp_ring_reserve(queue, length, NULL, 0, deadline, &what, &where);
    if (result == 0) {
        memcpy(where, &number, sizeof number);
        amp_ring_publish(queue);
    }
    return result;
}

static int
put_large(struct amp_cell *queue, uint64_t number, size_t length)
{
    return put_large_until(queue, number, length, AMP_AT_ONCE);
}

/* The number of the next message, or UINT64_MAX. */
static uint64_t
get_large(struct amp_cell *queue)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    uint64_t number;
    if (amp_ring_take(queue, AMP_AT_ONCE, &what, &message) != 0)
        return UINT64_MAX;
    memcpy(&number, message.bytes, sizeof number);
    amp_message_done(&message);
    return number;
}

static void
prepare_queue_with_messages(void)
{
    world.cell = queue_make(0, 0);
    for (uint64_t i = 0; i < 4; i++) /* 9000 bytes: a segment holds one */
        put_large(world.cell, i, 9000);
    for (uint64_t i = 0; i < 3; i++)
        get_large(world.cell);
}

static void
put_message(void)
{
    queue_put(world.cell, 100, 40, AMP_FOREVER);
}

static void
put_into_new_segment(void)
{
    put_large(world.cell, 100, 9000);
}

static void
put_larger_than_segment(void)
{
    put_large(world.cell, 100, 50000);
}

/* Three in one step: 100, 101, 102. */
static void
put_batch(void)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_small small[2] = {{.length = 8}, {.length = 8}};
    uint64_t numbers[] = {100, 101, 102};
    unsigned char *where;
    memcpy(small[0].bytes, &numbers[1], 8);
    memcpy(small[1].bytes, &numbers[2], 8);
    if (amp_ring_reserve(world.cell, 8, NULL, 0, AMP_AT_ONCE, &what, &where) != 0)
        return;
    memcpy(where, &numbers[0], 8);
    amp_ring_publish_many(world.cell, 1 + amp_ring_add(world.cell, small, 2));
}

static bool
any_message(const void *bytes, size_t length)
{
    return bytes != NULL && length > 0;
}

static void
get_batch(void)
{
    struct amp_small small[3];
    amp_ring_take_small(world.cell, small, 3, any_message);
}

static void
get_message(void)
{
    uint64_t number;
    tap_without_slices();
    queue_get(world.cell, &number, AMP_FOREVER);
}

static uint32_t
published(void)
{
    return amp_count(atomic_load(&world.cell->q_published));
}

static uint32_t
taken(void)
{
    return amp_count(atomic_load(&world.cell->q_taken));
}

static int
consume_all(int i)
{
    atomic_store(&board->started[i], 1);
    for (;;) {
        uint64_t number;
        if (queue_get(world.cell, &number, AMP_FOREVER) != 0 || (number != 100 && number != 200)) {
            atomic_store(&board->seen[7], 1);
            return 1;
        }
        atomic_fetch_add(&board->seen[number / 100], 1);
        if (number == 200) {
            atomic_store(&board->done[i], 1);
            return 0;
        }
    }
}

static int
consume(void *argument)
{
    tap_without_slices();
    return consume_all(*(int *) argument);
}

/* A message that was left to a watcher which died is found at the end of a slice. */
static int
consume_in_slices(void *argument)
{
    return consume_all(*(int *) argument);
}

static int
produce_third(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], queue_put(world.cell, 3, 40, AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_consumes(void)
{
    help_asleep(0, consume);
}

static void
one_consumes_in_slices(void)
{
    help_asleep(0, consume_in_slices);
}

/* One sleeps, and another is awake for the first message; it dies before it takes it. */
static void
one_consumes_and_one_watched(void)
{
    one_consumes_in_slices();
    atomic_store(&world.cell->q_watched, 1);
}

/* The same, but that one lives, and nobody may need a slice. */
static void
one_consumes_and_one_watches(void)
{
    one_consumes();
    atomic_store(&world.cell->q_watched, 1);
}

/* The watcher spins no more, and q_watched becomes `value`. Its last look is now: it takes the message,
   or sleeps. */
static void
end_watch(uint32_t value)
{
    uint64_t number;
    bool is_there = published() == 1;
    atomic_store(&world.cell->q_watched, value);
    if (is_there && queue_get(world.cell, &number, AMP_AT_ONCE) == 0)
        atomic_fetch_add(&board->seen[number == 100 ? 1 : 7], 1);
    let_finish();
}

static void
watcher_gives_up(void)
{
    end_watch(0);
}

/* And one that had found the queue empty a message ago says so only now. */
static void
watcher_gives_up_behind_another(void)
{
    end_watch(UINT32_MAX);
}

static void
one_produces(void)
{
    help_asleep(0, produce_third);
}

static const char *
check_put(void)
{
    bool was_put = published() == 1;
    if (was_put && !tap_until(atomic_load(&board->seen[1]) == 1))
        return "a message was put, and the consumer sleeps";
    queue_put(world.cell, 200, 40, AMP_FOREVER);
    if (!served(0))
        return "a message was put after the death, and the consumer sleeps";
    if (board->seen[7])
        return "a message was torn, or from nowhere";
    if (board->seen[1] != was_put || board->seen[2] != 1)
        return "a message was lost or doubled";
    return NULL;
}

static const char *
check_put_for_watcher(void)
{
    if (published() == 0) /* the next message shall find nobody who watches, and be told at once */
        atomic_store(&world.cell->q_watched, 0);
    return check_put();
}

/* The victim took nothing: there was no message. */
static const char *
check_watched_in_vain(void)
{
    for (int number = 100; number <= 200; number += 100) {
        queue_put(world.cell, (uint64_t) number, 40, AMP_FOREVER);
        if (!tap_until(atomic_load(&board->seen[number / 100]) == 1))
            return "a message was put after the death, and the consumer sleeps";
    }
    return board->seen[7] ? "a message was torn, or from nowhere" : NULL;
}

/* The queue began with one message, of number 1; three have been put in one step, or none. */
static void
prepare_queue_of_one(void)
{
    prepare_queue();
    queue_put(world.cell, 1, 8, AMP_AT_ONCE);
}

static const char *
check_put_batch(void)
{
    uint32_t n = published();
    if (n != 1 && n != 4)
        return "a batch was put in part";
    if (queue_put(world.cell, 103, 8, AMP_AT_ONCE) != 0)
        return "nothing can be put";
    uint64_t number;
    for (uint64_t expected = n == 4 ? 99 : 102; expected <= 103; expected++) {
        if (queue_get(world.cell, &number, AMP_AT_ONCE) != 0)
            return "a message is lost";
        if (number != (expected == 99 || (n == 1 && expected == 102) ? 1 : expected))
            return "messages came in another order, or twice";
    }
    return queue_get(world.cell, &number, AMP_AT_ONCE) == -EAGAIN ? NULL : "a message came twice";
}

/* The queue began with 100 to 102 in one step, behind one that was taken. */
static void
prepare_queue_of_batch(void)
{
    uint64_t number;
    prepare_queue_of_one();
    put_batch();
    queue_get(world.cell, &number, AMP_AT_ONCE);
}

static const char *
check_get_batch(void)
{
    uint32_t n = taken();
    if (n != 1 && n != 4)
        return "a batch was taken in part";
    if (queue_put(world.cell, 103, 8, AMP_AT_ONCE) != 0)
        return "nothing can be put";
    uint64_t number;
    for (uint64_t expected = n == 4 ? 103 : 100; expected <= 103; expected++)
        if (queue_get(world.cell, &number, AMP_AT_ONCE) != 0 || number != expected)
            return "a message is lost, or comes twice";
    return queue_get(world.cell, &number, AMP_AT_ONCE) == -EAGAIN ? NULL : "a message came twice";
}

/* Three messages in all: 1, 2 and the waiting producer's 3. */
static const char *
check_get(void)
{
    uint32_t begun = taken();
    uint64_t number;
    if (begun == 1 && !served(0))
        return "a message was taken, and the producer sleeps";
    for (uint64_t expected = begun + 1; expected <= 3; expected++) {
        if (queue_get(world.cell, &number, amp_now() + TAP_PATIENCE) != 0)
            return "a message is lost";
        if (number != expected)
            return "messages came in another order, or twice";
    }
    if (!served(0))
        return "there is room, and the producer sleeps";
    if (queue_get(world.cell, &number, AMP_AT_ONCE) != -EAGAIN)
        return "a message came twice";
    return NULL;
}

/* Another wants the same side's lock, while the victim may have it. */
static int
put_beside(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], queue_put(world.cell, 200, 40, AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static int
get_beside(void *argument)
{
    int i = *(int *) argument;
    uint64_t number = 0;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = queue_get(world.cell, &number, AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? (int) number : result);
    atomic_store(&board->done[i], 1);
    return 0;
}

/* It is done, or sleeps on the lock. */
static void
starts(int i)
{
    tap_need(tap_until(atomic_load(&board->done[i]) ||
                       (atomic_load(&board->started[i]) && tap_state(world.helper[i].pid) == 'S')));
}

static void
one_puts_beside(void)
{
    help(0, put_beside);
    starts(0);
}

static void
one_gets_beside(void)
{
    help(0, get_beside);
    starts(0);
}

static const char *
check_put_beside(void)
{
    uint64_t number;
    int victims = 0, others = 0;
    if (!served(0) || board->result[0] != 0)
        return "a producer waits for the dead";
    while (queue_get(world.cell, &number, AMP_AT_ONCE) == 0) {
        victims += number == 100;
        others += number == 200;
        if (number != 100 && number != 200)
            return "a message was torn, or from nowhere";
    }
    if (others != 1 || victims > 1 || (world.is_done && victims != 1))
        return "a message was lost or doubled";
    return NULL;
}

/* Of the two messages the other consumer gets the first, or the victim has taken that. */
static const char *
check_get_beside(void)
{
    uint64_t number;
    if (!served(0) || (board->result[0] != 1 && board->result[0] != 2))
        return "a consumer waits for the dead, or got what nobody put";
    if (world.is_done && taken() != 2)
        return "a message was got twice, or none";
    for (uint32_t next = taken() + 1; next <= 2; next++)
        if (queue_get(world.cell, &number, AMP_AT_ONCE) != 0 || number != next)
            return "a message is lost or doubled";
    return queue_get(world.cell, &number, AMP_AT_ONCE) == -EAGAIN ? NULL : "a message came twice";
}

static void
put_when_there_is_room(void)
{
    tap_without_slices();
    put_message();
}

/* The victim sleeps for room, and another producer behind it; one message is taken. */
static void
take_for_victim(void)
{
    uint64_t number;
    help_asleep(0, produce_third);
    queue_get(world.cell, &number, AMP_AT_ONCE);
}

/* 1 was taken; the victim's 100 may be behind 2, and the other's 3 has room as soon as it has. */
static const char *
check_woken_producer(void)
{
    uint64_t number;
    bool was_put = published() == 3 && !board->done[0];
    if (queue_get(world.cell, &number, AMP_AT_ONCE) != 0 || number != 2)
        return "what was in the queue is lost";
    if (!served(0) || board->result[0] != 0)
        return "there is room, and the other producer sleeps";
    uint32_t victims = 0, others = 0;
    while (queue_get(world.cell, &number, AMP_AT_ONCE) == 0)
        victims += number == 100, others += number == 3;
    if (others != 1 || victims + others != published() - 2 || (was_put && victims + others == 0))
        return "a message was lost or doubled";
    return world.is_done && victims != 1 ? "what was put is lost" : NULL;
}

/* The victim takes one that it reads in place, and lets go of the segment before. */
static void
get_in_place(void)
{
    get_large(world.cell);
    get_large(world.cell);
}

/* The queue began with one message, of number 3. */
static const char *
check_segments(void)
{
    bool was_put = published() == 5;
    for (uint64_t i = 0; i < 6; i++) /* over what was half written, and into more segments */
        if (put_large(world.cell, 200 + i, 9000) != 0)
            return "nothing can be put";
    if (get_large(world.cell) != 3)
        return "what was in the queue is lost";
    if (was_put && get_large(world.cell) != 100)
        return "what was put is lost";
    for (uint64_t i = 0; i < 6; i++)
        if (get_large(world.cell) != 200 + i)
            return "what was put afterwards is lost";
    if (get_large(world.cell) != UINT64_MAX)
        return "a message is there that nobody put";
    return NULL;
}

/* More than a producer may be ahead of a consumer that has taken one. */
#define FAR 17
#define FAR_LENGTH (128 << 10)

static void
prepare_far_ahead(void)
{
    world.cell = queue_make(0, 0);
    for (uint64_t i = 0; i <= FAR; i++)
        put_large(world.cell, i, FAR_LENGTH);
    get_large(world.cell);
}

static void
put_far_ahead(void)
{
    put_large_until(world.cell, 100, FAR_LENGTH, AMP_FOREVER);
}

static const char *
check_far_ahead(void)
{
    bury_victim();
    bool was_put = published() == FAR + 2;
    if (amp_lock_acquire(&world.cell->c_lock2, AMP_AT_ONCE, &(struct amp_what) {0}) < 0)
        return "the role of the one that sleeps went with the dead";
    amp_lock_leave(&world.cell->c_lock2);
    if (put_large(world.cell, 200, FAR_LENGTH) != 0)
        return "nothing can be put";
    for (uint64_t i = 1; i <= FAR; i++)
        if (get_large(world.cell) != i)
            return "what was in the queue is lost";
    if (was_put && get_large(world.cell) != 100)
        return "what was put is lost";
    if (get_large(world.cell) != 200 || get_large(world.cell) != UINT64_MAX)
        return "what was put afterwards is lost, or something is there that nobody put";
    return NULL;
}

static void
prepare_four_large(void)
{
    world.cell = queue_make(0, 0);
    for (uint64_t i = 0; i < 4; i++)
        put_large(world.cell, i, 9000);
}

static const char *
check_read_in_place(void)
{
    bury_victim();
    uint64_t next = taken();
    for (uint64_t i = 4; i < 8; i++)
        if (put_large(world.cell, i, 9000) != 0)
            return "nothing can be put";
    for (; next < 8; next++)
        if (get_large(world.cell) != next)
            return "a message is lost or doubled";
    return get_large(world.cell) == UINT64_MAX ? NULL : "a message is there that nobody put";
}

/* The victim sleeps for a message, and another behind it. */
static void
put_for_victim(void)
{
    help_asleep(0, consume);
    put_message();
}

/* The victim slept, was woken by a message, and may have died before it took it. */
static const char *
check_woken_consumer(void)
{
    if (taken() == 0 && !tap_until(atomic_load(&board->seen[1]) == 1))
        return "a message is there, and the other consumer sleeps";
    queue_put(world.cell, 200, 40, AMP_AT_ONCE);
    if (!served(0) || board->seen[7])
        return "a message was put after the death, and the other consumer sleeps";
    return NULL;
}

/* Messages with objects. */

static void
make_object(void)
{
    atomic_store(&board->handle, amp_cell_handle(tap_object(AMP_EVENT, "cargo")));
}

static void
prepare_message_with_object(void)
{
    uint64_t handle;
    prepare_queue();
    make_object();
    handle = board->handle;
    queue_put_objects(world.cell, 100, 40, &handle, 1, AMP_AT_ONCE);
    amp_unhold(handle);
}

static void
put_object_and_drop_it(void)
{
    uint64_t handle = board->handle;
    queue_put_objects(world.cell, 100, 40, &handle, 1, AMP_AT_ONCE);
    amp_unhold(handle);
}

/* The victim's object is in the message or nowhere. */
static const char *
check_cargo(void)
{
    uint64_t handles[4], number;
    size_t length;
    uint32_t n;
    bury_victim();
    bool is_there = amp_ring_size(world.cell) == 1;
    if ((amp_cell_of(board->handle) != NULL) != is_there)
        return is_there ? "the object in a message has ended" : "an object is left that nobody has";
    if (is_there) {
        if (queue_get_objects(world.cell, &number, &length, handles, &n, AMP_AT_ONCE) != 0 ||
            n != 1 || handles[0] != board->handle)
            return "the message is not what was put";
        amp_unhold(handles[0]);
        if (amp_cell_of(board->handle) != NULL)
            return "the object outlives its last holder";
    }
    return NULL;
}

static void
close_queue(void)
{
    amp_ring_close(world.cell, AMP_RING_NO_PUTS);
}

static int
wait_for_close(void *argument)
{
    int i = *(int *) argument;
    uint64_t number;
    atomic_store(&board->started[i], 1); /* with slices: a close is two steps */
    atomic_store(&board->result[i], queue_get(world.cell, &number, AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_waits_for_close(void)
{
    help_asleep(0, wait_for_close);
}

static const char *
check_close(void)
{
    if (!atomic_load(&world.cell->q_closed)) {
        if (queue_put(world.cell, 5, 40, AMP_AT_ONCE) != 0 || !served(0) || board->result[0] != 0)
            return "the queue is open, and does not work";
        return NULL;
    }
    if (!served(0) || board->result[0] != -EPIPE)
        return "the queue is closed, and who waits is not told";
    amp_ring_close(world.cell, AMP_RING_NO_PUTS);
    if (queue_put(world.cell, 5, 40, AMP_AT_ONCE) != -EPIPE)
        return "a closed queue takes messages";
    return NULL;
}

/* A full queue is closed before a producer that sleeps. */
static int
produce_until_close(void *argument)
{
    int i = *(int *) argument;
    atomic_store(&board->started[i], 1); /* with slices: a close is two steps */
    atomic_store(&board->result[i], queue_put(world.cell, 3, 40, AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_produces_until_close(void)
{
    help_asleep(0, produce_until_close);
}

static const char *
check_close_of_full(void)
{
    uint64_t number;
    bool is_closed = atomic_load(&world.cell->q_closed);
    if (!is_closed && queue_get(world.cell, &number, AMP_AT_ONCE) != 0)
        return "the queue is open, and does not work";
    if (!served(0) || board->result[0] != (is_closed ? -EPIPE : 0))
        return "a producer that waits was not told what is so";
    for (uint64_t next = is_closed ? 1 : 2; next <= (is_closed ? 2 : 3); next++)
        if (queue_get(world.cell, &number, AMP_AT_ONCE) != 0 || number != next)
            return "what is in the queue is lost";
    return NULL;
}

/* The ends of pipes: world.cell is the victim's, when the test has let go of it, and another waits at
   world.other for what the victim sends. */
static void
make_pipe(void)
{
    struct amp_cell *queues[2] = {queue_make(0, 0), queue_make(0, 0)}, *ends[2];
    for (int i = 0; i < 2; i++) {
        tap_need(amp_cell_make(AMP_PIPE_END, "pipe", &ends[i]) == 0);
        amp_pipe_end_init(ends[i], amp_cell_handle(queues[i]), amp_cell_handle(queues[1 - i]));
        amp_cell_ready(ends[i]);
    }
    tap_unhold(queues[0]);
    tap_unhold(queues[1]);
    world.cell = ends[0];
    world.other = ends[1];
}

static void
make_own_pipe(void)
{
    make_pipe();
    world.cell = world.other = NULL;
}

static int
receive_until_end(void *argument)
{
    int i = *(int *) argument;
    struct amp_cell *in = amp_cell_of(world.other->p_in);
    uint64_t number;
    tap_unhold(world.cell);
    atomic_store(&board->started[i], 1); /* with slices: as a close */
    atomic_store(&board->result[i], queue_get(in, &number, AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_receives_until_end(void)
{
    help_asleep(0, receive_until_end);
    tap_unhold(world.cell);
}

static void
drop_end_of_pipe(void)
{
    tap_unhold(world.cell);
}

static const char *
check_end_of_pipe(void)
{
    world.cell = NULL;
    bury_victim();
    if (!served(0) || board->result[0] != -EPIPE)
        return "the other end is gone, and who receives is not told";
    tap_join(&world.helper[0]);
    struct amp_cell *out = amp_cell_of(world.other->p_out);
    return queue_put(out, 1, 40, AMP_AT_ONCE) == -EPIPE ? NULL : "something is sent to nobody";
}

/* Tasks. */

static void
prepare_task(void)
{
    uint64_t number;
    prepare_queue();
    queue_put(world.cell, 1, 40, AMP_AT_ONCE);
    queue_get(world.cell, &number, AMP_AT_ONCE);
}

static void
do_task(void)
{
    amp_ring_task_done(world.cell);
}

static int
wait_for_tasks(void *argument)
{
    int i = *(int *) argument;
    struct amp_what what = {.kind = AMP_QUEUE};
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], amp_ring_join(world.cell, AMP_FOREVER, &what));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_joins(void)
{
    help_asleep(0, wait_for_tasks);
}

static const char *
check_tasks(void)
{
    int result = amp_ring_task_done(world.cell); /* again, or for the first time */
    if (result != 0 && result != -ERANGE)
        return "a task can be done in no way";
    if (!served(0))
        return "all tasks are done, and who joins sleeps";
    if (amp_ring_task_done(world.cell) != -ERANGE)
        return "more can be done than was put";
    return NULL;
}

/* Of two tasks one is done while another joins. */
static void
prepare_two_tasks(void)
{
    uint64_t number;
    prepare_task();
    queue_put(world.cell, 2, 40, AMP_AT_ONCE);
    queue_get(world.cell, &number, AMP_AT_ONCE);
}

static const char *
check_two_tasks(void)
{
    uint32_t done = amp_count(atomic_load(&world.cell->q_done));
    if (done > 1 || (world.is_done && done != 1))
        return "a task was done in no way";
    for (; done < 2; done++)
        if (amp_ring_task_done(world.cell) != 0)
            return "a task cannot be done";
    return served(0) ? NULL : "all tasks are done, and who joins sleeps";
}

static void
join_tasks(void)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    tap_without_slices();
    amp_ring_join(world.cell, AMP_FOREVER, &what);
}

/* The victim joins, and another. */
static void
do_task_for_victim(void)
{
    help_asleep(0, wait_for_tasks);
    do_task();
}

static const char *
check_joined(void)
{
    if (!served(0) || board->result[0] != 0)
        return "all tasks are done, and who joins sleeps";
    return amp_ring_task_done(world.cell) == -ERANGE ? NULL : "more can be done than was put";
}

static void
prepare_lease(void)
{
    tap_need(amp_cell_make(AMP_QUEUE, "tasks", &world.cell) == 0);
    amp_ring_init(world.cell, 0, 0);
    tap_need(amp_ring_init_leases(world.cell, 2) == 0);
    amp_cell_ready(world.cell);
    queue_put(world.cell, 11, 40, AMP_AT_ONCE);
    queue_put(world.cell, 12, 40, AMP_AT_ONCE);
}

static void
take_by_lease(void)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    amp_ring_take_lease(world.cell, 1, AMP_AT_ONCE, &what, &message);
    amp_message_done(&message);
}

static const char *
check_lease(void)
{
    amp_time deadline;
    uint64_t number, task = amp_lease_task(world.cell, 1, &deadline);
    uint64_t expected = taken() == 1 ? 11 : 0;
    if (task != expected)
        return "the lease does not say what was taken";
    for (number = expected ? 12 : 11; number <= 12; number++) {
        uint64_t got;
        if (queue_get(world.cell, &got, AMP_AT_ONCE) != 0 || got != number)
            return "a task is lost or doubled";
    }
    return NULL;
}

/* A worker's whole round: a task taken, its result put into world.other, the lease given back. */
static void
prepare_work(void)
{
    prepare_lease();
    world.other = queue_make(0, 0);
}

static void
do_leased_task(void)
{
    take_by_lease();
    queue_put(world.other, 11, 40, AMP_AT_ONCE);
    amp_lease_done(world.cell, 1);
}

/* As a pool does: results first, then the lease. What has neither was not taken. */
static const char *
check_work(void)
{
    amp_time deadline;
    uint64_t number = 0;
    bury_victim();
    bool has_result = queue_get(world.other, &number, AMP_AT_ONCE) == 0;
    uint64_t lease = amp_lease_task(world.cell, 1, &deadline);
    if ((has_result && number != 11) || (lease != 0 && lease != 11))
        return "a task is another than was taken";
    if ((taken() == 1) != (has_result || lease == 11))
        return "a task is lost, or was not taken and has a lease";
    if (world.is_done && (!has_result || lease != 0))
        return "a task that is done has a lease, or no result";
    return NULL;
}

/*
 * Tables.
 */

static void
prepare_dict(void)
{
    world.cell = table_make(AMP_DICT);
    dict_set(world.cell, "a", "old");
    dict_set(world.cell, "b", "other");
}

/* One more entry does not fit into the slots. */
static void
prepare_full_dict(void)
{
    char key[8];
    prepare_dict();
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%d", i);
        dict_set(world.cell, key, key);
    }
}

static void
set_entry(void)
{
    dict_set(world.cell, "a", "new");
}

static void
add_entry(void)
{
    dict_set(world.cell, "c", "new");
}

static void
remove_entry(void)
{
    dict_set(world.cell, "a", NULL);
}

static const char *
check_dict(void)
{
    uint32_t others = 0;
    char key[8];
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%d", i);
        if (dict_has(world.cell, key, key))
            others++;
        else if (!dict_has(world.cell, key, NULL))
            return "an entry that nobody changed is not what it was";
    }
    bool a_old = dict_has(world.cell, "a", "old"), a_new = dict_has(world.cell, "a", "new");
    bool a_gone = dict_has(world.cell, "a", NULL);
    bool c_new = dict_has(world.cell, "c", "new"), c_gone = dict_has(world.cell, "c", NULL);
    if (a_old + a_new + a_gone != 1 || c_new + c_gone != 1)
        return "an entry is neither old nor new";
    if (!dict_has(world.cell, "b", "other") || (others != 0 && others != 10))
        return "an entry that nobody changed is lost";
    if (amp_dict_count(world.cell) != 1 + others + !a_gone + c_new)
        return "the count is wrong";
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "n%d", i);
        if (dict_set(world.cell, key, "later") != 0 || !dict_has(world.cell, key, "later"))
            return "nothing can be set any more";
    }
    return amp_dict_count(world.cell) == 31 + others + !a_gone + c_new ? NULL
                                                                      : "the count is wrong later";
}

static void
read_entry(void)
{
    dict_has(world.cell, "a", "old");
}

static void
read_all_entries(void)
{
    struct amp_snapshot snapshot;
    if (amp_dict_snapshot(world.cell, &snapshot) == 0)
        amp_snapshot_done(&snapshot);
}

static const char *
check_dict_is_as_before(void)
{
    return dict_has(world.cell, "a", "old") ? check_dict() : "reading has changed an entry";
}

/* Another wants the dict's lock, while the victim may have it. */
static int
set_beside_victim(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], dict_set(world.cell, "theirs", "set"));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_sets_beside(void)
{
    help(0, set_beside_victim);
    starts(0);
}

static const char *
check_set_beside(void)
{
    if (!served(0) || board->result[0] != 0 || !dict_has(world.cell, "theirs", "set"))
        return "who wants a dict waits for the dead";
    dict_set(world.cell, "theirs", NULL);
    return check_dict();
}

static void
prepare_list(void)
{
    char value[8];
    world.cell = table_make(AMP_LIST);
    for (int i = 1; i <= 6; i++) {
        snprintf(value, sizeof value, "%d", i);
        list_append(world.cell, value);
    }
}

static void
append_to_list(void)
{
    list_append(world.cell, "7");
}

static void
pop_from_list(uint64_t position)
{
    struct amp_message message;
    amp_list_pop(world.cell, position, &message);
    amp_message_done(&message);
}

static void
pop_from_middle(void)
{
    pop_from_list(3);
}

static void
pop_first(void)
{
    pop_from_list(1);
}

static void
pop_last(void)
{
    pop_from_list(0);
}

static void
set_in_list(void)
{
    struct amp_stored stored = {.value = text("new")};
    amp_list_set(world.cell, 3, &stored);
}

static const char *
check_set_list(void)
{
    bool is_new = list_has(world.cell, 3, "new");
    if (!is_new && (world.is_done || !list_has(world.cell, 3, "3")))
        return "a value is neither old nor new";
    for (int i = 1; i <= 6; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        if (i != 3 && !list_has(world.cell, (uint64_t) i, value))
            return "a value that nobody changed is lost";
    }
    if (amp_dict_count(world.cell) != 6 || list_append(world.cell, "7") != 0)
        return "nothing can be appended";
    return list_has(world.cell, 7, "7") ? NULL : "what was appended is lost";
}

/* 1 ... 6, or with 7, or without one of them. */
static const char *
check_list(void)
{
    uint32_t length = amp_dict_count(world.cell);
    if (length < 5 || length > 7)
        return "the length is wrong";
    char value[16];
    int expected = 1, missing = 0;
    for (uint32_t i = 1; i <= length; i++, expected++) {
        snprintf(value, sizeof value, "%d", expected);
        if (list_has(world.cell, i, value))
            continue;
        missing++;
        snprintf(value, sizeof value, "%d", ++expected);
        if (!list_has(world.cell, i, value))
            return "the order is broken";
    }
    if (missing > 1 || (length >= 6 && missing > 0))
        return "a value is lost";
    if (list_append(world.cell, "later") != 0 || !list_has(world.cell, length + 1, "later"))
        return "nothing can be appended";
    pop_from_list(2);
    return amp_dict_count(world.cell) == length ? NULL : "nothing can be popped";
}

/*
 * Objects, runs, members.
 */

static void
prepare_nothing(void)
{
}

static void
make_bounded(void)
{
    prepare_bounded();
    world.cell = NULL; /* the victim's own, which its burial ends */
}

static void
make_queue_and_put(void)
{
    put_large(queue_make(0, 0), 1, 9000);
}

static const char *
check_nothing(void)
{
    bury_victim();
    struct amp_cell *cell = tap_object(AMP_EVENT, "after");
    if (amp_lock_try(&cell->c_lock0) != 0)
        return "a new object's lock is not free";
    amp_lock_leave(&cell->c_lock0);
    tap_unhold(cell);
    return NULL;
}

/* An array that only the victim has. */
static struct amp_cell *victims_array;

static void
begin_array(void)
{
    tap_need(amp_cell_make(AMP_ARRAY, "array", &victims_array) == 0);
    tap_need(amp_array_init(victims_array, amp_type_find('q'), 60) == 0);
}

static void
make_array(void)
{
    begin_array();
    amp_cell_ready(victims_array);
}

static void
drop_array(void)
{
    tap_unhold(victims_array);
}

static void
give_up_array(void)
{
    begin_array();
    amp_cell_abandon(victims_array);
}

/* A queue that only the victim holds, with a queue in it, with an object in that. */
static void
make_nested(void)
{
    struct amp_cell *outer = queue_make(0, 0), *inner = queue_make(0, 0);
    uint64_t handle, queue = amp_cell_handle(inner);
    make_object();
    handle = board->handle;
    queue_put_objects(inner, 1, 9000, &handle, 1, AMP_AT_ONCE);
    queue_put_objects(outer, 1, 40, &queue, 1, AMP_AT_ONCE);
    amp_unhold(handle);
    amp_unhold(queue);
    world.other = outer;
}

static void
unhold_nested(void)
{
    tap_unhold(world.other);
}

/* An entry with an object, replaced by one without. */
static void
prepare_entry_with_object(void)
{
    prepare_dict();
    make_object();
    uint64_t handle = board->handle;
    struct amp_stored stored = {.value = text("old"), .handles = &handle, .n = 1};
    amp_dict_set(world.cell, text("a"), &stored, AMP_ANY_VERSION);
    amp_unhold(handle);
}

static const char *
check_entry_with_object(void)
{
    bury_victim();
    bool lives = amp_cell_of(board->handle) != NULL;
    if (dict_has(world.cell, "a", "new"))
        return lives ? "an object is left that nobody has" : NULL;
    struct amp_message message;
    uint64_t version;
    if (amp_dict_get(world.cell, text("a"), &message, &version) != 0 || message.ncells != 1 ||
        !lives)
        return "the object in an entry has ended";
    amp_message_done(&message);
    amp_unhold(board->handle);
    return NULL;
}

static void
prepare_owner(void)
{
    world.cell = tap_object(AMP_VALUE, "owner of runs");
}

/* Had each page of the run memory before it is written to? Who writes to one that has none ends by SIGBUS where the
   system is full. */
static bool
has_memory(uint32_t page, int value)
{
    struct stat before, after;
    fstat(amp_arena.descriptor, &before);
    memset(amp_page_at(page), value, amp_arena_run_size(page));
    fstat(amp_arena.descriptor, &after);
    return before.st_blocks == after.st_blocks;
}

static void
take_run(void)
{
    uint32_t page;
    amp_arena_take(3 * AMP_PAGE, amp_cell_index(world.cell), &page);
}

static void
take_and_free_cold_run(void)
{
    uint32_t page;
    if (amp_arena_take(COLD_RUN, amp_cell_index(world.cell), &page) == 0)
        amp_arena_free(page);
}

static void
prepare_runs(void)
{
    uint32_t before, page, after;
    prepare_owner();
    uint32_t owner = amp_cell_index(world.cell);
    tap_need(amp_arena_take(20 * AMP_PAGE, owner, &before) == 0);
    tap_need(amp_arena_take(5 * AMP_PAGE, owner, &page) == 0);
    tap_need(amp_arena_take(20 * AMP_PAGE, owner, &after) == 0);
    amp_arena_free(before);
    amp_arena_free(after);
    atomic_store(&board->page, page);
}

/* Frees one run between two that are free, and takes one that needs two of them joined. */
static void
free_and_take_run(void)
{
    uint32_t page;
    amp_arena_free(board->page);
    amp_arena_take(24 * AMP_PAGE, amp_cell_index(world.cell), &page);
    amp_arena_free(page);
}

static bool
keep_none(uint32_t page, void *argument)
{
    (void) page, (void) argument;
    return false;
}

static const char *
check_runs(void)
{
    uint32_t page[20];
    amp_arena_reclaim(amp_cell_index(world.cell), keep_none, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        if (amp_arena_take((i % 7 + 1) * AMP_PAGE, amp_cell_index(world.cell), &page[i]) != 0)
            return "the arena gives no runs any more";
        if (!has_memory(page[i], (int) i))
            return "a run has no memory";
    }
    for (uint32_t i = 0; i < 20; i++) {
        const unsigned char *bytes = amp_page_at(page[i]);
        if (bytes[0] != i || bytes[(i % 7 + 1) * AMP_PAGE - 1] != i)
            return "two runs overlap";
        amp_arena_free(page[i]);
    }
    return NULL;
}

static const char *
check_cold_runs(void)
{
    const char *failure = check_runs();
    uint32_t page;
    if (failure)
        return failure;
    if (amp_arena_take(COLD_RUN, amp_cell_index(world.cell), &page) != 0)
        return "the arena gives no large run any more";
    if (!has_memory(page, 1))
        return "a large run has no memory";
    amp_arena_free(page);
    return NULL;
}

/* All that is free becomes another's. */
static void
take_all_for_another(void)
{
    uint32_t page;
    const struct amp_header *h = amp_arena.header;
    world.other = tap_object(AMP_VALUE, "owner of all that was free");
    swept.pages += 200; /* what is taken from here on is new */
    for (uint32_t n = 512; n > 0; n /= 2) {
        uint32_t top = h->h_top;
        while (h->h_free >= n && h->h_top == top) {
            if (amp_arena_take(n * AMP_PAGE, amp_cell_index(world.other), &page) != 0)
                break; /* nowhere so many in a row */
        }
    }
}

static void
prepare_nothing_free(void)
{
    prepare_owner();
    take_all_for_another();
}

/* All that is free is one run without memory. */
static void
prepare_cold_run(void)
{
    uint32_t page;
    prepare_owner();
    tap_need(amp_arena_take(COLD_RUN, amp_cell_index(world.cell), &page) == 0);
    take_all_for_another();
    amp_arena_free(page);
}

static void
take_new_large_run(void)
{
    uint32_t page;
    amp_arena_take(64 * AMP_PAGE, amp_cell_index(world.cell), &page);
}

static const char *
check_runs_of_both(void)
{
    const char *failure = check_runs();
    amp_arena_reclaim(amp_cell_index(world.other), keep_none, NULL);
    return failure;
}

/* The victim is the parent's half of a fork. */
static void
reserve_slot(void)
{
    uint32_t member, generation;
    if (amp_member_reserve("unborn", &member, &generation) == 0)
        amp_holders_copy(amp_self.member, member);
}

/* The victim is a member already, but for the sweep it is the child of another fork: it enters the
   slot that the test has reserved, and leaves it. */
static void
reserve_for_victim(void)
{
    prepare_event();
    tap_need(amp_member_reserve("child", &world.member, &world.generation) == 0);
    amp_holders_copy(amp_self.member, world.member);
}

static void
be_no_member(void)
{
    amp_member_leave(0);
}

static void
enter_and_leave(void)
{
    if (amp_member_enter(world.member, world.generation) == 0)
        amp_member_leave(0);
}

static void
begin_and_leave(void)
{
    if (amp_member_begin("thread") == 0)
        amp_member_leave(0);
}

static const char *
check_entered(void)
{
    bury_victim();
    amp_member_bury(world.member, world.generation, true);
    if (amp_member_lives(world.member, world.generation))
        return "a member lives that is dead";
    if (amp_member_enter(world.member, world.generation) != -ESTALE)
        return "a slot that was given back can be entered";
    return NULL;
}

/* Children. Those of the dead are the test's to wait for. */

static int status_of_child; /* that the victim has been told */

static void
beget(unsigned flags, bool waits)
{
    struct amp_child child;
    int result = amp_spawn("heir", flags, NULL, NULL, &child);
    if (result == AMP_IN_CHILD) {
        queue_put(world.cell, 100, 40, AMP_AT_ONCE);
        amp_member_leave(7);
        _exit(7);
    }
    if (result == 0 && waits && amp_child_wait(&child, AMP_FOREVER) == 0)
        status_of_child = child.status;
    atomic_store(&board->result[0], status_of_child);
}

static void
beget_heir(void)
{
    beget(0, false);
}

static void
beget_and_wait(void)
{
    beget(0, true);
}

static void
beget_daemon(void)
{
    beget(AMP_DIES_WITH_PARENT, false);
}

static bool
has_no_child(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    return errno == ECHILD;
}

static const char *
check_descent(bool must_come)
{
    bury_victim();
    if (!tap_until(has_no_child()))
        return "the child of the dead does not end";
    amp_roster_sweep();
    uint64_t number;
    bool has_come = queue_get(world.cell, &number, AMP_AT_ONCE) == 0;
    if (must_come && world.is_done && !has_come)
        return "a child was made, and did nothing";
    return queue_get(world.cell, &number, AMP_AT_ONCE) == -EAGAIN ? NULL : "a child ran twice";
}

static const char *
check_heir(void)
{
    return check_descent(true);
}

static const char *
check_waited_for(void)
{
    if (world.is_done && board->result[0] != 7)
        return "who waits for a child is not told how it ended";
    return check_descent(true);
}

static const char *
check_daemon(void)
{
    return check_descent(false);
}

static int
die_with_permit(void *argument)
{
    (void) argument;
    take_permit();
    raise(SIGKILL);
    return 0;
}

/* Somebody died with the permit of a bounded semaphore. */
static void
prepare_burial_with_permit(void)
{
    prepare_bounded();
    world.dead = tap_child(die_with_permit, NULL);
    waitpid(world.dead.pid, NULL, 0);
}

static void
wait_for_permit_of_dead(void)
{
    help_asleep(0, wait_for_permit);
}

static const char *
check_burial_with_permit(void)
{
    bury_victim();
    amp_roster_sweep();
    if (amp_member_phase(amp_member_at(world.dead.member)) != AMP_FREE)
        return "the dead is not buried";
    return check_bounded();
}

static int
die_with_estate(void *argument)
{
    (void) argument;
    struct amp_ticket *ticket;
    tap_object(AMP_EVENT, "only the dead one's");
    queue_put(queue_make(0, 0), 1, 9000, AMP_AT_ONCE);
    amp_condition_enlist(world.cell, &ticket);
    raise(SIGKILL);
    return 0;
}

/* Somebody died with objects, a ticket and a permit; the victim buries him. */
static void
prepare_burial(void)
{
    world.cell = tap_object(AMP_CONDITION, "condition");
    world.dead = tap_child(die_with_estate, NULL);
    waitpid(world.dead.pid, NULL, 0);
}

static void
sweep_roster(void)
{
    amp_roster_sweep();
}

static const char *
check_burial(void)
{
    bury_victim();
    amp_roster_sweep();
    if (amp_member_phase(amp_member_at(world.dead.member)) != AMP_FREE)
        return "the dead is not buried";
    if (amp_condition_notify(world.cell, 1) != 0)
        return "the dead still waits";
    return NULL;
}

/*
 * The operations.
 */

static const struct scenario scenarios[] = {
    {"a lock, taken and given back", prepare_lock, NULL, NULL, change_under_lock, NULL, NULL,
     check_lock, false},
    {"a lock, with another that barges in", prepare_lock, NULL, NULL, change_under_lock, NULL,
     barge, check_lock, false},
    {"a lock given back to a waiter", prepare_lock, take_lock, wait_behind, leave_lock, NULL, NULL,
     check_lock, false},
    {"a lock given back to a waiter, and a third barges in", prepare_lock, take_lock, wait_behind,
     leave_lock, NULL, barge, check_lock, false},
    {"a lock given back in two steps, which must be found out", prepare_lock,
     take_lock_with_two_steps, wait_behind, leave_lock, NULL, barge, check_lock, true},
    {"a waiter of a lock that was woken", prepare_held_lock, NULL, NULL, take_lock_for_good,
     wake_victim_of_lock, NULL, check_lock, false},
    {"a waiter of a lock that was woken, and a third barges in", prepare_held_lock, NULL, NULL,
     take_lock_for_good, wake_victim_of_lock, barge, check_lock, false},

    {"a lock that is not waited for, given to a waiter", prepare_held_lock, NULL, wait_behind,
     try_lock_in_vain, NULL, leave_lock, check_lock, false},

    {"a permit given to a waiter", prepare_empty_semaphore, NULL, wait_for_permit_behind,
     release_permit, NULL, NULL, check_semaphore, false},
    {"a waiter that was woken for a permit", prepare_empty_semaphore, NULL, NULL,
     take_permit_for_ever, give_permit_to_victim, NULL, check_semaphore, false},
    {"a permit taken", prepare_semaphore, NULL, NULL, take_permit, NULL, NULL,
     check_semaphore_taken, false},
    {"a permit of a bounded semaphore, taken and given back", prepare_bounded, NULL, NULL,
     take_and_give_permit, NULL, NULL, check_bounded, false},
    {"a permit of a bounded semaphore, given to a waiter", prepare_bounded, take_permit,
     wait_for_permit_behind, release_permit, NULL, NULL, check_bounded, false},

    {"a waiter that was woken for a permit of a bounded semaphore", prepare_held_bounded, NULL,
     NULL, take_permit_for_ever, give_permit_to_victim, NULL, check_bounded, false},

    {"an event set for two waiters", prepare_event, NULL, two_wait_for_event, set_event, NULL, NULL,
     check_event, false},
    {"an event set by two at once", prepare_event, NULL, hold_setters_lock, set_event_late,
     set_and_clear, set_beside, check_set_for_good, false},

    {"an event cleared", prepare_set_event, NULL, NULL, clear_event, NULL, NULL, check_clear,
     false},
    {"a waiter that was woken by an event", prepare_event, NULL, NULL, sleep_for_event,
     set_event_for_victim, NULL, check_woken_for_event, false},

    {"a call to the first of two waiters", prepare_condition, NULL, two_wait_for_call, notify_one,
     NULL, NULL, check_notify, false},
    {"a wait at a condition that is given up", prepare_condition, NULL, NULL, look_into_condition,
     NULL, NULL, check_ticket_is_gone, false},
    {"a waiter that was called", prepare_condition, NULL, NULL, wait_at_condition,
     call_victim, NULL, check_called, false},

    {"a call to all waiters", prepare_condition, NULL, two_wait_for_call, notify_all, NULL, NULL,
     check_notify, false},
    {"a wait at a condition with its lock, until it sleeps", prepare_condition_with_lock, NULL,
     NULL, wait_with_lock, NULL, NULL, check_waits_with_lock, false},
    {"a waiter that was called with all, and takes the lock", prepare_condition_with_lock, NULL,
     NULL, wait_with_lock, call_all_under_lock, NULL, check_waits_with_lock, false},

    {"the first party at a barrier, until it sleeps", prepare_barrier, NULL, NULL,
     pass_barrier_for_ever, NULL, NULL, check_given_up_barrier, false},
    {"the last party at a barrier", prepare_barrier, NULL, one_waits_at_barrier,
     second_comes_to_barrier, NULL, NULL, check_barrier, false},
    {"a party that goes on behind a barrier", prepare_barrier, NULL, NULL, pass_barrier_for_ever,
     open_barrier_for_victim, NULL, check_passed_barrier, false},
    {"a party whose time runs out", prepare_barrier, NULL, NULL, give_up_at_barrier, NULL, NULL,
     check_given_up_barrier, false},
    {"a party that withdraws", prepare_barrier_of_three, arrive_at_barrier,
     one_takes_place_at_barrier, withdraw_from_barrier, NULL, NULL, check_withdrawal, false},

    {"a barrier broken before a party", prepare_barrier, NULL, one_waits_at_barrier, break_barrier,
     NULL, NULL, check_barrier, false},
    {"a barrier reset before a party", prepare_barrier, NULL, one_waits_at_barrier, reset_barrier,
     NULL, NULL, check_reset, false},

    {"a message put for a consumer that sleeps", prepare_queue, NULL, one_consumes, put_message,
     NULL, NULL, check_put, false},
    {"a message put for a watcher, past a consumer that sleeps", prepare_queue, NULL,
     one_consumes_and_one_watched, put_message, NULL, NULL, check_put_for_watcher, false},
    {"a message put for a watcher that gives up", prepare_queue, NULL, one_consumes_and_one_watches,
     put_message, NULL, watcher_gives_up, check_put, false},
    {"a message put for a watcher that gives up, behind another's old watch", prepare_queue, NULL,
     one_consumes_and_one_watches, put_message, NULL, watcher_gives_up_behind_another, check_put,
     false},
    {"a consumer that watches while another sleeps", prepare_queue, NULL, one_consumes_in_slices,
     get_message, NULL, NULL, check_watched_in_vain, false},
    {"a message got while a producer sleeps", prepare_queue_of_two, NULL, one_produces, get_message,
     NULL, NULL, check_get, false},
    {"a consumer that was woken by a message", prepare_queue, NULL, NULL, get_message,
     put_for_victim, NULL, check_woken_consumer, false},
    {"a message put, and another wants the same side", prepare_queue, NULL, NULL, put_message, NULL,
     one_puts_beside, check_put_beside, false},
    {"a message got, and another wants the same side", prepare_queue_of_two, NULL, NULL,
     get_message, NULL, one_gets_beside, check_get_beside, false},
    {"a producer that was woken by room", prepare_queue_of_two, NULL, NULL, put_when_there_is_room,
     take_for_victim, NULL, check_woken_producer, false},
    {"messages put in one step", prepare_queue_of_one, NULL, NULL, put_batch, NULL, NULL,
     check_put_batch, false},
    {"messages got in one step", prepare_queue_of_batch, NULL, NULL, get_batch, NULL, NULL,
     check_get_batch, false},
    {"a message put into a segment of another", prepare_queue_with_messages, NULL, NULL,
     put_into_new_segment, NULL, NULL, check_segments, false},
    {"a message put into a segment of its own", prepare_queue_with_messages, NULL, NULL,
     put_larger_than_segment, NULL, NULL, check_segments, false},
    {"a message put by a producer that pauses, far ahead", prepare_far_ahead, NULL, NULL,
     put_far_ahead, NULL, NULL, check_far_ahead, false},
    {"messages read in place, and a segment left behind", prepare_four_large, NULL, NULL,
     get_in_place, NULL, NULL, check_read_in_place, false},
    {"a message with an object, put by its only holder", prepare_queue, make_object, NULL,
     put_object_and_drop_it, NULL, NULL, check_cargo, false},
    {"a message with an object, got", prepare_message_with_object, NULL, NULL, get_message, NULL,
     NULL, check_cargo, false},
    {"a queue that is closed before a sleeper", prepare_queue, NULL, one_waits_for_close,
     close_queue, NULL, NULL, check_close, false},
    {"a full queue that is closed before a sleeper", prepare_queue_of_two, NULL,
     one_produces_until_close, close_queue, NULL, NULL, check_close_of_full, false},
    {"a pipe made", prepare_nothing, NULL, NULL, make_own_pipe, NULL, NULL, check_nothing, false},
    {"an end of a pipe let go, while another receives", make_pipe, NULL, one_receives_until_end,
     drop_end_of_pipe, NULL, NULL, check_end_of_pipe, false},
    {"the last task, done while another joins", prepare_task, NULL, one_joins, do_task, NULL, NULL,
     check_tasks, false},
    {"a task done that is not the last", prepare_two_tasks, NULL, one_joins, do_task, NULL, NULL,
     check_two_tasks, false},
    {"a joiner that was woken", prepare_task, NULL, NULL, join_tasks, do_task_for_victim, NULL,
     check_joined, false},
    {"a task taken by a lease", prepare_lease, NULL, NULL, take_by_lease, NULL, NULL, check_lease,
     false},

    {"a task taken by a lease, done, and its result put", prepare_work, NULL, NULL, do_leased_task,
     NULL, NULL, check_work, false},

    {"an entry of a dict, set anew", prepare_dict, NULL, NULL, set_entry, NULL, NULL, check_dict,
     false},
    {"an entry added to a dict that must grow", prepare_full_dict, NULL, NULL, add_entry, NULL,
     NULL, check_dict, false},
    {"an entry of a dict, read", prepare_dict, NULL, NULL, read_entry, NULL, NULL,
     check_dict_is_as_before, false},
    {"all entries of a dict, read", prepare_dict, NULL, NULL, read_all_entries, NULL, NULL,
     check_dict_is_as_before, false},
    {"an entry added, and another wants the dict", prepare_full_dict, NULL, NULL, add_entry, NULL,
     one_sets_beside, check_set_beside, false},
    {"an entry removed from a dict", prepare_dict, NULL, NULL, remove_entry, NULL, NULL, check_dict,
     false},
    {"an entry with an object, set anew", prepare_entry_with_object, NULL, NULL, set_entry, NULL,
     NULL, check_entry_with_object, false},
    {"a value appended to a list", prepare_list, NULL, NULL, append_to_list, NULL, NULL, check_list,
     false},
    {"a value of a list, set anew", prepare_list, NULL, NULL, set_in_list, NULL, NULL,
     check_set_list, false},
    {"a value popped from the middle of a list", prepare_list, NULL, NULL, pop_from_middle, NULL,
     NULL, check_list, false},
    {"the first value popped from a list", prepare_list, NULL, NULL, pop_first, NULL, NULL,
     check_list, false},
    {"the last value popped from a list", prepare_list, NULL, NULL, pop_last, NULL, NULL,
     check_list, false},

    {"an object made, with memory", prepare_nothing, NULL, NULL, make_bounded, NULL, NULL,
     check_nothing, false},
    {"an array made", prepare_nothing, NULL, NULL, make_array, NULL, NULL, check_nothing, false},
    {"an array given up when half made", prepare_nothing, NULL, NULL, give_up_array, NULL, NULL,
     check_nothing, false},
    {"an array let go by its last holder", prepare_nothing, make_array, NULL, drop_array, NULL,
     NULL, check_nothing, false},
    {"a queue made, with a message", prepare_nothing, NULL, NULL, make_queue_and_put, NULL, NULL,
     check_nothing, false},
    {"a queue in a queue, let go by its last holder", prepare_nothing, make_nested, NULL,
     unhold_nested, NULL, NULL, check_nothing, false},
    {"a run of pages, taken", prepare_owner, NULL, NULL, take_run, NULL, NULL, check_runs, false},
    {"runs of pages, freed and joined", prepare_runs, NULL, NULL, free_and_take_run, NULL, NULL,
     check_runs, false},
    {"a large run of new pages, taken", prepare_nothing_free, NULL, NULL, take_new_large_run, NULL, NULL,
     check_runs_of_both, false},
    {"a small run, taken from one without memory", prepare_cold_run, NULL, NULL, take_run, NULL, NULL,
     check_runs_of_both, false},
    {"a large run, that gets memory and gives it back", prepare_owner, NULL, NULL,
     take_and_free_cold_run, NULL, NULL, check_cold_runs, false},
    {"a slot reserved for a child", prepare_event, NULL, NULL, reserve_slot, NULL, NULL,
     check_nothing, false},
    {"a child that becomes a member, and leaves", reserve_for_victim, be_no_member, NULL,
     enter_and_leave, NULL, NULL, check_entered, false},
    {"a thread that becomes a member, and leaves", prepare_event, be_no_member, NULL,
     begin_and_leave, NULL, NULL, check_nothing, false},
    {"a child made", prepare_queue, NULL, NULL, beget_heir, NULL, NULL, check_heir, false},
    {"a child made, and waited for", prepare_queue, NULL, NULL, beget_and_wait, NULL, NULL,
     check_waited_for, false},
    {"a child made that dies with its parent", prepare_queue, NULL, NULL, beget_daemon, NULL, NULL,
     check_daemon, false},
    {"a member that buries one who had a permit", prepare_burial_with_permit, NULL,
     wait_for_permit_of_dead, sweep_roster, NULL, NULL, check_burial_with_permit, false},
    {"a member that buries another", prepare_burial, NULL, NULL, sweep_roster, NULL, NULL,
     check_burial, false},
};

static void
begin(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* the children of the dead are ours to wait for */
}

int
main(int argc, char **argv)
{
    swept.pages += COLD_RUN / AMP_PAGE;
    sweep_begin = begin;
    return sweep_main(scenarios, sizeof scenarios / sizeof *scenarios, BUDGET, argc, argv);
}
