/*
 * roster: slots of the members, their life and their burial. See roster.h.
 */
#include "roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE(generation, phase) ((uint64_t) (generation) << 8 | (uint64_t) (phase))
#define BACKED_AT_ONCE 8 /* slots in a page */

/* Nothing that the roster's lock guards can be half done: a slot is taken by one store. But who died
   may have led the rover past a slot that is free. */
static struct amp_header *
enter(void)
{
    struct amp_header *h = amp_arena.header;
    if (amp_lock_enter(&h->h_roster_lock) == AMP_OWNER_DIED)
        h->h_members_rover = 0;
    return h;
}

static int
find_free(struct amp_header *h, uint32_t *index)
{
    uint32_t top = atomic_load_explicit(&h->h_members_top, memory_order_relaxed);
    /* The rover is a guess that a death can leave too high; with all slots used, it goes round. */
    for (uint32_t i = top == AMP_MEMBERS_MAX ? 0 : h->h_members_rover; i < top; i++) {
        if (amp_member_phase(amp_member_at(i)) == AMP_FREE) {
            h->h_members_rover = i + 1;
            *index = i;
            return 0;
        }
    }
    if (top == AMP_MEMBERS_MAX)
        return -EUSERS;
    if (top % BACKED_AT_ONCE == 0) {
        int failure = amp_arena_back(h->h_roster + (uint64_t) top * AMP_ROSTER_SLOT, AMP_PAGE);
        if (failure == 0)
            failure = amp_arena_back_rows(top, top + BACKED_AT_ONCE,
                                          atomic_load(&h->h_cells_top) + 1);
        if (failure != 0)
            return failure;
    }
    atomic_store_explicit(&h->h_members_top, top + 1, memory_order_release);
    h->h_members_rover = top + 1;
    *index = top;
    return 0;
}

void
amp_name_copy(char to[AMP_NAME_SIZE], const char *name)
{
    size_t length = strlen(name);
    if (length > AMP_NAME_SIZE - 1)
        length = AMP_NAME_SIZE - 1;
    memcpy(to, name, length);
    to[length] = '\0';
}

/* Fills in what a slot says from the beginning. Under the roster's lock; the slot is FREE. */
static void
fill_in(struct amp_member *m, const char *name)
{
    uint32_t parent = amp_self.member;
    uint32_t generation = parent == AMP_NOBODY ? 0 : amp_member_generation(amp_member_at(parent));
    /* relaxed: who looked at the slot's state too early looks again, under the recovery lock */
    atomic_store_explicit(&m->m_parent, parent, memory_order_relaxed);
    atomic_store_explicit(&m->m_parent_generation, generation, memory_order_relaxed);
    amp_name_copy(m->m_name, name);
    atomic_store_explicit(&m->m_pid, 0, memory_order_relaxed);
    atomic_store_explicit(&m->m_tid, 0, memory_order_relaxed);
    atomic_store_explicit(&m->m_status, 0, memory_order_relaxed);
}

int
amp_member_reserve(const char *name, uint32_t *index, uint32_t *generation)
{
    struct amp_header *h = enter();
    int failure = find_free(h, index);
    if (failure == 0) {
        struct amp_member *m = amp_member_at(*index);
        *generation = amp_member_generation(m);
        fill_in(m, name);
        atomic_store_explicit(&m->m_state, STATE(*generation, AMP_RESERVED), memory_order_release);
    }
    amp_lock_leave(&h->h_roster_lock);
    return failure;
}

/* The calling thread is the member of this slot, whose life lock it has. */
static void
become(uint32_t index)
{
    struct amp_member *m = amp_member_at(index);
    atomic_store_explicit(&m->m_pid, (uint32_t) getpid(), memory_order_relaxed);
    atomic_store_explicit(&m->m_tid, amp_self.tid, memory_order_relaxed);
    amp_self.member = index;
    amp_self.waiting = &m->m_waiting;
    amp_self.deaths = &amp_arena.header->h_deaths;
}

int
amp_member_enter(uint32_t index, uint32_t generation)
{
    struct amp_member *m = amp_member_at(index);
    uint64_t reserved = STATE(generation, AMP_RESERVED);
    if (atomic_load_explicit(&m->m_state, memory_order_acquire) != reserved)
        return -ESTALE;
    /* The life lock first: a LIVE slot without it counts as dead. Should another have it,
       that is a child of an earlier reservation, about to find out. */
    amp_lock_enter(&m->m_life);
    if (!atomic_compare_exchange_strong(&m->m_state, &reserved, STATE(generation, AMP_LIVE))) {
        amp_lock_leave(&m->m_life);
        return -ESTALE;
    }
    become(index);
    return 0;
}

int
amp_member_begin(const char *name)
{
    uint32_t index;
    struct amp_header *h = enter();
    int failure = find_free(h, &index);
    if (failure == 0) {
        struct amp_member *m = amp_member_at(index);
        fill_in(m, name);
        amp_lock_enter(&m->m_life);
        atomic_store_explicit(&m->m_state, STATE(amp_member_generation(m), AMP_LIVE),
                              memory_order_release);
        become(index);
    }
    amp_lock_leave(&h->h_roster_lock);
    return failure;
}

void
amp_member_leave(int status)
{
    uint32_t index = amp_self.member;
    if (index == AMP_NOBODY)
        return;
    struct amp_member *m = amp_member_at(index);
    uint32_t generation = amp_member_generation(m);
    atomic_store_explicit(&m->m_status, status, memory_order_relaxed);
    amp_self.member = AMP_NOBODY;
    amp_self.waiting = NULL;
    amp_lock_leave(&m->m_life);
    amp_member_bury(index, generation, false);
}

void
amp_member_end(bool goes_on)
{
    if (amp_self.member == AMP_NOBODY)
        return;
    amp_self.waiting = NULL;
    if (goes_on) {
        struct amp_member *m = amp_member_at(amp_self.member);
        amp_self.member = AMP_NOBODY;
        amp_lock_leave(&m->m_life);
        return;
    }
    /* What it wrote comes before its death, which is the kernel's write: pairs with
       amp_member_lives(). */
    atomic_thread_fence(memory_order_seq_cst);
}

/* Nobody holds the life lock. */
static bool
life_is_over(const struct amp_member *m)
{
    return (atomic_load_explicit(&m->m_life.l_word, memory_order_acquire) & FUTEX_TID_MASK) == 0;
}

bool
amp_member_lives(uint32_t index, uint32_t generation)
{
    const struct amp_member *m = amp_member_at(index);
    uint64_t state = atomic_load_explicit(&m->m_state, memory_order_acquire);
    if (state == STATE(generation, AMP_RESERVED))
        return true;
    return state == STATE(generation, AMP_LIVE) && !life_is_over(m);
}

bool
amp_member_watch(uint32_t index, uint32_t generation)
{
    struct amp_member *m = amp_member_at(index);
    for (int i = 0; i < AMP_LONG_SPIN; i++) {
        uint32_t word = atomic_load_explicit(&m->m_life.l_word, memory_order_acquire);
        if (!amp_member_lives(index, generation))
            return true;
        amp_spin(&m->m_life.l_word, word);
    }
    return false;
}

int
amp_member_join(uint32_t index, uint32_t generation, amp_time deadline)
{
    struct amp_member *m = amp_member_at(index);
    struct amp_what what = {
        .kind = AMP_JOINING,
        .follows = true,
        .cell = index,
        .generation = generation,
        .since = amp_now(), /* no spinning: a life is long */
    };
    while (amp_member_lives(index, generation)) {
        uint32_t word = atomic_load_explicit(&m->m_life.l_word, memory_order_acquire);
        if ((word & FUTEX_TID_MASK) == 0 && amp_member_phase(m) == AMP_LIVE)
            break;
        /* The kernel wakes one waiter of a dead owner's lock; its burial wakes the others. */
        int result = amp_wait(&m->m_life.l_word, word, FUTEX_WAITERS, deadline, &what);
        if (result < 0)
            return result;
    }
    amp_member_bury(index, generation, false);
    return 0;
}

amp_word *
amp_member_life(uint32_t index, uint32_t generation, uint32_t *value)
{
    amp_word *word = &amp_member_at(index)->m_life.l_word;
    uint32_t seen = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        if (!amp_member_lives(index, generation))
            return NULL;
        *value = seen | FUTEX_WAITERS;
        if (seen == *value || atomic_compare_exchange_strong(word, &seen, *value))
            return word;
    }
}

/* True when the slot's member is dead beyond doubt. A RESERVED slot is when its parent is, unless
   the child takes it first: the same compare-and-swap decides. */
static bool
is_dead(const struct amp_member *m, uint64_t state, bool reaped)
{
    if ((state & 0xff) == AMP_LIVE)
        return life_is_over(m);
    if ((state & 0xff) != AMP_RESERVED)
        return false;
    uint32_t parent = atomic_load_explicit(&m->m_parent, memory_order_relaxed);
    uint32_t its = atomic_load_explicit(&m->m_parent_generation, memory_order_relaxed);
    return reaped || (parent != AMP_NOBODY && !amp_member_lives(parent, its));
}

/* Lowers the top over free slots, so that a family that was large once does not look at all of
   them ever after. Their generations stay. */
static void
lower_top(void)
{
    struct amp_header *h = enter();
    uint32_t top = atomic_load_explicit(&h->h_members_top, memory_order_relaxed);
    while (top > 0 && amp_member_phase(amp_member_at(top - 1)) == AMP_FREE)
        top--;
    atomic_store_explicit(&h->h_members_top, top, memory_order_release);
    amp_lock_leave(&h->h_roster_lock);
}

/* No object has them any more, but others may be looking through all tickets. */
static void
free_tickets(struct amp_member *m)
{
    for (int i = 0; i < AMP_TICKETS; i++) {
        atomic_store_explicit(&m->m_tickets[i].t_cell, 0, memory_order_relaxed);
        atomic_store_explicit(&m->m_tickets[i].t_word, AMP_TICKET_IDLE, memory_order_relaxed);
    }
}

void
amp_member_bury(uint32_t index, uint32_t generation, bool reaped)
{
    struct amp_header *h = amp_arena.header;
    struct amp_member *m = amp_member_at(index);
    uint64_t state = atomic_load_explicit(&m->m_state, memory_order_acquire);
    if (state >> 8 != generation || !is_dead(m, state, reaped))
        return;
    if (amp_lock_enter(&h->h_recovery_lock) == AMP_OWNER_DIED) /* its steps can be done again */
        h->h_members_rover = 0;
    state = atomic_load_explicit(&m->m_state, memory_order_acquire);
    bool is_ours = state >> 8 == generation && is_dead(m, state, reaped);
    if (is_ours && (state & 0xff) == AMP_RESERVED) /* unless it is born in this moment */
        is_ours = atomic_compare_exchange_strong(&m->m_state, &state, STATE(generation, AMP_LIVE));
    if (is_ours) {
        for (int i = 0; amp_burial_steps[i] != NULL; i++)
            amp_burial_steps[i](index);
        free_tickets(m);
        atomic_store_explicit(&m->m_waiting.w_kind, 0, memory_order_relaxed);
        atomic_store_explicit(&m->m_waiting.w_serial, /* even, whatever it died in */
                              (m->m_waiting.w_serial + 2) & ~1u, memory_order_relaxed);
        atomic_store_explicit(&m->m_pin, 0, memory_order_relaxed);
        atomic_store_explicit(&m->m_handling, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&h->h_deaths, 1, memory_order_release); /* pairs with note_sleep() */
        atomic_store_explicit(&m->m_state, STATE(generation + 1, AMP_FREE), memory_order_release);
        if (index < h->h_members_rover)
            h->h_members_rover = index; /* a guess, not under its lock */
        if (index + 1 == amp_members_top())
            lower_top();
        /* The kernel, or the release, has woken one who joins. Nobody sets the flag on a life that
           is over. */
        if (atomic_load(&m->m_life.l_word) & FUTEX_WAITERS)
            amp_futex.wake(&m->m_life.l_word, AMP_WAKE_ALL);
    }
    amp_lock_leave(&h->h_recovery_lock);
}

void
amp_roster_sweep(void)
{
    uint32_t top = amp_members_top();
    for (uint32_t i = 0; i < top; i++) {
        struct amp_member *m = amp_member_at(i);
        uint64_t state = atomic_load_explicit(&m->m_state, memory_order_acquire);
        if (is_dead(m, state, false))
            amp_member_bury(i, (uint32_t) (state >> 8), false);
    }
}

uint32_t
amp_member_of_thread(uint32_t tid)
{
    uint32_t top = amp_members_top();
    for (uint32_t i = 0; i < top; i++) {
        struct amp_member *m = amp_member_at(i);
        if (atomic_load_explicit(&m->m_tid, memory_order_relaxed) == tid &&
            amp_member_phase(m) == AMP_LIVE && !life_is_over(m))
            return i;
    }
    return AMP_NOBODY;
}

void
amp_member_name(uint32_t index, char name[AMP_NAME_SIZE])
{
    struct amp_header *h = enter();
    memcpy(name, amp_member_at(index)->m_name, AMP_NAME_SIZE);
    amp_lock_leave(&h->h_roster_lock);
}

bool
amp_member_waiting(uint32_t index, struct amp_what *what, struct amp_sleep *sleep)
{
    /* Pairs with publish() of wait.c: even, read, still the same. */
    struct amp_waiting *w = &amp_member_at(index)->m_waiting;
    uint32_t serial = atomic_load_explicit(&w->w_serial, memory_order_acquire);
    *what = (struct amp_what) {
        .kind = atomic_load_explicit(&w->w_kind, memory_order_relaxed),
        .cell = atomic_load_explicit(&w->w_cell, memory_order_relaxed),
        .generation = atomic_load_explicit(&w->w_generation, memory_order_relaxed),
        .lock = atomic_load_explicit(&w->w_lock, memory_order_relaxed),
        .follows = atomic_load_explicit(&w->w_follows, memory_order_relaxed),
        .is_idle = atomic_load_explicit(&w->w_is_idle, memory_order_relaxed),
        .since = atomic_load_explicit(&w->w_since, memory_order_relaxed),
    };
    if (sleep != NULL) {
        *sleep = (struct amp_sleep) {
            .deaths = atomic_load_explicit(&w->w_deaths, memory_order_relaxed),
            .is_closed = atomic_load_explicit(&w->w_is_closed, memory_order_relaxed),
            .began = atomic_load_explicit(&w->w_began, memory_order_relaxed),
            .looked = atomic_load_explicit(&w->w_looked, memory_order_relaxed),
        };
    }
    atomic_thread_fence(memory_order_acquire);
    return !(serial & 1) && what->kind != 0 &&
           atomic_load_explicit(&w->w_serial, memory_order_relaxed) == serial;
}

struct amp_ticket *
amp_ticket_free(void)
{
    struct amp_ticket *tickets = amp_member_at(amp_self.member)->m_tickets;
    for (int i = 0; i < AMP_TICKETS; i++) {
        if (atomic_load_explicit(&tickets[i].t_cell, memory_order_relaxed) == 0)
            return &tickets[i];
    }
    return NULL;
}

void
amp_ticket_call(struct amp_ticket *ticket)
{
    uint32_t waiting = AMP_TICKET_WAITING;
    /* release: what the caller did before is seen by who returns from the wait */
    if (!atomic_compare_exchange_strong_explicit(&ticket->t_word, &waiting, AMP_TICKET_CALLED,
                                                 memory_order_release, memory_order_relaxed)) {
        atomic_thread_fence(memory_order_seq_cst);
        amp_futex.set_and_wake(&ticket->t_word, AMP_TICKET_CALLED, AMP_WAKE_ALL);
    }
}

void
amp_tickets_each(uint32_t cell, void (*visit)(struct amp_ticket *ticket, void *argument),
                 void *argument)
{
    uint32_t top = amp_members_top();
    for (uint32_t i = 0; i < top; i++) {
        struct amp_ticket *tickets = amp_member_at(i)->m_tickets;
        for (int k = 0; k < AMP_TICKETS; k++) {
            if (amp_ticket_waits(&tickets[k], cell))
                visit(&tickets[k], argument);
        }
    }
}

static struct amp_edge
edge_of(uint32_t member, const struct amp_what *what)
{
    uint32_t owner = what->lock != 0 ? amp_lock_owner(amp_at(what->lock)) : 0;
    return (struct amp_edge) {
        .member = member,
        .what = *what,
        .holder = owner != 0 ? amp_member_of_thread(owner) : AMP_NOBODY,
    };
}

/* The chain from `what`: how many edges until it comes back to us, or 0. */
static unsigned
follow(const struct amp_what *what, struct amp_edge *chain)
{
    struct amp_what next = *what;
    uint32_t member = amp_self.member;
    for (unsigned n = 0; n < AMP_EDGES_MAX; n++) {
        chain[n] = edge_of(member, &next);
        member = chain[n].holder;
        if (member == AMP_NOBODY)
            return 0;
        if (member == amp_self.member)
            return n + 1;
        if (!amp_member_waiting(member, &next, NULL))
            return 0;
    }
    return 0;
}

/* A cycle of locks, with the calling thread in it. */
static bool
is_cycle(const struct amp_what *what, struct amp_deadlock *deadlock)
{
    struct amp_edge *chain = deadlock->edges, again[AMP_EDGES_MAX];
    unsigned length = follow(what, chain);
    /* Every one in the cycle sleeps, so a cycle that stands a second look, with the same waits
       since the same times, is real. */
    if (length == 0 || follow(what, again) != length)
        return false;
    for (unsigned i = 0; i < length; i++) {
        if (again[i].member != chain[i].member || again[i].what.lock != chain[i].what.lock ||
            again[i].what.since != chain[i].what.since)
            return false;
    }
    deadlock->members = 0;
    deadlock->length = length;
    return true;
}

/*
 * No member can go on: each waits for what only members can do, and has looked for it in vain since the last
 * of them did anything, or ended. Who has not looked again, because it was stopped, or has no processor,
 * may have been woken by then. That all are read one after the other does no harm: what they wait for was not
 * there when all of them were asleep, and nobody was left to bring it.
 *
 * One of them is told, and its end, or what it does then, may help the others. Not an idle one, which has
 * nothing to do with it; nor one that follows others, as long as there is one that does not.
 */
static bool
is_standstill(const struct amp_what *what, struct amp_deadlock *deadlock)
{
    amp_time began = 0, looked = AMP_FOREVER;
    unsigned followers = 0, deaths = 0, top = amp_members_top();
    deadlock->members = deadlock->length = 0;
    if (what->is_idle)
        return false;
    for (uint32_t i = 0; i < top; i++) {
        const struct amp_member *m = amp_member_at(i);
        enum amp_phase phase = amp_member_phase(m);
        struct amp_what its = *what;
        struct amp_sleep sleep = amp_self.sleep;
        if (phase == AMP_FREE)
            continue;
        if (phase != AMP_LIVE || life_is_over(m))
            return false;
        if (i != amp_self.member && !amp_member_waiting(i, &its, &sleep))
            return false;
        if (!sleep.is_closed || (its.kind == AMP_JOINING && !amp_member_lives(its.cell, its.generation)))
            return false;
        began = sleep.began > began ? sleep.began : began;
        looked = sleep.looked < looked ? sleep.looked : looked;
        if (deadlock->members++ == 0)
            deaths = sleep.deaths;
        else if (sleep.deaths != deaths)
            return false;
        if (its.is_idle || deadlock->length == AMP_EDGES_MAX)
            continue;
        followers += its.follows;
        deadlock->edges[deadlock->length++] = edge_of(i, &its);
    }
    if (atomic_load_explicit(&amp_arena.header->h_deaths, memory_order_relaxed) != deaths)
        return false;
    return looked > began && (!what->follows || followers == deadlock->length);
}

bool
amp_roster_deadlock(const struct amp_what *what, struct amp_deadlock *deadlock)
{
    return amp_self.member != AMP_NOBODY &&
           (is_cycle(what, deadlock) || (amp_self.sleep.is_closed && is_standstill(what, deadlock)));
}

/* Not in the thread's own storage: a library that is loaded late has little of that. */
static __thread struct amp_deadlock *last_deadlock;

const struct amp_deadlock *
amp_roster_last_deadlock(void)
{
    return last_deadlock;
}

void
amp_roster_thread_leave(void)
{
    free(last_deadlock);
    last_deadlock = NULL;
}

/* Of its own, as it has two pages on the stack, which most members never need. */
__attribute__((noinline)) static int
look_for_deadlock(const struct amp_what *what)
{
    struct amp_deadlock deadlock;
    if (!amp_roster_deadlock(what, &deadlock))
        return 0;
    if (last_deadlock == NULL)
        last_deadlock = malloc(sizeof *last_deadlock);
    if (last_deadlock == NULL)
        return 0;
    *last_deadlock = deadlock;
    return -EDEADLK;
}

static int
look_around(const struct amp_what *what)
{
    if (amp_arena.base == NULL)
        return 0;
    amp_roster_sweep();
    for (int i = 0; amp_slice_steps[i] != NULL; i++)
        amp_slice_steps[i]();
    return amp_now() - what->since < AMP_SUSPICION ? 0 : look_for_deadlock(what);
}

void
amp_roster_watch(void)
{
    amp_look_around = look_around;
}
