/*
 * family: see family.h.
 */
#include "family.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Kinds.
 */

int
amp_semaphore_bind(struct amp_cell *cell, uint32_t limit)
{
    uint32_t run;
    size_t size = AMP_MEMBERS_MAX * sizeof(uint32_t);
    int failure = amp_arena_take(size, amp_cell_index(cell), &run);
    if (failure != 0)
        return failure;
    memset(amp_page_at(run), 0, size);
    cell->s_limit = limit;
    cell->s_held = run;
    return 0;
}

static bool
keep_none(uint32_t page, void *argument)
{
    (void) page, (void) argument;
    return false;
}

static void
bounded_end(struct amp_cell *cell)
{
    amp_arena_reclaim(amp_cell_index(cell), keep_none, NULL);
}

static void
bounded_bury(struct amp_cell *cell, uint32_t member)
{
    struct amp_semaphore semaphore = amp_semaphore_of(cell);
    amp_semaphore_bury(&semaphore, member);
}

static const struct amp_kind_operations bounded_operations = {
    .end = bounded_end,
    .bury = bounded_bury,
};

/* A condition carries its lock. */
static bool
condition_carries(struct amp_cell *cell, amp_handle handle)
{
    return cell->d_lock == handle;
}

static void
condition_end(struct amp_cell *cell)
{
    if (cell->d_lock != 0)
        amp_handle_doubt(cell->d_lock);
}

static const struct amp_kind_operations condition_operations = {
    .end = condition_end,
    .carries = condition_carries,
};

const struct amp_kind_operations *const amp_kinds[AMP_KINDS] = {
    [AMP_BOUNDED_SEMAPHORE] = &bounded_operations,
    [AMP_CONDITION] = &condition_operations,
    [AMP_QUEUE] = &amp_ring_operations,
    [AMP_PIPE_END] = &amp_pipe_end_operations,
    [AMP_ARRAY] = &amp_array_operations,
    [AMP_DICT] = &amp_dict_operations,
    [AMP_LIST] = &amp_dict_operations,
};

/*
 * Burial.
 */

static void
bury_tickets(uint32_t member)
{
    struct amp_ticket *tickets = amp_member_at(member)->m_tickets;
    for (int i = 0; i < AMP_TICKETS; i++) {
        uint32_t index = atomic_load_explicit(&tickets[i].t_cell, memory_order_acquire);
        if (index == 0)
            continue;
        struct amp_cell *cell = amp_cell_at(index);
        if (amp_cell_kind(cell) == AMP_CONDITION)
            amp_condition_bury(cell, &tickets[i]);
        else if (amp_cell_kind(cell) == AMP_BARRIER)
            amp_barrier_bury(cell, &tickets[i]);
    }
}

void (*const amp_burial_steps[])(uint32_t member) = {bury_tickets, amp_holders_bury, NULL};

/*
 * Members.
 */

static int
become_member(const char *name)
{
    uint32_t member;
    int failure = amp_member_reserve(name, &member);
    if (failure != 0)
        return failure;
    return amp_member_enter(member);
}

static __thread bool fork_is_ours;

void
amp_family_forking(bool under_way)
{
    fork_is_ours = under_way;
}

/* In the child of a fork that is not ours. What its parent held, the child holds as well: its copies of
   the parent's objects must stay good. Without a slot it can make no use of them. */
static void
adopt_child(void)
{
    if (fork_is_ours || amp_arena.base == NULL || amp_self.member == AMP_NOBODY)
        return;
    uint32_t parent = amp_self.member;
    char name[AMP_NAME_SIZE];
    amp_thread_enter();
    snprintf(name, sizeof name, "process %ld", (long) getpid());
    if (become_member(name) == 0)
        amp_holders_copy(parent, amp_self.member);
}

int
amp_family_join(const char *name)
{
    static bool prepared;
    if (amp_self.member != AMP_NOBODY)
        return 0;
    if (amp_self.tid == 0)
        amp_thread_enter();
    if (amp_arena.base == NULL) {
        if (!amp_lock_works())
            return -ENOTSUP;
        int failure = amp_arena_make(0);
        if (failure != 0)
            return failure;
        amp_roster_watch();
        if (!prepared)
            pthread_atfork(NULL, NULL, adopt_child);
        prepared = true;
    }
    return become_member(name);
}
