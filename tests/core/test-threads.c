/*
 * Threads as members: every object of the core between threads of one process, each a member with a
 * slot of its own; and threads that end while they hold something. Under the thread sanitizer this
 * is the test that no data race is left; in every build it checks sums.
 */
#include "objects.h"

#include <malloc.h>

#define THREADS 4
#if defined(__SANITIZE_THREAD__)
#define ROUNDS 500
#else
#define ROUNDS 3000
#endif

/*
 * Threads.
 */

struct thread {
    pthread_t id;
    int (*function)(int index);
    int index;
    int status;
    bool is_reserved; /* by who starts it, as a process reserves its child's slot */
    bool goes_quietly; /* not even leaves its slot: as one that is killed */
    uint32_t member, generation;
};

static void *
thread_run(void *argument)
{
    struct thread *self = argument;
    amp_thread_enter();
    if (self->is_reserved)
        self->status = amp_member_enter(self->member, self->generation);
    else
        self->status = amp_member_begin("thread");
    if (self->status != 0)
        return NULL;
    self->status = self->function(self->index);
    if (self->goes_quietly)
        amp_lock_thread_leave();
    else
        amp_family_leave(self->status);
    return NULL;
}

static void
thread_start(struct thread *thread)
{
    if (thread->is_reserved) {
        tap_need(amp_member_reserve("reserved", &thread->member, &thread->generation) == 0);
        amp_holders_copy(amp_self.member, thread->member);
    }
    tap_need(pthread_create(&thread->id, NULL, thread_run, thread) == 0);
}

/* Runs the function in `n` threads, every other one in a slot that was reserved for it: how many
   did not return 0. */
static int
together(int n, int (*function)(int index))
{
    struct thread threads[TAP_WORKERS_MAX];
    int failed = 0;
    for (int i = 0; i < n; i++) {
        threads[i] = (struct thread) {.function = function, .index = i, .is_reserved = i % 2};
        thread_start(&threads[i]);
    }
    for (int i = 0; i < n; i++) {
        if (threads[i].is_reserved)
            failed += amp_member_join(threads[i].member, threads[i].generation,
                                      amp_now() + TAP_PATIENCE) != 0;
        pthread_join(threads[i].id, NULL);
        failed += threads[i].status != 0;
    }
    return failed;
}

/* Runs the function in a thread to its end: what it returned. */
static int
alone(int (*function)(int index), bool goes_quietly)
{
    struct thread thread = {.function = function, .is_reserved = true,
                            .goes_quietly = goes_quietly};
    thread_start(&thread);
    pthread_join(thread.id, NULL);
    return thread.status;
}

static amp_time
soon(void)
{
    return amp_now() + TAP_PATIENCE;
}

static struct amp_cell *object; /* what the threads of a test share */
static struct amp_cell *another;
static long plain;              /* guarded by the object, and by nothing else */
static _Atomic int counted;

/*
 * Under contention.
 */

static int
add_under_lock(int index)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct amp_what what = {.kind = AMP_LOCK, .cell = amp_cell_index(object)};
        int result;
        switch ((i + index) % 4) {
        case 0:
            while ((result = amp_lock_try(&object->c_lock0)) == -EBUSY)
                sched_yield();
            break;
        case 1: /* times run out in the middle of it all */
            while ((result = amp_lock_acquire(&object->c_lock0, amp_now() + AMP_MILLISECOND / 20,
                                              &what)) == -ETIMEDOUT)
                ;
            break;
        default:
            result = amp_lock_acquire(&object->c_lock0, soon(), &what);
        }
        if (result != 0)
            return 1;
        /* As the module's RLock does it. */
        object->c_lock0.l_depth++;
        plain++;
        object->c_lock0.l_depth--;
        amp_lock_leave(&object->c_lock0);
    }
    return 0;
}

static void
test_lock(void)
{
    object = tap_object(AMP_RLOCK, "lock");
    plain = 0;
    is(together(THREADS, add_under_lock), 0, "threads take a lock in all ways, and none fails");
    is(plain, THREADS * ROUNDS, "and what they add under it is all there");
    is(object->c_lock0.l_depth, 0, "its depth is as it was");
    is(amp_lock_owner(&object->c_lock0), 0, "it is free");
    tap_unhold(object);
}

static int
add_with_permit(int index)
{
    (void) index;
    struct amp_semaphore semaphore = amp_semaphore_of(object);
    for (int i = 0; i < ROUNDS; i++) {
        struct amp_what what = {.kind = amp_cell_kind(object), .cell = amp_cell_index(object)};
        if (amp_semaphore_acquire(&semaphore, soon(), &what) != 0)
            return 1;
        plain++;
        if (amp_semaphore_release(&semaphore) != 0)
            return 2;
    }
    return 0;
}

static void
test_semaphores(void)
{
    object = tap_object(AMP_SEMAPHORE, "semaphore");
    atomic_store(&object->s_permits, 1 << 1);
    plain = 0;
    is(together(THREADS, add_with_permit), 0, "threads pass a permit on");
    is(plain, THREADS * ROUNDS, "who has it is alone");
    tap_unhold(object);

    struct amp_cell *bounded;
    tap_need(amp_cell_make(AMP_BOUNDED_SEMAPHORE, "bounded", &bounded) == 0);
    tap_need(amp_semaphore_bind(bounded, 1) == 0);
    atomic_store(&bounded->s_permits, 1 << 1);
    amp_cell_ready(bounded);
    object = bounded;
    plain = 0;
    is(together(THREADS, add_with_permit), 0, "threads pass a bounded semaphore's permit on");
    is(plain, THREADS * ROUNDS, "who has it is alone, too");
    struct amp_semaphore semaphore = amp_semaphore_of(bounded);
    is(amp_semaphore_value(&semaphore), 1, "it is there in the end");
    is(amp_semaphore_release(&semaphore), -EOVERFLOW, "and only once");
    tap_unhold(bounded);
}

/* Even threads set and clear; odd ones wait for what is published before each set. */
static int
pulse(int index)
{
    struct amp_event event = amp_event_of(object);
    if (index == 0) {
        for (int i = 0; i < ROUNDS / 10; i++) {
            plain = i; /* nobody reads it before the last set */
            amp_event_set(&event);
            amp_event_clear(&event);
        }
        plain = -1;
        amp_event_set(&event);
        return 0;
    }
    for (;;) {
        struct amp_what what = {.kind = AMP_EVENT, .cell = amp_cell_index(object)};
        if (amp_event_wait(&event, soon(), &what) != 0)
            return 1;
        struct amp_event last = amp_event_of(another);
        if (amp_event_is_set(&last))
            return plain != -1;
        if (amp_event_is_set(&event) && atomic_load(&counted))
            return 0;
    }
}

static int
pulse_and_say(int index)
{
    int result = pulse(index);
    if (index == 0) {
        struct amp_event last = amp_event_of(another);
        amp_event_set(&last);
        amp_event_clear(&(struct amp_event) {&object->c_lock0, &object->e_word});
        struct amp_event event = amp_event_of(object);
        amp_event_set(&event);
    }
    return result;
}

static void
test_event(void)
{
    object = tap_object(AMP_EVENT, "event");
    another = tap_object(AMP_EVENT, "last");
    atomic_store(&counted, 0);
    is(together(THREADS, pulse_and_say), 0,
       "threads that wait for an event see its last set, and what was written before");
    tap_unhold(object);
    tap_unhold(another);
}

/* A queue of one place, made of a condition and a lock of the script. */
static int
hand_over(int index)
{
    struct amp_lock *lock = &another->c_lock0;
    bool gives = index % 2 == 0;
    for (int i = 0; i < ROUNDS / 5; i++) {
        if (amp_lock_enter(lock) != 0)
            return 1;
        while ((plain != 0) == gives) {
            struct amp_what what = {.kind = AMP_CONDITION, .cell = amp_cell_index(object)};
            struct amp_ticket *ticket;
            if (amp_condition_enlist(object, &ticket) != 0)
                return 2;
            amp_lock_leave(lock);
            int result = amp_condition_sleep(ticket, soon(), &what);
            amp_condition_delist(object, ticket);
            if (amp_lock_enter(lock) != 0 || result != 0)
                return 3;
        }
        plain = gives;
        amp_condition_notify(object, AMP_MEMBERS_MAX);
        amp_lock_leave(lock);
    }
    return 0;
}

static void
test_condition(void)
{
    object = tap_object(AMP_CONDITION, "condition");
    another = tap_object(AMP_LOCK, "its lock");
    plain = 0;
    is(together(THREADS, hand_over), 0, "threads hand over through a condition");
    is(plain, 0, "as much as was given was taken");
    tap_unhold(object);
    tap_unhold(another);
}

static long rows[THREADS];

/* 0, or a failure; *last for the one that opened. */
static int
meet(bool *last)
{
    struct amp_what what = {.kind = AMP_BARRIER, .cell = amp_cell_index(object)};
    struct amp_ticket *ticket;
    int result = amp_barrier_arrive(object, soon(), &what, &ticket);
    *last = result == AMP_BARRIER_LAST;
    if (result == AMP_BARRIER_LAST)
        return amp_barrier_open(object, ticket);
    return result != 0 ? result : amp_barrier_sleep(object, ticket, soon(), &what);
}

static int
march(int index)
{
    for (int i = 0; i < ROUNDS / 5; i++) {
        bool last;
        rows[index] = i;
        (void) amp_barrier_waiting(object); /* a report, at any time */
        if (meet(&last) != 0)
            return 1;
        for (int k = 0; k < THREADS; k++) {
            if (rows[k] != i)
                return 2;
        }
        if (last)
            atomic_fetch_add(&counted, 1);
        if (meet(&last) != 0)
            return 3;
    }
    return 0;
}

static void
test_barrier(void)
{
    object = tap_object(AMP_BARRIER, "barrier");
    amp_barrier_init(object, THREADS);
    atomic_store(&counted, 0);
    is(together(THREADS, march), 0, "threads meet in a barrier, and see what all wrote before");
    is(atomic_load(&counted), ROUNDS / 5, "each round has one that was the last");
    tap_unhold(object);
}

/*
 * Queues.
 */

static _Atomic uint64_t put_sum, got_sum;
static _Atomic int got_objects;
static size_t longest;

/* The first half of the threads puts, the second gets, until each message has been got. */
static int
flow(int index)
{
    int each = ROUNDS / 3;
    if (index < THREADS) {
        for (int i = 0; i < each; i++) {
            uint64_t number = (uint64_t) (index * each + i + 1);
            size_t length = 8 + (size_t) number * 37 % longest;
            uint64_t handle = amp_cell_handle(another);
            bool carries = i % 5 == 0;
            if (queue_put_objects(object, number, length, &handle, carries, soon()) != 0)
                return 1;
            atomic_fetch_add(&put_sum, number);
        }
        return 0;
    }
    for (int i = 0; i < each; i++) {
        uint64_t number, handles[1];
        size_t length;
        uint32_t n;
        if (queue_get_objects(object, &number, &length, handles, &n, soon()) != 0)
            return 2;
        atomic_fetch_add(&got_sum, number);
        atomic_fetch_add(&got_objects, (int) n);
        if (n > 0 && i % 2 == 0)
            amp_unhold(handles[0]); /* the others drop it with their end */
        if (amp_ring_task_done(object) != 0)
            return 3;
    }
    return 0;
}

static void
flow_through(uint32_t limit, size_t length, const char *name)
{
    object = queue_make(limit, 0);
    another = tap_object(AMP_EVENT, "carried");
    longest = length;
    atomic_store(&put_sum, 0);
    atomic_store(&got_sum, 0);
    atomic_store(&got_objects, 0);
    is(together(2 * THREADS, flow), 0, "%s: 4 threads put and 4 get, all whole", name);
    ok(atomic_load(&put_sum) == atomic_load(&got_sum), "%s: each once", name);
    int carried = (ROUNDS / 3 + 4) / 5 * THREADS;
    is(atomic_load(&got_objects), carried, "%s: and the objects in them", name);
    struct amp_what what = {.kind = AMP_QUEUE};
    is(amp_ring_join(object, AMP_AT_ONCE, &what), 0, "%s: all are done", name);
    tap_unhold(object);
    tap_unhold(another);
}

static void
test_queues(void)
{
    flow_through(0, 64, "unbounded");
    flow_through(3, 64, "of 3 places");
    flow_through(0, 20000, "unbounded, large ones read in place");
    flow_through(2, 20000, "of 2 places, large ones");
}

static int
put_until_closed(int index)
{
    uint64_t number;
    int result = 0;
    while (result == 0)
        result = index % 2 ? queue_put(object, 1, 8, soon()) : queue_get(object, &number, soon());
    return result != -EPIPE;
}

static int
close_it(int index)
{
    if (index < 4)
        return put_until_closed(index);
    tap_nap();
    amp_ring_close(object, AMP_RING_NO_PUTS);
    return 0;
}

static void
test_close(void)
{
    object = queue_make(2, 0);
    is(together(5, close_it), 0, "a queue that a thread closes tells all others");
    tap_unhold(object);
}

/*
 * Values and tables.
 */

static int
count_up(int index)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (index % 2) {
            atomic_fetch_add(&object->v_bits, 1);
            continue;
        }
        uint64_t bits = atomic_load(&object->v_bits);
        while (!atomic_compare_exchange_weak(&object->v_bits, &bits, bits + 1))
            ;
    }
    const struct amp_type *type = amp_type_find('q');
    char *data = amp_array_data(another);
    for (int i = 0; i < 64; i++) /* elements are whole, in no order */
        amp_element_store(type, data + 8 * i, amp_element_load(type, data + 8 * (63 - i)));
    return 0;
}

static void
test_values(void)
{
    object = tap_object(AMP_VALUE, "value");
    tap_need(amp_cell_make(AMP_ARRAY, "array", &another) == 0);
    tap_need(amp_array_init(another, amp_type_find('q'), 64) == 0);
    amp_cell_ready(another);
    together(THREADS, count_up);
    is(atomic_load(&object->v_bits), THREADS * ROUNDS, "a value has all that threads added");
    tap_unhold(object);
    tap_unhold(another);
}

/* Adds one to the entry, whoever else does. */
static int
increment(const char *key)
{
    for (;;) {
        struct amp_message message;
        uint64_t version;
        char number[32] = "0";
        int result = amp_dict_get(object, text(key), &message, &version);
        if (result == 0) {
            memcpy(number, message.bytes, message.length);
            number[message.length] = 0;
            amp_message_done(&message);
        } else if (result != -ENOENT) {
            return result;
        }
        snprintf(number, sizeof number, "%d", atoi(number) + 1);
        struct amp_stored stored = {.value = text(number)};
        result = amp_dict_set(object, text(key), &stored, version);
        if (result != -ESTALE)
            return result;
    }
}

static int
use_tables(int index)
{
    for (int i = 0; i < ROUNDS / 5; i++) {
        char key[32];
        if (increment("shared") != 0)
            return 1;
        snprintf(key, sizeof key, "%d of %d", i, index);
        if (dict_set(object, key, "here") != 0 || !dict_has(object, key, "here") ||
            (i % 2 && dict_set(object, key, NULL) != 0))
            return 2;
        if (list_append(another, key) != 0)
            return 3;
        struct amp_message message;
        if (i % 2) {
            if (amp_list_pop(another, 1, &message) != 0)
                return 4;
            amp_message_done(&message);
        }
    }
    return 0;
}

static void
test_tables(void)
{
    object = table_make(AMP_DICT);
    another = table_make(AMP_LIST);
    int each = ROUNDS / 5;
    char sum[32];
    snprintf(sum, sizeof sum, "%d", each * THREADS);
    is(together(THREADS, use_tables), 0, "threads change a dict and a list");
    ok(dict_has(object, "shared", sum), "an entry that depends on the last lost nothing");
    is(amp_dict_count(object), 1 + THREADS * (each - each / 2), "the dict has what was left");
    is(amp_dict_count(another), THREADS * (each - each / 2), "and so has the list");
    tap_unhold(object);
    tap_unhold(another);
}

/*
 * Objects and memory.
 */

static int
make_and_drop(int index)
{
    for (int i = 0; i < ROUNDS / 5; i++) {
        struct amp_cell *queue = queue_make(0, 0);
        struct amp_cell *event = tap_object(AMP_EVENT, "event");
        uint64_t handle = amp_cell_handle(event);
        if (queue_put_objects(queue, (uint64_t) index + 1, 8, &handle, 1, AMP_AT_ONCE) != 0)
            return 1;
        tap_unhold(event); /* the message has it */
        if (amp_cell_of(handle) != event)
            return 2;
        amp_unhold(amp_cell_handle(queue));
        if (amp_cell_of(handle) != NULL)
            return 3;
        uint32_t runs[4];
        for (int k = 0; k < 4; k++) {
            if (amp_arena_take((uint64_t) (1 + (i + k) % 5) * AMP_PAGE, 0, &runs[k]) != 0)
                return 4;
            memset(amp_page_at(runs[k]), index, AMP_PAGE);
        }
        for (int k = 0; k < 4; k++) {
            if (((unsigned char *) amp_page_at(runs[k]))[AMP_PAGE - 1] != index)
                return 5;
            amp_arena_free(runs[k]);
        }
    }
    return 0;
}

/* Threads that come and go, while others look for the dead and ask for names. */
static int
come_and_go(int index)
{
    for (int i = 0; i < 20; i++) {
        if (index % 2) {
            struct thread thread = {.function = make_and_drop, .is_reserved = true};
            thread.function = count_up;
            thread_start(&thread);
            char name[AMP_NAME_SIZE];
            amp_member_name(thread.member, name);
            if (strcmp(name, "reserved") != 0 && strcmp(name, "thread") != 0)
                return 1; /* it may have ended, and another have its slot */
            if (amp_member_join(thread.member, thread.generation, soon()) != 0)
                return 2;
            pthread_join(thread.id, NULL);
        } else {
            amp_roster_sweep();
            for (uint32_t k = 0; k < amp_members_top(); k++) {
                struct amp_what what;
                char name[AMP_NAME_SIZE];
                amp_member_waiting(k, &what, NULL);
                amp_member_name(k, name);
            }
            amp_condition_notify(object, 1); /* looks through all tickets */
        }
    }
    return 0;
}

static void
test_objects(void)
{
    struct tap_account before = tap_account();
    is(together(THREADS, make_and_drop), 0, "threads make objects and drop them");
    tap_is_settled(before, "nothing is left of them");

    object = tap_object(AMP_VALUE, "value");
    tap_need(amp_cell_make(AMP_ARRAY, "array", &another) == 0);
    tap_need(amp_array_init(another, amp_type_find('q'), 64) == 0);
    amp_cell_ready(another);
    is(together(THREADS, come_and_go), 0, "threads start threads, and look at each other");
    tap_unhold(object);
    tap_unhold(another);
    tap_is_settled(before, "nothing is left of them, either");
}

/*
 * Threads that end holding something.
 */

static int
end_with_lock(int index)
{
    (void) index;
    int result = amp_lock_enter(&object->c_lock0);
    plain++;
    return result < 0;
}

/* Waits for the lock while its holder ends. */
static _Atomic int waits;
static int
wait_for_lock(int index)
{
    struct amp_what what = {.kind = AMP_LOCK, .cell = amp_cell_index(object)};
    if (index == 0) {
        int result = amp_lock_enter(&object->c_lock0);
        plain = 7;
        atomic_store(&counted, 1);
        struct amp_what its;
        if (!tap_until(atomic_load(&waits) == 2 && amp_member_waiting(amp_self.member, &its, NULL) == 0))
            return 1;
        tap_nap();
        return result != 0; /* without a release */
    }
    if (!tap_until(atomic_load(&counted)))
        return 2;
    atomic_fetch_add(&waits, 1);
    int result = amp_lock_acquire(&object->c_lock0, soon(), &what);
    if (result < 0 || plain != 7)
        return 3;
    atomic_fetch_add(&counted, result == AMP_OWNER_DIED);
    amp_lock_leave(&object->c_lock0);
    return 0;
}

static void
test_lock_of_the_dead(void)
{
    for (int quietly = 0; quietly < 2; quietly++) {
        const char *how = quietly ? "a thread that ends without leaving" : "a thread that leaves";
        object = tap_object(AMP_LOCK, "lock");
        plain = 0;
        alone(end_with_lock, quietly);
        amp_roster_sweep();
        is(amp_lock_enter(&object->c_lock0), AMP_OWNER_DIED, "%s: its lock's next is told", how);
        is(plain, 1, "%s: and sees what it wrote", how);
        amp_lock_leave(&object->c_lock0);
        is(amp_lock_enter(&object->c_lock0), 0, "%s: once", how);
        amp_lock_leave(&object->c_lock0);
        tap_unhold(object);
    }
    object = tap_object(AMP_LOCK, "lock");
    atomic_store(&counted, 0);
    atomic_store(&waits, 0);
    tap_without_slices();
    is(together(3, wait_for_lock), 0, "a thread ends with a lock that two wait for: both get it");
    tap_with_slices();
    is(atomic_load(&counted), 2, "one is told");
    tap_unhold(object);
}

static int
end_with_permits(int index)
{
    (void) index;
    struct amp_semaphore semaphore = amp_semaphore_of(object);
    struct amp_what what = {.kind = AMP_BOUNDED_SEMAPHORE};
    return amp_semaphore_acquire(&semaphore, AMP_AT_ONCE, &what) != 0 ||
           amp_semaphore_acquire(&semaphore, AMP_AT_ONCE, &what) != 0;
}

static void
test_permits_of_the_dead(void)
{
    for (int quietly = 0; quietly < 2; quietly++) {
        const char *how = quietly ? "a thread that ends without leaving" : "a thread that leaves";
        tap_need(amp_cell_make(AMP_BOUNDED_SEMAPHORE, "bounded", &object) == 0);
        tap_need(amp_semaphore_bind(object, 3) == 0);
        atomic_store(&object->s_permits, 3 << 1);
        amp_cell_ready(object);
        is(alone(end_with_permits, quietly), 0, "%s: with two of three permits", how);
        amp_roster_sweep();
        struct amp_semaphore semaphore = amp_semaphore_of(object);
        is(amp_semaphore_value(&semaphore), 3, "%s: gives them back", how);
        tap_unhold(object);
    }
}

static int
end_in_barrier(int index)
{
    (void) index;
    struct amp_what what = {.kind = AMP_BARRIER};
    struct amp_ticket *ticket;
    return amp_barrier_arrive(object, AMP_AT_ONCE, &what, &ticket) != 0;
}

static int
meet_the_dead(int index)
{
    if (index == 0)
        return tap_until(amp_barrier_waiting(object) == 2) ? end_in_barrier(0) : 1;
    bool last;
    int result = meet(&last);
    atomic_fetch_add(&counted, result == -EPIPE);
    return 0;
}

static void
test_barrier_of_the_dead(void)
{
    object = tap_object(AMP_BARRIER, "barrier");
    amp_barrier_init(object, 4);
    atomic_store(&counted, 0);
    tap_without_slices();
    is(together(3, meet_the_dead), 0, "a thread that ends in a barrier");
    tap_with_slices();
    is(atomic_load(&counted), 2, "breaks it, and wakes who waits");
    tap_unhold(object);
}

static int
end_in_condition(int index)
{
    struct amp_what what = {.kind = AMP_CONDITION, .cell = amp_cell_index(object)};
    struct amp_ticket *ticket;
    if (amp_condition_enlist(object, &ticket) != 0)
        return 1;
    atomic_fetch_add(&waits, 1);
    if (index == 0)
        return tap_until(atomic_load(&waits) == 2 && /* ends when it has been called */
                         atomic_load(&ticket->t_word) == AMP_TICKET_CALLED) ? 0 : 2;
    int result = amp_condition_sleep(ticket, soon(), &what);
    amp_condition_delist(object, ticket);
    atomic_fetch_add(&counted, result == 0);
    return 0;
}

static int
notify_the_dead(int index)
{
    if (index == 1)
        return tap_until(atomic_load(&waits) == 1) ? end_in_condition(1) : 1;
    if (index == 0)
        return end_in_condition(0);
    if (!tap_until(atomic_load(&waits) == 2))
        return 1;
    return amp_condition_notify(object, 1) != 1;
}

static void
test_condition_of_the_dead(void)
{
    object = tap_object(AMP_CONDITION, "condition");
    atomic_store(&counted, 0);
    atomic_store(&waits, 0);
    tap_without_slices();
    is(together(3, notify_the_dead), 0, "a thread that ends when it was called by a condition");
    tap_with_slices();
    is(atomic_load(&counted), 1, "has the next one called");
    tap_unhold(object);
}

/* Ends in the middle of reading a large message in place, and a small one copied. */
static int
end_reading(int index)
{
    (void) index;
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message large, small;
    if (amp_ring_take(object, AMP_AT_ONCE, &what, &large) != 0 || !large.pinned ||
        amp_ring_take(object, AMP_AT_ONCE, &what, &small) != 0 || !small.copied)
        return 1;
    return 0;
}

/* Allocated bytes after so many threads have come, used what threads have of their own, and gone. */
static size_t
allocated_after(int threads)
{
    for (int i = 0; i < threads; i++) {
        tap_need(queue_put(object, 1, 20000, AMP_AT_ONCE) == 0);
        tap_need(queue_put(object, 2, 16, AMP_AT_ONCE) == 0);
        tap_need(alone(end_reading, false) == 0);
    }
    return mallinfo2().uordblks;
}

static void
test_memory_of_the_dead(void)
{
    struct tap_account before = tap_account();
    object = queue_make(0, 0);
    size_t first = allocated_after(20);
    size_t second = allocated_after(100);
    if (tap_sanitized())
        tap_skip("a thread leaves no memory behind", "the sanitizer's allocator does not say");
    else if (!ok(second < first + 100 * 1024, "a thread leaves no memory behind"))
        diag("%zu bytes after 20 threads, %zu after 120", first, second);
    tap_unhold(object);
    tap_is_settled(before, "nor a message that it read");
}

int
main(void)
{
    tap_family(0);
    test_lock();
    test_semaphores();
    test_event();
    test_condition();
    test_barrier();
    test_queues();
    test_close();
    test_values();
    test_tables();
    test_objects();
    test_lock_of_the_dead();
    test_permits_of_the_dead();
    test_barrier_of_the_dead();
    test_condition_of_the_dead();
    test_memory_of_the_dead();
    return tap_done();
}
