/*
 * condition: see condition.h.
 */
#include "condition.h"

int
amp_condition_enlist(struct amp_cell *condition, struct amp_ticket **enlisted)
{
    struct amp_ticket *ticket = amp_ticket_free();
    if (ticket == NULL)
        return -EAGAIN;
    amp_lock_enter(&condition->c_lock0);
    ticket->t_number = condition->d_next++;
    atomic_store_explicit(&ticket->t_word, AMP_TICKET_WAITING, memory_order_relaxed);
    /* release: pairs with amp_ticket_waits() */
    atomic_store_explicit(&ticket->t_cell, amp_cell_index(condition), memory_order_release);
    amp_lock_leave(&condition->c_lock0);
    *enlisted = ticket;
    return 0;
}

int
amp_condition_sleep(struct amp_ticket *ticket, amp_time deadline, struct amp_what *what)
{
    for (;;) {
        /* acquire: pairs with amp_ticket_call() */
        uint32_t word = atomic_load_explicit(&ticket->t_word, memory_order_acquire);
        if (word == AMP_TICKET_CALLED)
            return 0;
        int result = amp_wait(&ticket->t_word, word, AMP_TICKET_ASLEEP, deadline, what);
        if (result < 0)
            return result;
    }
}

bool
amp_condition_delist(struct amp_cell *condition, struct amp_ticket *ticket)
{
    amp_lock_enter(&condition->c_lock0);
    bool called = atomic_load_explicit(&ticket->t_word, memory_order_relaxed) == AMP_TICKET_CALLED;
    atomic_store_explicit(&ticket->t_cell, 0, memory_order_relaxed);
    amp_lock_leave(&condition->c_lock0);
    return called;
}

static void
find_first(struct amp_ticket *ticket, void *argument)
{
    struct amp_ticket **first = argument;
    if (*first == NULL || (int32_t) (ticket->t_number - (*first)->t_number) < 0)
        *first = ticket;
}

/* The caller has the guard. */
static uint32_t
call(struct amp_cell *condition, uint32_t n)
{
    uint32_t called = 0;
    for (; called < n; called++) {
        struct amp_ticket *first = NULL;
        amp_tickets_each(amp_cell_index(condition), find_first, &first);
        if (first == NULL)
            break;
        amp_ticket_call(first);
    }
    return called;
}

uint32_t
amp_condition_notify(struct amp_cell *condition, uint32_t n)
{
    amp_lock_enter(&condition->c_lock0);
    uint32_t called = call(condition, n);
    amp_lock_leave(&condition->c_lock0);
    return called;
}

void
amp_condition_bury(struct amp_cell *condition, struct amp_ticket *ticket)
{
    amp_lock_enter(&condition->c_lock0);
    bool called = atomic_load_explicit(&ticket->t_word, memory_order_relaxed) == AMP_TICKET_CALLED;
    /* First the next is called: should this burier die before the ticket is gone, one more is
       called than was notified, which a condition may do. */
    if (called)
        call(condition, 1);
    atomic_store_explicit(&ticket->t_cell, 0, memory_order_relaxed);
    amp_lock_leave(&condition->c_lock0);
}
