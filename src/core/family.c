/*
 * family: see family.h.
 */
#include "family.h"

#include <pthread.h>
#include <string.h>

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
        amp_handle_doubt(cell, cell->d_lock);
}

static const struct amp_kind_operations condition_operations = {
    .end = condition_end,
    .carries = condition_carries,
};

const struct amp_kind_operations *const amp_kinds[AMP_KINDS] = {
    [AMP_BOUNDED_SEMAPHORE] = &bounded_operations,
    [AMP_CONDITION] = &condition_operations,
    [AMP_BARRIER] = &amp_barrier_operations,
    [AMP_QUEUE] = &amp_ring_operations,
    [AMP_PIPE_END] = &amp_pipe_end_operations,
    [AMP_ARRAY] = &amp_array_operations,
    [AMP_DICT] = &amp_dict_operations,
    [AMP_LIST] = &amp_dict_operations,
    [AMP_SOCKET] = &amp_socket_operations,
    [AMP_LISTENER] = &amp_listener_operations,
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
void (*const amp_slice_steps[])(void) = {amp_endpoints_settle, NULL};

/*
 * Members.
 */

static __thread bool fork_is_ours;

void
amp_family_forking(bool under_way)
{
    fork_is_ours = under_way;
}

/*
 * A fork that is not ours: by an embedding program, or a library. What the parent holds, the
 * child holds as well, since it has copies of the parent's objects. So a slot is reserved for it,
 * as amp_spawn does, and what it will hold is noted before the fork. A child that goes on to exec
 * counts as dead from then on.
 */
static __thread struct {
    uint32_t member, generation;
    bool is_reserved;
} adopted;

static void
before_fork(void)
{
    adopted.is_reserved = false;
    if (fork_is_ours || amp_arena.base == NULL || amp_self.member == AMP_NOBODY)
        return;
    const char *name = amp_member_at(amp_self.member)->m_name;
    if (amp_member_reserve(name, &adopted.member, &adopted.generation) != 0)
        return;
    amp_holders_copy(amp_self.member, adopted.member);
    adopted.is_reserved = true;
}

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER; /* of the family */

static void
in_child(void)
{
    making = (pthread_mutex_t) PTHREAD_MUTEX_INITIALIZER; /* another thread may have had it */
    if (fork_is_ours || amp_arena.base == NULL)
        return;
    amp_thread_enter();
    if (adopted.is_reserved)
        amp_member_enter(adopted.member, adopted.generation);
}

/* The calling thread is its first member. */
static int
make_family(const char *name)
{
    static bool is_watching_forks;
    int failure = amp_lock_try_kernel();
    if (failure == 0 && !is_watching_forks)
        failure = -pthread_atfork(before_fork, NULL, in_child);
    if (failure != 0)
        return failure;
    is_watching_forks = true;
    failure = amp_arena_make(0);
    if (failure != 0)
        return failure;
    amp_roster_watch();
    failure = amp_member_begin(name);
    if (failure != 0)
        amp_arena_drop(); /* nobody else has seen it */
    return failure;
}

/* A thread that is not ours, and joined, may end without a word. */
static pthread_key_t ends;
static pthread_once_t ends_once = PTHREAD_ONCE_INIT;
static bool has_ends;

static void
thread_ends(void *unused)
{
    (void) unused;
    amp_family_leave(0);
}

static void
make_ends(void)
{
    has_ends = pthread_key_create(&ends, thread_ends) == 0;
}

int
amp_family_join(const char *name)
{
    if (amp_self.member != AMP_NOBODY)
        return 0;
    if (amp_self.tid == 0)
        amp_thread_enter();
    pthread_mutex_lock(&making);
    bool is_there = amp_arena.base != NULL;
    int failure = is_there ? 0 : make_family(name);
    pthread_mutex_unlock(&making);
    if (is_there)
        failure = amp_member_begin(name);
    pthread_once(&ends_once, make_ends);
    if (failure == 0 && has_ends)
        pthread_setspecific(ends, &ends);
    return failure;
}

/* What the core has of the calling thread's, besides its slot. */
static void
forget_thread(void)
{
    amp_handle_thread_leave();
    amp_ring_thread_leave();
    amp_roster_thread_leave();
    amp_lock_thread_leave();
}

void
amp_family_leave(int status)
{
    amp_member_leave(status);
    forget_thread();
}

void
amp_family_end(bool goes_on)
{
    amp_member_end(goes_on);
    forget_thread();
}
