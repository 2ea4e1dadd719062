/*
 * barrier: see barrier.h.
 */
#include "barrier.h"

#include "word.h"

void
amp_barrier_init(struct amp_cell *barrier, uint32_t parties)
{
    barrier->b_parties = parties;
    barrier->b_runner = AMP_NOBODY;
}

static inline uint32_t
round_of(const struct amp_cell *barrier)
{
    return amp_count(atomic_load_explicit(&barrier->b_round, memory_order_acquire));
}

/* Written under the lock, relaxed: it is also read without, for reports. */
static inline uint32_t
arrivals(const struct amp_cell *barrier)
{
    return atomic_load_explicit(&barrier->b_arrived, memory_order_relaxed);
}

static inline void
set_arrivals(struct amp_cell *barrier, uint32_t n)
{
    atomic_store_explicit(&barrier->b_arrived, n, memory_order_relaxed);
}

/* Only of this round: one who was let go by the last may not have given its ticket back yet. */
static void
call_ticket(struct amp_ticket *ticket, void *argument)
{
    struct amp_cell *barrier = argument;
    if (ticket->t_number == round_of(barrier))
        atomic_store_explicit(&ticket->t_word, AMP_TICKET_CALLED, memory_order_release);
}

static void
count_ticket(struct amp_ticket *ticket, void *argument)
{
    struct amp_cell *barrier = argument;
    if (ticket->t_number == round_of(barrier))
        set_arrivals(barrier, arrivals(barrier) + 1);
}

/* Ends the round without opening it. The caller has the lock. Begun again after a death. */
static void
end_round(struct amp_cell *barrier)
{
    amp_tickets_each(amp_cell_index(barrier), call_ticket, barrier);
    set_arrivals(barrier, 0);
    barrier->b_runner = AMP_NOBODY;
    amp_commit(&barrier->b_round, 1, AMP_WAKE_ALL);
}

static void
break_round(struct amp_cell *barrier)
{
    atomic_store_explicit(&barrier->b_broken, 1, memory_order_release);
    AMP_COMPILER_BARRIER();
    end_round(barrier);
}

static void
enter(struct amp_cell *barrier)
{
    if (amp_lock_enter(&barrier->c_lock0) != AMP_OWNER_DIED)
        return;
    if (atomic_load_explicit(&barrier->b_broken, memory_order_relaxed)) {
        end_round(barrier);
        return;
    }
    set_arrivals(barrier, 0);
    amp_tickets_each(amp_cell_index(barrier), count_ticket, barrier);
    if (arrivals(barrier) < barrier->b_parties)
        barrier->b_runner = AMP_NOBODY;
}

static void
leave(struct amp_cell *barrier)
{
    amp_lock_leave(&barrier->c_lock0);
}

static void
give_back(struct amp_ticket *ticket)
{
    atomic_store_explicit(&ticket->t_cell, 0, memory_order_release);
}

int
amp_barrier_arrive(struct amp_cell *barrier, amp_time deadline, struct amp_what *what,
                   struct amp_ticket **arrived)
{
    struct amp_ticket *ticket = amp_ticket_free();
    if (ticket == NULL)
        return -EAGAIN;
    for (;;) {
        enter(barrier);
        uint32_t word = atomic_load_explicit(&barrier->b_round, memory_order_relaxed);
        if (atomic_load_explicit(&barrier->b_broken, memory_order_relaxed)) {
            leave(barrier);
            return -EPIPE;
        }
        if (arrivals(barrier) < barrier->b_parties) {
            ticket->t_number = amp_count(word);
            ticket->t_place = arrivals(barrier) + 1;
            atomic_store_explicit(&ticket->t_word, AMP_TICKET_WAITING, memory_order_relaxed);
            atomic_store_explicit(&ticket->t_cell, amp_cell_index(barrier), memory_order_release);
            set_arrivals(barrier, ticket->t_place);
            bool last = ticket->t_place == barrier->b_parties;
            if (last)
                barrier->b_runner = amp_self.member;
            leave(barrier);
            *arrived = ticket;
            return last ? AMP_BARRIER_LAST : 0;
        }
        leave(barrier);
        int result = amp_wait(&barrier->b_round, word, AMP_SLEEPER, deadline, what);
        if (result < 0)
            return result;
    }
}

int
amp_barrier_open(struct amp_cell *barrier, struct amp_ticket *ticket)
{
    int result = -EPIPE;
    enter(barrier);
    if (amp_ticket_waits(ticket, amp_cell_index(barrier)) &&
        ticket->t_number == round_of(barrier)) {
        set_arrivals(barrier, 0);
        barrier->b_runner = AMP_NOBODY;
        amp_commit(&barrier->b_round, 1, AMP_WAKE_ALL);
        result = 0;
    }
    give_back(ticket);
    leave(barrier);
    return result;
}

int
amp_barrier_sleep(struct amp_cell *barrier, struct amp_ticket *ticket, amp_time deadline,
                  struct amp_what *what)
{
    int result = 0;
    for (;;) {
        uint32_t word = atomic_load_explicit(&barrier->b_round, memory_order_acquire);
        if (amp_count(word) != ticket->t_number)
            break;
        result = amp_wait(&barrier->b_round, word, AMP_SLEEPER, deadline, what);
        if (result == -EINTR)
            return result;
        if (result < 0) {
            enter(barrier);
            if (round_of(barrier) == ticket->t_number) {
                break_round(barrier); /* with our ticket: until then our death must break it */
                give_back(ticket);
                leave(barrier);
                return result;
            }
            leave(barrier);
            break;
        }
    }
    /* Called before the round was ended; the round's commit released it. */
    bool broken = atomic_load_explicit(&ticket->t_word, memory_order_acquire) == AMP_TICKET_CALLED;
    enter(barrier); /* nobody is looking at the ticket, about to call it */
    give_back(ticket);
    leave(barrier);
    return broken ? -EPIPE : 0;
}

struct vacancy {
    struct amp_cell *barrier;
    uint32_t place;
};

static void
move_last_up(struct amp_ticket *ticket, void *argument)
{
    const struct vacancy *vacancy = argument;
    if (ticket->t_number == round_of(vacancy->barrier) &&
        ticket->t_place == arrivals(vacancy->barrier))
        ticket->t_place = vacancy->place;
}

void
amp_barrier_withdraw(struct amp_cell *barrier, struct amp_ticket *ticket)
{
    enter(barrier);
    if (round_of(barrier) == ticket->t_number && barrier->b_runner == AMP_NOBODY) {
        struct vacancy vacancy = {barrier, ticket->t_place};
        amp_tickets_each(amp_cell_index(barrier), move_last_up, &vacancy);
        set_arrivals(barrier, arrivals(barrier) - 1);
    }
    give_back(ticket);
    leave(barrier);
}

void
amp_barrier_abort(struct amp_cell *barrier)
{
    enter(barrier);
    break_round(barrier);
    leave(barrier);
}

void
amp_barrier_reset(struct amp_cell *barrier)
{
    enter(barrier);
    if (arrivals(barrier) > 0)
        break_round(barrier);
    atomic_store_explicit(&barrier->b_broken, 0, memory_order_release);
    leave(barrier);
}

uint32_t
amp_barrier_waiting(const struct amp_cell *barrier)
{
    return arrivals(barrier); /* a report: may be old by now */
}

void
amp_barrier_bury(struct amp_cell *barrier, struct amp_ticket *ticket)
{
    enter(barrier);
    bool waits = amp_ticket_waits(ticket, amp_cell_index(barrier)) &&
                 ticket->t_number == round_of(barrier);
    if (waits)
        break_round(barrier);
    give_back(ticket);
    leave(barrier);
}

/* To break a round is more than one step, and who aborts or resets has no ticket. When it dies in the
   middle, those that wait would sleep until another comes: its burial enters, which finishes it. */
static void
barrier_bury(struct amp_cell *barrier, uint32_t member)
{
    (void) member;
    enter(barrier);
    leave(barrier);
}

const struct amp_kind_operations amp_barrier_operations = {.bury = barrier_bury};
