/*
 * roster: the members of the family.
 *
 * A member is a thread that takes part: the one thread of a forked child, or one of several that
 * a process has. Each has a slot, which says who it is, what it waits for, where it stands in
 * conditions and barriers, and whether it lives: its life lock is held from its first act to its
 * last, so that the kernel itself marks the death, however it comes.
 *
 * The state of a slot is one word, generation and phase:
 *
 *    FREE --reserve, by the parent--> RESERVED --enter, by the child--> LIVE --bury--> FREE, next
 *    gen.
 *
 * A reserved slot whose child will never come is buried as well: first it is made LIVE, without
 * anybody holding its life lock, so that a child which comes after all finds it taken.
 *
 * A slot is reserved before the fork, and all that the child will hold is noted in its name
 * first; so whatever dies when, somebody can tell what was whose. A LIVE slot whose life lock
 * nobody holds is dead; anyone may bury it, one at a time (the recovery lock), by the same
 * idempotent steps in the same order; a burier that dies is followed by another that begins
 * again. A member that leaves in good order buries itself.
 *
 * Who looks for the dead: whoever waits, at the end of each slice; whoever reaps a child; whoever
 * makes a member.
 */
#ifndef AMP_ROSTER_H
#define AMP_ROSTER_H

#include "arena.h"

#include <sys/types.h>

enum amp_phase {
    AMP_FREE,
    AMP_RESERVED,
    AMP_LIVE,
};

#define AMP_NAME_SIZE 64
#define AMP_TICKETS 4 /* waits that a member can have open: a signal's handler may wait too */

/* Where a member stands in a condition or a barrier. `t_word` is what it sleeps on. Written by the
   member, and by whoever wakes it, under the object's own lock. */
struct amp_ticket {
    amp_word t_word;          /* enum amp_ticket_state */
    _Atomic uint32_t t_cell;  /* the condition or barrier; 0: ticket not in use */
    uint32_t t_number;        /* a condition: order of arrival. A barrier: its round */
    uint32_t t_place;         /* a barrier: the party's number in the round */
};

enum amp_ticket_state {
    AMP_TICKET_IDLE = 0,
    AMP_TICKET_WAITING = 1,
    AMP_TICKET_CALLED = 2, /* notified; a broken barrier */
    AMP_TICKET_ASLEEP = 4, /* flag beside WAITING: to call is to wake */
};

struct amp_member {                  /* 512 bytes; see AMP_ROSTER_SLOT */
    struct amp_lock m_life;          /* held by the member while it lives */
    _Atomic uint64_t m_state;        /* generation << 8 | phase */
    _Atomic uint32_t m_pid;          /* set by the member when it enters; of a thread, when it is reserved */
    _Atomic uint32_t m_tid;
    _Atomic uint32_t m_parent;       /* slot of who reserved it; the same for its generation */
    _Atomic uint32_t m_parent_generation;
    _Atomic int32_t m_status;        /* how it ended, by its own word: for who looks */
    _Atomic uint32_t m_handling;     /* in the middle of making or dropping objects; see handle.c */
    _Atomic uint32_t m_pin;          /* run of pages that it reads in place; see ring.c */
    uint32_t m_spare;
    struct amp_waiting m_waiting;
    struct amp_ticket m_tickets[AMP_TICKETS];
    char m_name[AMP_NAME_SIZE];      /* set by who reserves it, under the roster's lock; see
                                        amp_member_name() */
};

_Static_assert(sizeof(struct amp_member) <= AMP_ROSTER_SLOT, "a member fits its slot");

/* What a burial consists of, besides the slot: set once, in fixed order, by family.c. */
extern void (*const amp_burial_steps[])(uint32_t member);

/* What a process looks at besides deaths, at the end of each slice of a wait: as well. */
extern void (*const amp_slice_steps[])(void);

static inline struct amp_member *
amp_member_at(uint32_t index)
{
    return amp_at(amp_arena.header->h_roster + (uint64_t) index * AMP_ROSTER_SLOT);
}

static inline uint32_t
amp_member_generation(const struct amp_member *member)
{
    return (uint32_t) (atomic_load_explicit(&member->m_state, memory_order_acquire) >> 8);
}

static inline enum amp_phase
amp_member_phase(const struct amp_member *member)
{
    return (enum amp_phase) (atomic_load_explicit(&member->m_state, memory_order_acquire) & 0xff);
}

/* Slots from this on are free. */
static inline uint32_t
amp_members_top(void)
{
    return atomic_load_explicit(&amp_arena.header->h_members_top, memory_order_acquire);
}

/* Takes a free slot in the caller's name: 0, -ENOMEM, or -EUSERS (AMP_MEMBERS_MAX live). */
int amp_member_reserve(const char *name, uint32_t *index, uint32_t *generation);

/* The calling thread becomes the member whose slot was reserved for it. 0; -ESTALE when the slot
   has been taken back, because its parent died: the caller must not go on. */
int amp_member_enter(uint32_t index, uint32_t generation);

/* The calling thread becomes a member that nobody has reserved a slot for. Failures as of
   amp_member_reserve. */
int amp_member_begin(const char *name);

/* The calling thread is a member no more. `status` is left in its slot. */
void amp_member_leave(int status);

/* The calling thread is a member no more, and does nothing more with objects. Who joins it, or
   sweeps, buries it. Unless it goes on, its life ends when it does: the kernel tells. One that goes
   on, maybe as another member, holds no lock. */
void amp_member_end(bool goes_on);

/* True when the slot is of this generation and its member lives (or is being born). */
bool amp_member_lives(uint32_t index, uint32_t generation);

/* Spins until that is no longer so, for a short thread's life at most: true when it has ended. For
   who joins a thread; a process lives longer. */
bool amp_member_watch(uint32_t index, uint32_t generation);

/* Waits until that is no longer so: 0, -ETIMEDOUT, -EINTR, -EDEADLK. */
int amp_member_join(uint32_t index, uint32_t generation, amp_time deadline);

/* For a wait on several: the word that changes when the member dies, its flag for sleepers set,
   and its value. NULL when it is dead. */
amp_word *amp_member_life(uint32_t index, uint32_t generation, uint32_t *value);

/* Recovers what a dead member had; no-op when it lives. `reaped` says that the caller knows its
   process to be gone, which a RESERVED slot cannot tell by itself. */
void amp_member_bury(uint32_t index, uint32_t generation, bool reaped);

/* Buries all that are dead. */
void amp_roster_sweep(void);

/* The live member with this thread id, or AMP_NOBODY. */
uint32_t amp_member_of_thread(uint32_t tid);

/* What the slot's member is called: a copy, since it may end now and another take its slot. */
void amp_member_name(uint32_t index, char name[AMP_NAME_SIZE]);

/* A name that is too long is cut. Not by snprintf: a child that calls it has four pages more to map. */
void amp_name_copy(char to[AMP_NAME_SIZE], const char *name);

/* A consistent copy of what a member waits for, and of how it sleeps unless that is NULL; false when
   it does not wait, or not long enough to be read. */
bool amp_member_waiting(uint32_t index, struct amp_what *what, struct amp_sleep *sleep);

/* Who waits for what; and of a lock, who holds it, or AMP_NOBODY. */
struct amp_edge {
    uint32_t member;
    struct amp_what what;
    uint32_t holder;
};

#define AMP_EDGES_MAX 64

/* Why a wait can never end. Either its thread is in a cycle of locks, each waited for by one and held
   by the next: `edges` begins with the thread's own. Or no member can go on, whatever they wait for:
   then `members` is how many there are, and `edges` has those of them who are not idle. */
struct amp_deadlock {
    unsigned members; /* 0: a cycle of locks */
    unsigned length;
    struct amp_edge edges[AMP_EDGES_MAX];
};

/* Whether the wait of the calling thread, which `what` describes, can never end, and why. */
bool amp_roster_deadlock(const struct amp_what *what, struct amp_deadlock *deadlock);

/* That for which a wait of the calling thread last gave -EDEADLK, or NULL. Its members may have gone
   their ways since. */
const struct amp_deadlock *amp_roster_last_deadlock(void);

/* The calling thread ends, or will not ask for the deadlock any more: it is forgotten. */
void amp_roster_thread_leave(void);

/* A ticket of the calling thread that is not in use, or NULL when all are. */
struct amp_ticket *amp_ticket_free(void);

/* True when the ticket waits for this object. */
static inline bool
amp_ticket_waits(const struct amp_ticket *ticket, uint32_t cell)
{
    return atomic_load_explicit(&ticket->t_cell, memory_order_acquire) == cell &&
           (atomic_load_explicit(&ticket->t_word, memory_order_relaxed) & ~AMP_TICKET_ASLEEP) ==
               AMP_TICKET_WAITING;
}

/* From waiting to called; wakes in the same step who sleeps on it. Under the object's lock. */
void amp_ticket_call(struct amp_ticket *ticket);

/* Calls visit() for every ticket that waits for this object, of members that have not been
   buried. */
void amp_tickets_each(uint32_t cell, void (*visit)(struct amp_ticket *ticket, void *argument),
                      void *argument);

/* Sets amp_look_around. */
void amp_roster_watch(void);

#endif
