/*
 * family: the whole. Brings the arena, the first member and the kinds of objects together; what the
 * parts below need of each other is tied here.
 */
#ifndef AMP_FAMILY_H
#define AMP_FAMILY_H

#include "barrier.h"
#include "condition.h"
#include "dict.h"
#include "endpoint.h"
#include "event.h"
#include "ring.h"
#include "semaphore.h"
#include "value.h"

/* Makes the calling thread a member of this process's family, and makes the family first if there
   is none. Called before the first object; cheap when done already. It leaves when it ends. 0; -ENOTSUP when this kernel
   does not do for dead owners of locks what luamp relies on; or the failure of what could not be
   had. */
int amp_family_join(const char *name);

/* The last thing that a thread does with the core: it is a member no more, as by amp_member_leave,
   and the memory that the core has for it is freed. What it holds of locks goes to the next owner,
   who is told, once the thread has ended. */
void amp_family_leave(int status);

/* The same for a thread that ends at once, its life with it, or that goes on as another member and
   holds no lock. Whoever joins or sweeps buries it. See amp_member_end. */
void amp_family_end(bool goes_on);

/* Told by amp_spawn: a fork of ours is under way. A fork by anybody else makes the child a member
   of its own right, which holds what its parent held. */
void amp_family_forking(bool under_way);

/* The primitives of a cell. */
static inline struct amp_semaphore
amp_semaphore_of(struct amp_cell *cell)
{
    bool bounded = cell->s_held != 0;
    return (struct amp_semaphore) {
        .releasers = &cell->c_lock0,
        .role = &cell->c_lock1,
        .permits = &cell->s_permits,
        .held = bounded ? amp_page_at(cell->s_held) : NULL,
        .members = &amp_arena.header->h_members_top,
        .limit = cell->s_limit,
    };
}

/* Gives a bounded semaphore its counts: 0 or -ENOMEM. */
int amp_semaphore_bind(struct amp_cell *cell, uint32_t limit);

static inline struct amp_event
amp_event_of(struct amp_cell *cell)
{
    return (struct amp_event) {.setters = &cell->c_lock0, .word = &cell->e_word};
}

#endif
