/*
 * barrier: a place where so many parties meet.
 *
 * The rounds are counted by a commit word, on which those who arrived sleep; the last one opens
 * the round with the one step that wakes all. Each party has a ticket in its member's slot with
 * the round that it waits in. A barrier breaks (a party's time ran out, abort, a party died) by
 * calling the tickets of the round, which tells their owners, and going to the next round, which
 * wakes them. It stays broken until reset.
 *
 * The tickets are the truth. `b_arrived` is derived from them, and so derived again when the
 * owner of the barrier's lock died; a break that was begun is finished then, at the latest by the
 * burial of who had begun it: it may have had no ticket, only the object. The places of those
 * who wait are 1 ... b_arrived: who withdraws leaves its own to the one with the last. Should it
 * die in the middle of that, two have one place, but its own ticket is still there, and its burial
 * breaks the round.
 *
 * The last party may run an action before it opens the round: meanwhile it is the round's runner,
 * and a party that comes now waits for the next round.
 */
#ifndef AMP_BARRIER_H
#define AMP_BARRIER_H

#include "handle.h"

#define AMP_BARRIER_LAST 1

void amp_barrier_init(struct amp_cell *barrier, uint32_t parties);

/* Arrives. 0, or AMP_BARRIER_LAST: the caller opens the round, by amp_barrier_open. When the round
   is open, t_place of the ticket is the party's place, 1 ... parties. -EPIPE: broken. -EAGAIN: as amp_condition_enlist. -ETIMEDOUT, -EINTR: while the
   round before was not open yet. */
int amp_barrier_arrive(struct amp_cell *barrier, amp_time deadline, struct amp_what *what,
                       struct amp_ticket **ticket);

/* The last party's: 0; -EPIPE when the barrier was broken meanwhile. The ticket is given back. */
int amp_barrier_open(struct amp_cell *barrier, struct amp_ticket *ticket);

/* 0 when the round is open, -EPIPE when it was broken, -ETIMEDOUT when the caller's own time ran
   out, which breaks it: with these the ticket is given back. -EINTR: it is not; call again or
   withdraw. */
int amp_barrier_sleep(struct amp_cell *barrier, struct amp_ticket *ticket, amp_time deadline,
                      struct amp_what *what);

/* Undoes the arrival, if the round is not full: another may get its place. */
void amp_barrier_withdraw(struct amp_cell *barrier, struct amp_ticket *ticket);

void amp_barrier_abort(struct amp_cell *barrier);
void amp_barrier_reset(struct amp_cell *barrier);

/* Parties that wait now. */
uint32_t amp_barrier_waiting(const struct amp_cell *barrier);

void amp_barrier_bury(struct amp_cell *barrier, struct amp_ticket *ticket);

extern const struct amp_kind_operations amp_barrier_operations;

#endif
