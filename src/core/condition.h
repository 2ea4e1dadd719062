/*
 * condition: to wait for a notification, having given up a lock of the script.
 *
 * Every waiter has a ticket in its member's slot (roster.h) and sleeps on the ticket's own word;
 * a notification calls the waiters that came first, each by one step that also wakes. The
 * condition's guard is the core's own lock, held for a few instructions, and not the script's
 * lock: so the burial of a waiter can use it. Nothing else is shared, so a death under the guard
 * leaves nothing to repair.
 *
 * A waiter that is killed while it waits is buried: its ticket is gone. One that is killed after
 * it was called and before it gave the ticket back is buried too, and its burial calls the next
 * waiter instead. The ticket is given back under the script's lock, so one that dies while it queues
 * for that lock takes no call with it.
 *
 * A wait has three steps, so that handlers of signals run between them with nothing held:
 *     enlist (the caller still has the script's lock, and then gives it up)
 *     sleep  (again after each -EINTR)
 *     delist (the caller has taken the script's lock again)
 */
#ifndef AMP_CONDITION_H
#define AMP_CONDITION_H

#include "handle.h"

/* 0, or -EAGAIN: the thread already waits AMP_TICKETS times, in handlers of signals. */
int amp_condition_enlist(struct amp_cell *condition, struct amp_ticket **ticket);

/* 0 once called; -ETIMEDOUT, -EINTR. */
int amp_condition_sleep(struct amp_ticket *ticket, amp_time deadline, struct amp_what *what);

/* True when the ticket was called, if only just now. */
bool amp_condition_delist(struct amp_cell *condition, struct amp_ticket *ticket);

/* Calls up to n waiters, first come first; how many. */
uint32_t amp_condition_notify(struct amp_cell *condition, uint32_t n);

/* Burial: what a dead member's ticket for this condition leaves. */
void amp_condition_bury(struct amp_cell *condition, struct amp_ticket *ticket);

#endif
