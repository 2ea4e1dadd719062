/*
 * Shared dicts and lists: they hold what was put into them, in order where there is one, also when
 * many change them and some die doing so.
 */
#include "objects.h"

static struct {
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int stop;
    amp_handle handle;
    _Atomic uint64_t sum;
} *board;

static struct amp_cell *
shared(void)
{
    return amp_cell_of(board->handle);
}

/*
 * Dicts.
 */

static void
test_dict(void)
{
    struct amp_cell *d = table_make(AMP_DICT);
    is(amp_dict_count(d), 0, "a new dict is empty");
    ok(dict_has(d, "a", NULL), "and has no key");
    is(dict_set(d, "a", NULL), 0, "to remove what is not there does nothing");
    is(dict_set(d, "a", "1"), 0, "a value is set");
    ok(dict_has(d, "a", "1"), "and can be got");
    is(dict_set(d, "a", "another"), 0, "it is set to another");
    ok(dict_has(d, "a", "another"), "which can be got");
    is(amp_dict_count(d), 1, "that is one entry still");
    is(dict_set(d, "", "the empty key"), 0, "a key may be empty");
    is(dict_set(d, "empty", ""), 0, "and so may a value");
    ok(dict_has(d, "", "the empty key") && dict_has(d, "empty", ""), "both are there");
    is(amp_dict_count(d), 3, "three entries");
    is(dict_set(d, "a", NULL), 0, "one is removed");
    ok(dict_has(d, "a", NULL), "and is gone");
    is(amp_dict_count(d), 2, "two are left");
    is(dict_set(d, "a", "back"), 0, "it may come back");
    ok(dict_has(d, "a", "back"), "and is there");

    struct amp_stored stored = {.value = text("x")};
    struct amp_bytes zeroes = {"a\0b", 3};
    amp_dict_set(d, zeroes, &stored, AMP_ANY_VERSION);
    ok(dict_has(d, "a", "back"), "a key is all of its bytes");
    tap_unhold(d);
}

static void
test_versions(void)
{
    struct amp_cell *d = table_make(AMP_DICT);
    struct amp_stored stored = {.value = text("new")};
    struct amp_message message;
    uint64_t first, second;
    is(amp_dict_get(d, text("k"), &message, &first), -ENOENT, "no entry");
    is(first, AMP_NO_ENTRY, "has the version of no entry");
    is(amp_dict_set(d, text("k"), &stored, first), 0, "it is set when there is still none");
    is(amp_dict_set(d, text("k"), &stored, first), -ESTALE, "but not when there is one");
    amp_dict_get(d, text("k"), &message, &first);
    amp_message_done(&message);
    is(amp_dict_set(d, text("k"), &stored, first), 0, "it is set when it is still the same");
    amp_dict_get(d, text("k"), &message, &second);
    amp_message_done(&message);
    ok(second != first, "then it is another, though its value is the same");
    is(amp_dict_set(d, text("k"), &stored, first), -ESTALE, "what was changed is not set");
    is(amp_dict_set(d, text("k"), NULL, first), -ESTALE, "nor removed");
    is(amp_dict_set(d, text("k"), NULL, second), 0, "what was not changed is removed");
    is(amp_dict_set(d, text("k"), &stored, second), -ESTALE, "what was removed is not set");
    d->t_version = UINT32_MAX;
    amp_dict_set(d, text("k"), &stored, AMP_ANY_VERSION);
    amp_dict_get(d, text("k"), &message, &first);
    amp_message_done(&message);
    ok(first != AMP_NO_ENTRY, "versions go round, past the one of no entry");
    tap_unhold(d);
}

#define MANY 3000

static void
test_growth(void)
{
    uint64_t used = amp_arena_used();
    struct amp_cell *d = table_make(AMP_DICT);
    char key[32], value[256];
    int failed = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "%*d", i % 200 + 1, i);
        failed += dict_set(d, key, value) != 0;
    }
    is(failed, 0, "thousands of entries are set");
    is(amp_dict_count(d), MANY, "and counted");
    bool right = true;
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "%*d", i % 200 + 1, i);
        right = right && dict_has(d, key, value);
    }
    ok(right, "each is there after all the growth");
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "key %d", i);
        if (i % 3 != 0)
            dict_set(d, key, NULL);
    }
    is(amp_dict_count(d), MANY / 3, "two of three are removed");
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "%*d", i % 200 + 1, i);
        right = right && dict_has(d, key, i % 3 == 0 ? value : NULL);
    }
    ok(right, "the right ones");
    uint64_t grown = amp_arena_used();
    for (int i = 0; i < 20 * MANY; i++)
        dict_set(d, "one", i % 2 ? "is set" : "again and again");
    ok(amp_arena_used() <= 2 * grown, "an entry that is set all the time takes no end of memory");
    for (int i = 0; i < 20 * MANY; i++) {
        snprintf(key, sizeof key, "passing %d", i);
        dict_set(d, key, "x");
        dict_set(d, key, NULL);
    }
    ok(amp_arena_used() <= 2 * grown, "nor do keys that come and go");
    is(amp_dict_count(d), MANY / 3 + 1, "and the count is right");
    tap_unhold(d);
    is(amp_arena_used(), used, "all memory comes back with the dict");
}

static void
test_large(void)
{
    struct amp_cell *d = table_make(AMP_DICT);
    size_t size = 5 << 20;
    unsigned char *bytes = malloc(size);
    pattern_fill(bytes, size, 99);
    struct amp_stored stored = {.value = {bytes, size}};
    is(amp_dict_set(d, text("large"), &stored, AMP_ANY_VERSION), 0, "a value of megabytes is set");
    struct amp_bytes key = {bytes, 100000};
    stored.value = text("of a large key");
    is(amp_dict_set(d, key, &stored, AMP_ANY_VERSION), 0, "and a key of a hundred kilobytes");
    struct amp_message message;
    uint64_t version;
    is(amp_dict_get(d, text("large"), &message, &version), 0, "the value is got");
    ok(message.length == size && pattern_holds(message.bytes, size, 99), "whole");
    amp_message_done(&message);
    is(amp_dict_get(d, key, &message, &version), 0, "the key is found");
    ok(message_says(&message, "of a large key"), "with its value");
    stored.value = (struct amp_bytes) {bytes, TAP_ARENA};
    /* Its bytes are never looked at, since there is no room for them. */
    is(amp_dict_set(d, text("large"), &stored, AMP_ANY_VERSION), -ENOMEM,
       "a value that is larger than the arena is refused");
    is(amp_dict_get(d, text("large"), &message, &version), 0, "and the old one is still there");
    ok(message.length == size, "whole");
    amp_message_done(&message);
    tap_unhold(d);
    free(bytes);
}

static void
test_snapshot(void)
{
    struct amp_cell *d = table_make(AMP_DICT);
    struct amp_snapshot snapshot;
    struct amp_bytes key;
    struct amp_message value;
    is(amp_dict_snapshot(d, &snapshot), 0, "an empty dict has a snapshot");
    ok(!amp_snapshot_next(&snapshot, &key, &value), "with nothing in it");
    amp_snapshot_done(&snapshot);
    for (int i = 0; i < 100; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        dict_set(d, name, name);
    }
    amp_dict_snapshot(d, &snapshot);
    dict_set(d, "5", NULL);
    dict_set(d, "7", "changed");
    int seen[100] = {0};
    bool right = true;
    while (amp_snapshot_next(&snapshot, &key, &value)) {
        char name[8] = "";
        memcpy(name, key.bytes, key.length);
        right = right && value.length == key.length &&
                memcmp(value.bytes, key.bytes, key.length) == 0;
        seen[atoi(name)]++;
    }
    for (int i = 0; i < 100; i++)
        right = right && seen[i] == 1;
    ok(right, "a snapshot has each entry once, as it was");
    amp_snapshot_done(&snapshot);
    tap_unhold(d);
}

/*
 * Lists.
 */

static void
test_list(void)
{
    struct amp_cell *l = table_make(AMP_LIST);
    struct amp_message message;
    struct amp_stored stored = {.value = text("set")};
    is(amp_dict_count(l), 0, "a new list is empty");
    ok(list_has(l, 1, NULL) && list_has(l, 0, NULL), "and has nothing anywhere");
    is(amp_list_pop(l, 0, &message), -ENOENT, "nothing can be popped");
    is(amp_list_set(l, 2, &stored), -ERANGE, "nor set past its end");
    is(amp_list_set(l, 0, &stored), -ERANGE, "nor before its beginning");
    is(amp_list_set(l, 1, &stored), 0, "but just behind its end");
    ok(list_has(l, 1, "set"), "where it is then");
    is(list_append(l, "two"), 0, "a value is appended");
    is(amp_dict_count(l), 2, "that makes two");
    is(amp_list_set(l, 1, &(struct amp_stored) {.value = text("one")}), 0, "the first is set anew");
    ok(list_has(l, 1, "one") && list_has(l, 2, "two") && list_has(l, 3, NULL), "in its place");
    is(amp_list_pop(l, 3, &message), -ENOENT, "there is no third to pop");
    is(amp_list_pop(l, 0, &message), 0, "the last is popped");
    ok(message_says(&message, "two"), "it is what it was");
    is(amp_list_pop(l, 1, &message), 0, "and the first");
    ok(message_says(&message, "one"), "as well");
    is(amp_dict_count(l), 0, "then it is empty again");
    is(list_append(l, "again"), 0, "and can be filled again");
    tap_unhold(l);
}

static void
test_pop_order(void)
{
    uint64_t used = amp_arena_used();
    struct amp_cell *l = table_make(AMP_LIST);
    char name[16];
    static int model[MANY];
    int length = 0;
    bool right = true;
    unsigned random = 1;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%d", i);
        right = right && list_append(l, name) == 0;
        model[length++] = i;
        random = random * 1103515245 + 12345;
        if ((random >> 16) % 3 != 0 || length < 50)
            continue;
        int position = (int) ((random >> 8) % (unsigned) length); /* 0 ... length - 1 */
        struct amp_message message;
        snprintf(name, sizeof name, "%d", model[position]);
        right = right && amp_list_pop(l, (uint64_t) position + 1, &message) == 0 &&
                message_says(&message, name);
        memmove(&model[position], &model[position + 1],
                (size_t) (length - position - 1) * sizeof *model);
        length--;
    }
    ok(right, "what is popped from the middle is what stood there");
    is(amp_dict_count(l), length, "the length is right");
    for (int i = 0; i < length; i++) {
        snprintf(name, sizeof name, "%d", model[i]);
        right = right && list_has(l, (uint64_t) i + 1, name);
    }
    ok(right, "pop from the middle keeps order");

    for (int i = 0; i < 10 * MANY; i++) { /* a list as a queue, as long as it is */
        struct amp_message message;
        list_append(l, "passing");
        amp_list_pop(l, 1, &message);
        amp_message_done(&message);
    }
    is(amp_dict_count(l), length, "values that come and go leave the length");
    struct amp_snapshot snapshot;
    struct amp_bytes key;
    struct amp_message value;
    int n = 0;
    amp_dict_snapshot(l, &snapshot);
    while (amp_snapshot_next(&snapshot, &key, &value)) {
        right = right && value.length == 7 && key.length == 0;
        n++;
    }
    ok(right && n == length, "a snapshot of a list has all of it");
    amp_snapshot_done(&snapshot);
    tap_unhold(l);
    is(amp_arena_used(), used, "all memory comes back with the list");
}

/*
 * Many.
 */

#define ROUNDS 200

static int
change_all_kinds(int index)
{
    struct amp_cell *d = shared();
    char key[32], value[128];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(key, sizeof key, "%d of %d", i % 40, index);
        snprintf(value, sizeof value, "%*d", (i * 7 + index) % 100 + 1, i);
        if (dict_set(d, key, value) != 0)
            return 1;
        if (!dict_has(d, key, value))
            return 2;
        if (i % 3 == 0 && (dict_set(d, key, NULL) != 0 || !dict_has(d, key, NULL)))
            return 3;
        for (;;) { /* a counter that all share, changed by who saw it last */
            struct amp_message message;
            uint64_t version, count = 0;
            int result = amp_dict_get(d, text("counter"), &message, &version);
            if (result == 0) {
                memcpy(&count, message.bytes, sizeof count);
                amp_message_done(&message);
            }
            count++;
            struct amp_stored stored = {.value = {&count, sizeof count}};
            result = amp_dict_set(d, text("counter"), &stored, version);
            if (result == 0)
                break;
            if (result != -ESTALE)
                return 4;
        }
    }
    return 0;
}

static void
test_many_in_dict(void)
{
    struct amp_cell *d = table_make(AMP_DICT);
    board->handle = amp_cell_handle(d);
    is(tap_together(16, change_all_kinds), 0, "many change a dict at once");
    struct amp_message message;
    uint64_t version, count = 0;
    amp_dict_get(d, text("counter"), &message, &version);
    memcpy(&count, message.bytes, sizeof count);
    amp_message_done(&message);
    is(count, 16 * ROUNDS, "and no update by version is lost");
    tap_unhold(d);
}

static int
append_or_pop(int index)
{
    struct amp_cell *l = shared();
    if (index % 2 == 0) {
        for (uint64_t i = 0; i < ROUNDS; i++) {
            uint64_t number = (uint64_t) index << 32 | i;
            struct amp_stored stored = {.value = {&number, sizeof number}};
            if (amp_list_append(l, &stored) != 0)
                return 1;
            atomic_fetch_add(&board->sum, number);
        }
        return 0;
    }
    for (int i = 0; i < ROUNDS;) {
        struct amp_message message;
        uint64_t number;
        int result = amp_list_pop(l, (uint64_t) (i % 3), &message);
        if (result == -ENOENT) {
            sched_yield();
            continue;
        }
        if (result != 0 || message.length != sizeof number)
            return 2;
        memcpy(&number, message.bytes, sizeof number);
        amp_message_done(&message);
        atomic_fetch_sub(&board->sum, number);
        i++;
    }
    return 0;
}

static void
test_many_in_list(void)
{
    struct amp_cell *l = table_make(AMP_LIST);
    board->handle = amp_cell_handle(l);
    atomic_store(&board->sum, 0);
    is(tap_together(16, append_or_pop), 0, "many append to a list and pop from it");
    is(atomic_load(&board->sum), 0, "each value comes out once");
    is(amp_dict_count(l), 0, "and none is left");
    tap_unhold(l);
}

/*
 * Deaths. Each child changes keys of its own in both tables; what it did last is there or not, but
 * whole, and what others did is there.
 */

static int
change_for_ever(void *argument)
{
    int index = *(int *) argument;
    struct amp_cell *d = shared();
    char key[32], value[256];
    for (unsigned i = 0;; i++) {
        unsigned number = (unsigned) atomic_fetch_add(&board->started[index], 1);
        snprintf(key, sizeof key, "%u of %d", number % 50, index);
        snprintf(value, sizeof value, "%s:%*u", key, (int) (number % 150) + 1, number);
        if (dict_set(d, key, number % 4 == 3 ? NULL : value) != 0)
            return 1;
    }
}

static void
test_deaths_in_dict(void)
{
    enum { N = 4, DEATHS = 150 };
    uint64_t used = amp_arena_used();
    struct amp_cell *d = table_make(AMP_DICT);
    memset(board, 0, sizeof *board);
    board->handle = amp_cell_handle(d);
    struct amp_child child[N];
    for (int i = 0; i < N; i++)
        child[i] = tap_child(change_for_ever, &i);
    bool whole = true;
    for (int k = 0; k < DEATHS; k++) {
        int i = k % N;
        tap_nap();
        tap_kill(&child[i]);
        amp_roster_sweep();
        struct amp_snapshot snapshot;
        struct amp_bytes key;
        struct amp_message value;
        uint32_t n = 0;
        amp_dict_snapshot(d, &snapshot);
        while (amp_snapshot_next(&snapshot, &key, &value)) {
            n++;
            whole = whole && value.length > key.length &&
                    memcmp(value.bytes, key.bytes, key.length) == 0 &&
                    value.bytes[key.length] == ':';
        }
        amp_snapshot_done(&snapshot);
        whole = whole && n <= N * 50;
        child[i] = tap_child(change_for_ever, &i);
    }
    ok(whole, "a dict has whole entries only, whoever is killed while changing it");
    for (int i = 0; i < N; i++)
        tap_kill(&child[i]);
    amp_roster_sweep();
    uint32_t n = 0;
    struct amp_snapshot snapshot;
    struct amp_bytes key;
    struct amp_message value;
    amp_dict_snapshot(d, &snapshot);
    while (amp_snapshot_next(&snapshot, &key, &value))
        n++;
    amp_snapshot_done(&snapshot);
    is(amp_dict_count(d), n, "and counts them right");
    tap_unhold(d);
    is(amp_arena_used(), used, "all its memory comes back");
}

/* Children rotate a list of numbers: pop from anywhere, append. Killed in between, a number is
   lost. */
static int
rotate_for_ever(void *argument)
{
    int index = *(int *) argument;
    struct amp_cell *l = shared();
    for (unsigned i = (unsigned) index;; i += 7) {
        struct amp_message message;
        uint64_t number;
        if (amp_list_pop(l, i % 60 + 1, &message) != 0)
            continue;
        memcpy(&number, message.bytes, sizeof number);
        amp_message_done(&message);
        struct amp_stored stored = {.value = {&number, sizeof number}};
        if (amp_list_append(l, &stored) != 0)
            return 1;
    }
}

static void
test_deaths_in_list(void)
{
    enum { N = 4, DEATHS = 150, NUMBERS = 400 };
    uint64_t used = amp_arena_used();
    struct amp_cell *l = table_make(AMP_LIST);
    board->handle = amp_cell_handle(l);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        struct amp_stored stored = {.value = {&i, sizeof i}};
        amp_list_append(l, &stored);
    }
    struct amp_child child[N];
    for (int i = 0; i < N; i++)
        child[i] = tap_child(rotate_for_ever, &i);
    for (int k = 0; k < DEATHS; k++) {
        int i = k % N;
        tap_nap();
        tap_kill(&child[i]);
        amp_roster_sweep();
        child[i] = tap_child(rotate_for_ever, &i);
    }
    for (int i = 0; i < N; i++)
        tap_kill(&child[i]);
    amp_roster_sweep();
    int seen[NUMBERS] = {0}, twice = 0;
    uint32_t length = amp_dict_count(l);
    for (uint32_t i = 1; i <= length; i++) {
        struct amp_message message;
        uint64_t number = 0;
        if (amp_list_get(l, i, &message) != 0)
            continue;
        memcpy(&number, message.bytes, sizeof number);
        amp_message_done(&message);
        twice += seen[number % NUMBERS]++ > 0;
    }
    is(twice, 0, "no value of a list is doubled, whoever is killed while changing it");
    ok(length <= NUMBERS && length >= NUMBERS - DEATHS - N,
       "and each death loses one value at most, the one that was just popped");
    tap_unhold(l);
    is(amp_arena_used(), used, "all its memory comes back");
}

int
main(void)
{
    tap_family(0);
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_dict();
    test_versions();
    test_growth();
    test_large();
    test_snapshot();
    test_list();
    test_pop_order();
    test_many_in_dict();
    test_many_in_list();
    if (tap_forks()) {
        test_deaths_in_dict();
        test_deaths_in_list();
    }
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
