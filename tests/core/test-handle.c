/*
 * Handles: an object lives while somebody holds it, or a message or another object carries it, and
 * not longer, whoever dies.
 */
#include "objects.h"

static struct {
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int stop;
    amp_handle handle[8];
} *board;

static amp_handle
make(enum amp_kind kind)
{
    return amp_cell_handle(tap_object(kind, "object"));
}

static bool
lives(amp_handle handle)
{
    return amp_cell_of(handle) != NULL;
}

static void
test_cells(void)
{
    struct amp_cell *cell;
    ok(amp_cell_of(0) == NULL, "no handle names nothing");
    ok(amp_cell_of(UINT64_C(1) << 31) == NULL, "nor does one beyond the table");
    is(amp_cell_make(AMP_EVENT, "an event", &cell), 0, "a cell is made");
    is(amp_cell_kind(cell), AMP_EVENT, "of its kind");
    is(strcmp(cell->c_name, "an event"), 0, "with its name");
    ok(!amp_cell_is_live(cell), "it is no object yet");
    ok(!lives(amp_cell_handle(cell)), "and no handle names it");
    amp_handle handle = amp_cell_ready(cell);
    ok(amp_cell_of(handle) == cell, "when it is ready its handle does");
    is(amp_handle_index(handle), amp_cell_index(cell), "which has its index");
    atomic_store(&cell->e_word, 4711);
    amp_unhold(handle);
    ok(!lives(handle), "when nobody holds it any more it is gone");
    amp_unhold(handle);
    ok(!lives(handle), "to let it go twice does nothing");

    char name[3 * AMP_CELL_NAME];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    tap_need(amp_cell_make(AMP_SEMAPHORE, name, &cell) == 0);
    amp_handle second = amp_cell_ready(cell);
    is(amp_handle_index(second), amp_handle_index(handle), "a cell is used again");
    ok(second != handle && !lives(handle), "with another generation");
    is(atomic_load(&cell->s_permits), 0, "and with nothing of what was in it");
    is(strlen(cell->c_name), AMP_CELL_NAME - 1, "a name that is too long is cut");
    amp_unhold(handle);
    ok(lives(second), "who lets the first one go does not end the second");
    amp_unhold(second);

    tap_need(amp_cell_make(AMP_EVENT, "given up", &cell) == 0);
    handle = amp_cell_handle(cell);
    amp_cell_abandon(cell);
    ok(!lives(handle), "a cell that was given up is no object");
    is(tap_account().made, 0, "and is free");
}

/* Several objects can be under way at once. */
static void
test_nested_making(void)
{
    struct amp_cell *outer, *inner;
    tap_need(amp_cell_make(AMP_CONDITION, "outer", &outer) == 0);
    tap_need(amp_cell_make(AMP_LOCK, "inner", &inner) == 0);
    amp_handle second = amp_cell_ready(inner);
    ok(atomic_load(&amp_member_at(amp_self.member)->m_handling) != 0,
       "who is making one object and has finished another is still making");
    amp_handle first = amp_cell_ready(outer);
    ok(atomic_load(&amp_member_at(amp_self.member)->m_handling) == 0, "until all are ready");
    amp_unhold(first);
    amp_unhold(second);
}

static void
test_full(void)
{
    uint32_t max = amp_arena.header->h_cells_max, n = 0;
    static amp_handle handles[1 << 14];
    tap_need(max <= sizeof handles / sizeof *handles);
    struct amp_cell *cell;
    int failure = 0;
    while (n < max && (failure = amp_cell_make(AMP_VALUE, "one of many", &cell)) == 0)
        handles[n++] = amp_cell_ready(cell);
    is(failure, -ENOMEM, "a full table says so");
    is(n, max - 1, "when all of its cells are used");
    is(atomic_load(&amp_member_at(amp_self.member)->m_handling), 0, "and nothing is under way");
    uint32_t again = 0;
    for (uint32_t i = 0; i < n; i += 9)
        amp_unhold(handles[i]);
    for (uint32_t i = 0; i < n; i += 9) {
        if (amp_cell_make(AMP_VALUE, "again", &cell) != 0)
            break;
        handles[i] = amp_cell_ready(cell);
        again++;
    }
    is(again, (n + 8) / 9, "every cell that is free again is found, few as they are");
    for (uint32_t i = 0; i < n; i++)
        amp_unhold(handles[i]);
    is(amp_cells_live(), 0, "all end");
}

/*
 * Carried.
 */

static void
test_message(void)
{
    struct amp_cell *queue = queue_make(0, 0);
    amp_handle handle = make(AMP_EVENT), got = 0;
    uint64_t number;
    size_t length;
    uint32_t n;
    queue_put_objects(queue, 1, 100, &handle, 1, AMP_AT_ONCE);
    queue_put(queue, 2, 100, AMP_AT_ONCE);
    amp_unhold(handle);
    ok(lives(handle), "an object that only a message carries lives");
    queue_get_objects(queue, &number, &length, &got, &n, AMP_AT_ONCE);
    ok(n == 1 && got == handle && lives(handle), "until the message is read");
    queue_get(queue, &number, AMP_AT_ONCE);
    amp_unhold(handle);
    ok(!lives(handle), "and its reader lets it go");

    handle = make(AMP_EVENT);
    queue_put_objects(queue, 1, 100, &handle, 1, AMP_AT_ONCE);
    queue_put_objects(queue, 1, 100, &handle, 1, AMP_AT_ONCE);
    amp_unhold(handle);
    queue_get_objects(queue, &number, &length, &got, &n, AMP_AT_ONCE);
    amp_unhold(got);
    ok(lives(handle), "an object in two messages outlives the first");
    tap_unhold(queue);
    ok(!lives(handle), "and ends with the queue that has the second");
}

static void
test_queue_in_queue(void)
{
    uint64_t used = amp_arena_used();
    amp_handle chain[6];
    for (int i = 0; i < 6; i++) {
        struct amp_cell *queue = queue_make(0, 0);
        queue_put(queue, 1, 10000, AMP_AT_ONCE);
        chain[i] = amp_cell_handle(queue);
        if (i > 0) {
            queue_put_objects(queue, 2, 10, &chain[i - 1], 1, AMP_AT_ONCE);
            amp_unhold(chain[i - 1]);
        }
    }
    is(amp_cells_live(), 6, "a queue in a queue in a queue ... lives");
    amp_unhold(chain[5]);
    is(amp_cells_live(), 0, "and is freed with it");
    is(amp_arena_used(), used, "with all messages");

    struct amp_cell *self = queue_make(0, 0);
    amp_handle handle = amp_cell_handle(self);
    queue_put_objects(self, 1, 10, &handle, 1, AMP_AT_ONCE);
    amp_unhold(handle);
    ok(!lives(handle), "a queue that only carries itself is nobody's");
}

static uint32_t
carried(amp_handle handle)
{
    return atomic_load(&amp_cell_of(handle)->c_carried);
}

/* How many carry an object is counted, and a death may leave the count too high. */
static void
test_count_of_carriers(void)
{
    struct amp_cell *queue = queue_make(0, 0), *dict = table_make(AMP_DICT);
    struct amp_cell *list = table_make(AMP_LIST);
    amp_handle handle = make(AMP_EVENT), got[4];
    struct amp_stored stored = {.value = text("value"), .handles = &handle, .n = 1};
    uint64_t number;
    size_t length;
    for (uint64_t i = 0; i < 3; i++)
        queue_put_objects(queue, i, 10, &handle, 1, AMP_AT_ONCE);
    is(carried(handle), 3, "three messages");
    queue_get_objects(queue, &number, &length, got, NULL, AMP_AT_ONCE);
    is(carried(handle), 2, "one is taken");
    amp_dict_set(dict, text("key"), &stored, AMP_ANY_VERSION);
    amp_dict_set(dict, text("key"), &stored, AMP_ANY_VERSION);
    is(carried(handle), 3, "an entry that replaces its like");
    amp_dict_set(dict, text("key"), NULL, AMP_ANY_VERSION);
    amp_dict_set(dict, text("key"), &stored, 77);
    is(carried(handle), 2, "one that is removed, one that is refused");
    amp_list_append(list, &stored);
    amp_list_set(list, 1, &stored);
    is(carried(handle), 3, "a place in a list that is set again");
    struct amp_message message;
    amp_list_pop(list, 1, &message);
    amp_message_done(&message);
    is(carried(handle), 2, "and one that is popped");
    tap_unhold(queue);
    is(carried(handle), 0, "an end takes what it carries with it");

    /* As if somebody had died with a message in hand. */
    amp_handle late, doubtful = handle;
    atomic_fetch_add(&amp_cell_of(doubtful)->c_carried, 1);
    amp_unhold(doubtful);
    ok(lives(doubtful), "who is counted lives");
    atomic_fetch_add(&amp_arena.header->h_lapses, 1);
    amp_hold(doubtful);
    stored.handles = &doubtful;
    amp_list_append(list, &stored);
    amp_unhold(doubtful);
    ok(lives(doubtful), "after a lapse it is looked for: it is in a list");
    late = make(AMP_EVENT);
    stored.handles = &late;
    amp_list_append(list, &stored);
    amp_unhold(late);
    ok(lives(late) && carried(late) == 1, "the count of a later object is believed");
    tap_unhold(list);
    ok(!lives(doubtful), "one that nothing carries ends, whatever its count says");
    ok(!lives(late), "so does the later one");
    tap_unhold(dict);
}

static void
test_table(void)
{
    struct amp_cell *dict = table_make(AMP_DICT), *list = table_make(AMP_LIST);
    amp_handle first = make(AMP_EVENT), second = make(AMP_EVENT);
    struct amp_stored stored = {.value = text("value"), .handles = &first, .n = 1};
    amp_dict_set(dict, text("key"), &stored, AMP_ANY_VERSION);
    amp_unhold(first);
    ok(lives(first), "an object in a dict lives");
    struct amp_message message;
    uint64_t version;
    amp_dict_get(dict, text("key"), &message, &version);
    ok(message.ncells == 1 && message.cells[0] == first, "who gets the entry gets it");
    amp_message_done(&message);
    stored.handles = &second;
    amp_dict_set(dict, text("key"), &stored, AMP_ANY_VERSION);
    ok(lives(first), "and holds it when the entry is replaced");
    amp_unhold(first);
    ok(!lives(first), "until it lets it go");
    amp_unhold(second);
    amp_dict_set(dict, text("key"), NULL, AMP_ANY_VERSION);
    ok(!lives(second), "one that nobody else holds ends when its entry is removed");

    first = make(AMP_EVENT);
    second = make(AMP_EVENT);
    stored.handles = &first;
    amp_list_append(list, &stored);
    stored.handles = &second;
    amp_list_append(list, &stored);
    amp_unhold(first);
    amp_unhold(second);
    amp_list_pop(list, 1, &message);
    amp_message_done(&message);
    ok(lives(first), "an object that was popped from a list is who popped it's");
    amp_unhold(first);
    ok(!lives(first) && lives(second), "the other is still the list's");
    tap_unhold(list);
    ok(!lives(second), "and ends with it");

    first = make(AMP_EVENT);
    stored.handles = &first;
    amp_dict_set(dict, text("key"), &stored, AMP_ANY_VERSION);
    amp_unhold(first);
    struct amp_snapshot snapshot;
    struct amp_bytes key;
    amp_dict_snapshot(dict, &snapshot);
    tap_unhold(dict);
    ok(lives(first), "what a snapshot has of a dict outlives it");
    ok(amp_snapshot_next(&snapshot, &key, &message) && message.ncells == 1, "and can be read");
    amp_unhold(message.cells[0]);
    amp_snapshot_done(&snapshot);
    ok(!lives(first), "until its reader lets it go");
}

static void
test_pipe(void)
{
    struct amp_cell *there = queue_make(0, 0), *back = queue_make(0, 0), *end[2];
    amp_handle queues[2] = {amp_cell_handle(there), amp_cell_handle(back)};
    for (int i = 0; i < 2; i++) {
        tap_need(amp_cell_make(AMP_PIPE_END, "end", &end[i]) == 0);
        amp_pipe_end_init(end[i], queues[i], queues[1 - i]);
        amp_cell_ready(end[i]);
    }
    amp_unhold(queues[0]);
    amp_unhold(queues[1]);
    ok(lives(queues[0]) && lives(queues[1]), "the queues of a pipe are its ends'");
    queue_put(there, 1, 10, AMP_AT_ONCE);
    tap_unhold(end[1]);
    ok(lives(queues[0]) && lives(queues[1]), "as long as there is one");
    uint64_t number;
    is(queue_put(back, 1, 10, AMP_AT_ONCE), -EPIPE, "who writes to an end that is gone is told");
    is(queue_get(there, &number, AMP_AT_ONCE), 0, "what it had written can be read");
    is(queue_get(there, &number, AMP_AT_ONCE), -EPIPE, "then its reader is told as well");
    tap_unhold(end[0]);
    ok(!lives(queues[0]) && !lives(queues[1]), "with the last end the queues end");
}

/*
 * Locks in cells.
 */

static void
test_locks_are_new(void)
{
    struct amp_cell *cell = tap_object(AMP_LOCK, "dropped while held");
    amp_lock_enter(&cell->c_lock0);
    tap_unhold(cell);
    bool right = true;
    struct amp_cell *cells[80];
    for (int i = 0; i < 80; i++) {
        cells[i] = tap_object(AMP_LOCK, "new");
        right = right && amp_lock_try(&cells[i]->c_lock0) == 0;
    }
    ok(right, "a new lock is free, though its cell's last lock was dropped while held");
    for (int i = 0; i < 80; i++) {
        amp_lock_leave(&cells[i]->c_lock0);
        tap_unhold(cells[i]);
    }
    amp_lock_leave(&cell->c_lock0);
}

static int
die_with_own_lock(void *argument)
{
    (void) argument;
    struct amp_cell *cell = tap_object(AMP_LOCK, "mine");
    amp_lock_enter(&cell->c_lock0);
    amp_lock_enter(&cell->c_lock1);
    amp_lock_enter(&cell->c_lock2);
    amp_lock_enter(&cell->c_lock3);
    board->handle[0] = amp_cell_handle(cell);
    raise(SIGKILL);
    return 0;
}

static void
test_locks_forget_the_dead(void)
{
    struct amp_child child = tap_child(die_with_own_lock, NULL);
    tap_join(&child);
    ok(!lives(board->handle[0]), "a lock that only a dead one had is gone");
    struct amp_cell *cell = tap_object(AMP_LOCK, "new");
    is(amp_cell_index(cell), amp_handle_index(board->handle[0]), "its cell is used again");
    ok(amp_lock_try(&cell->c_lock0) == 0 && amp_lock_try(&cell->c_lock1) == 0 &&
           amp_lock_try(&cell->c_lock2) == 0 && amp_lock_try(&cell->c_lock3) == 0,
       "and a new lock knows nothing of the death");
    amp_lock_leave(&cell->c_lock0);
    amp_lock_leave(&cell->c_lock1);
    amp_lock_leave(&cell->c_lock2);
    amp_lock_leave(&cell->c_lock3);
    tap_unhold(cell);
}

/*
 * Holders.
 */

static int
hold_until_told(void *argument)
{
    (void) argument;
    atomic_store(&board->started[0], 1);
    while (!atomic_load(&board->stop))
        tap_nap();
    return lives(board->handle[0]) ? 0 : 1;
}

static void
test_child_holds(void)
{
    memset(board, 0, sizeof *board);
    board->handle[0] = make(AMP_EVENT);
    struct amp_child child = tap_child(hold_until_told, NULL);
    tap_need(tap_until(atomic_load(&board->started[0])));
    amp_unhold(board->handle[0]);
    ok(lives(board->handle[0]), "what a parent held its child holds as well");
    atomic_store(&board->stop, 1);
    is(tap_join(&child), 0, "as long as it lives");
    ok(!lives(board->handle[0]), "not longer");

    memset(board, 0, sizeof *board);
    board->handle[0] = make(AMP_EVENT);
    child = tap_child(hold_until_told, NULL);
    tap_need(tap_until(atomic_load(&board->started[0])));
    amp_unhold(board->handle[0]);
    tap_kill(&child);
    ok(lives(board->handle[0]), "a killed child holds until it is buried");
    amp_roster_sweep();
    ok(!lives(board->handle[0]), "then what only it held ends");
}

static int
make_and_die(void *argument)
{
    int how = *(int *) argument;
    struct amp_cell *first, *second;
    amp_cell_make(AMP_QUEUE, "half made", &first);
    if (how > 0) {
        amp_cell_make(AMP_BOUNDED_SEMAPHORE, "half made too", &second);
        amp_semaphore_bind(second, 3);
    }
    if (how > 1)
        amp_cell_ready(second);
    raise(SIGKILL);
    return 0;
}

static void
test_makers_die(void)
{
    struct tap_account before = tap_account();
    for (int how = 0; how < 3; how++) {
        struct amp_child child = tap_child(make_and_die, &how);
        tap_join(&child);
        tap_is_settled(before, how == 0   ? "what a dead one was making is freed"
                               : how == 1 ? "also when it was two, with their memory"
                                          : "also when one of them was ready");
    }
}

static int
put_and_die(void *argument)
{
    (void) argument;
    struct amp_cell *queue = amp_cell_of(board->handle[0]);
    amp_handle mine = make(AMP_EVENT);
    board->handle[1] = mine;
    queue_put_objects(queue, 1, 50, &mine, 1, AMP_AT_ONCE);
    raise(SIGKILL);
    return 0;
}

static int
take_and_die(void *argument)
{
    (void) argument;
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    amp_ring_take(amp_cell_of(board->handle[0]), AMP_AT_ONCE, &what, &message);
    raise(SIGKILL);
    return 0;
}

static void
test_messages_of_the_dead(void)
{
    struct tap_account before = tap_account();
    struct amp_cell *queue = queue_make(0, 0);
    board->handle[0] = amp_cell_handle(queue);
    struct amp_child child = tap_child(put_and_die, NULL);
    tap_join(&child);
    ok(lives(board->handle[1]), "an object that a dead one has sent lives in its message");
    child = tap_child(take_and_die, NULL);
    tap_join(&child);
    ok(!lives(board->handle[1]), "and ends with who took the message and died");
    tap_unhold(queue);
    tap_is_settled(before, "nothing is left of them");
}

/* An object goes round in messages among members that hold it only as long as they pass it on. */

#define ROUND_TRIPS 400

static int
pass_on(int index)
{
    struct amp_cell *mine = amp_cell_of(board->handle[index]);
    struct amp_cell *next = amp_cell_of(board->handle[(index + 1) % 4]);
    for (int i = 0; i < ROUND_TRIPS; i++) {
        uint64_t number;
        uint64_t handles[8];
        size_t length;
        uint32_t n;
        if (queue_get_objects(mine, &number, &length, handles, &n, amp_now() + TAP_PATIENCE) != 0)
            return 1;
        if (n != 1 || !lives(handles[0]))
            return 2;
        if (queue_put_objects(next, number + 1, 64, handles, 1, AMP_FOREVER) != 0)
            return 3;
        amp_unhold(handles[0]);
    }
    return 0;
}

static void
test_going_round(void)
{
    struct tap_account before = tap_account();
    amp_handle travellers[3];
    for (int i = 0; i < 4; i++)
        board->handle[i] = amp_cell_handle(queue_make(0, 0));
    for (int i = 0; i < 3; i++) {
        travellers[i] = make(AMP_EVENT);
        queue_put_objects(amp_cell_of(board->handle[i]), 1, 64, &travellers[i], 1, AMP_AT_ONCE);
    }
    is(tap_together(4, pass_on), 0, "objects that travel from member to member live");
    int alive = 0;
    for (int i = 0; i < 3; i++) {
        alive += lives(travellers[i]);
        amp_unhold(travellers[i]);
    }
    is(alive, 3, "and are still there in the end");
    for (int i = 0; i < 4; i++)
        amp_unhold(board->handle[i]);
    tap_is_settled(before, "then they end with the queues");
}

/* The same with members that are killed on the way. What they had is lost, nothing is left over. */
static int
pass_on_for_ever(void *argument)
{
    int i = *(int *) argument;
    struct amp_cell *mine = amp_cell_of(board->handle[i]);
    struct amp_cell *next = amp_cell_of(board->handle[(i + 1) % 4]);
    while (!atomic_load(&board->stop)) {
        uint64_t number, handles[8];
        size_t length;
        uint32_t n;
        int result = queue_get_objects(mine, &number, &length, handles, &n,
                                       amp_now() + 20 * AMP_MILLISECOND);
        if (result == -ETIMEDOUT)
            continue;
        if (result != 0 || n != 1 || !lives(handles[0]))
            return 1;
        if (queue_put_objects(next, number + 1, 64, handles, 1, AMP_FOREVER) != 0)
            return 2;
        amp_unhold(handles[0]);
        atomic_fetch_add(&board->started[i], 1);
    }
    return 0;
}

static void
test_deaths_on_the_way(void)
{
    enum { N = 4, DEATHS = 120 };
    struct tap_account before = tap_account();
    struct amp_child child[N];
    memset(board, 0, sizeof *board);
    for (int i = 0; i < N; i++)
        board->handle[i] = amp_cell_handle(queue_make(0, 0));
    for (int i = 0; i < N; i++)
        child[i] = tap_child(pass_on_for_ever, &i);
    for (int k = 0; k < DEATHS; k++) {
        for (int i = 0; i < 2; i++) {
            amp_handle traveller = make(AMP_EVENT);
            queue_put_objects(amp_cell_of(board->handle[k % N]), 1, 64, &traveller, 1, AMP_AT_ONCE);
            amp_unhold(traveller);
        }
        tap_nap();
        int i = k * 3 % N;
        tap_kill(&child[i]);
        amp_roster_sweep();
        child[i] = tap_child(pass_on_for_ever, &i);
    }
    atomic_store(&board->stop, 1);
    int failed = 0;
    for (int i = 0; i < N; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "what travels arrives whole, whoever is killed on its way");
    uint32_t carried = 0;
    for (int i = 0; i < N; i++) {
        carried += amp_ring_size(amp_cell_of(board->handle[i]));
    }
    is(amp_cells_live(), before.cells + N + carried,
       "an object lives for each message, and no other");
    for (int i = 0; i < N; i++)
        amp_unhold(board->handle[i]);
    tap_is_settled(before, "then they end with the queues");
}

int
main(void)
{
    tap_family(0);
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_cells();
    test_nested_making();
    test_message();
    test_queue_in_queue();
    test_count_of_carriers();
    test_table();
    test_pipe();
    test_locks_are_new();
    test_full();
    if (tap_forks()) {
        test_locks_forget_the_dead();
        test_child_holds();
        test_makers_die();
        test_messages_of_the_dead();
        test_going_round();
        test_deaths_on_the_way();
    }
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
