/*
 * dict: shared tables and lists. See dict.h for the layout and the argument.
 */
#include "dict.h"

#include <stdlib.h>
#include <string.h>

/* What begins a store. `s_used` and `s_end` only grow; both are raised before the slot is set. */
struct store {
    uint32_t s_slots;      /* a power of two for a dict; as many as fit for a list */
    uint32_t s_used;       /* dict: slots that are not EMPTY */
    _Atomic uint32_t s_length;  /* list: positions in use */
    uint32_t s_popping;    /* list: the position that is being removed, or 0; */
    uint32_t s_popping_length; /* and the length before */
    uint32_t s_spare;
    uint64_t s_end;        /* bytes, from the store's beginning, up to the last entry */
    uint64_t s_size;
    _Atomic uint32_t s_slot[];  /* offset of the entry / 8 */
};

#define EMPTY 0u
#define REMOVED 1u

struct entry {
    uint32_t e_hash;
    uint32_t e_version;
    uint32_t e_key;     /* bytes */
    uint32_t e_handles;
    uint64_t e_value;   /* bytes; then: handles, key, value */
};

#define SLOTS_FIRST 16u

static uint64_t
padded(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

static uint64_t
entry_size(uint64_t key, uint32_t handles, uint64_t value)
{
    return padded(sizeof(struct entry) + 8 * (uint64_t) handles + key + value);
}

static inline uint64_t
size_of(const struct entry *e)
{
    return entry_size(e->e_key, e->e_handles, e->e_value);
}

static inline uint64_t *
handles_of(const struct entry *e)
{
    return (uint64_t *) (e + 1);
}

static inline unsigned char *
key_of(const struct entry *e)
{
    return (unsigned char *) (handles_of(e) + e->e_handles);
}

static inline struct store *
store_of(const struct amp_cell *t)
{
    uint32_t run = atomic_load_explicit(&t->t_store, memory_order_relaxed); /* under the lock */
    return run ? amp_page_at(run) : NULL;
}

static inline uint32_t
slot_value(const struct store *s, uint32_t slot)
{
    return atomic_load_explicit(&s->s_slot[slot], memory_order_relaxed);
}

/* The commit of a change. */
static inline void
set_slot(struct store *s, uint32_t slot, uint32_t value)
{
    AMP_COMPILER_BARRIER();
    atomic_store_explicit(&s->s_slot[slot], value, memory_order_release);
    AMP_COMPILER_BARRIER();
}

static inline struct entry *
entry_at(const struct store *s, uint32_t slot_value)
{
    return (struct entry *) ((char *) s + (uint64_t) slot_value * 8);
}

static bool
is_list(const struct amp_cell *t)
{
    return amp_cell_kind(t) == AMP_LIST;
}

static inline uint32_t
length_of(const struct store *s)
{
    return atomic_load_explicit(&s->s_length, memory_order_relaxed);
}

/* Slots that may name an entry. */
static inline uint32_t
slots_to_look_at(const struct amp_cell *t, const struct store *s)
{
    return is_list(t) ? length_of(s) : s->s_slots;
}

/* FNV-1a, folded. */
static uint32_t
hash_of(struct amp_bytes key)
{
    const unsigned char *bytes = key.bytes;
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.length; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return (uint32_t) (hash ^ hash >> 32);
}

/* Moves the slots behind `position` down by one, from slot `from` on. */
static void
close_gap(struct store *s, uint32_t from)
{
    uint32_t length = length_of(s);
    for (uint32_t i = from; i + 1 < length; i++)
        set_slot(s, i, slot_value(s, i + 1));
    atomic_store_explicit(&s->s_length, length - 1, memory_order_release);
    AMP_COMPILER_BARRIER();
    s->s_popping = 0;
}

static void
finish_pop(struct store *s)
{
    uint32_t from = s->s_popping - 1;
    uint32_t length = length_of(s);
    if (length != s->s_popping_length) { /* all but this note was done */
        s->s_popping = 0;
        return;
    }
    for (uint32_t i = from; i + 1 < length; i++) {
        if (slot_value(s, i) == slot_value(s, i + 1)) {
            from = i + 1; /* so far the dead member came */
            break;
        }
    }
    close_gap(s, from);
}

static bool
is_in_force(uint32_t page, void *argument)
{
    const struct amp_cell *t = argument;
    return page == atomic_load_explicit(&t->t_store, memory_order_relaxed);
}

static void
repair(struct amp_cell *t)
{
    amp_arena_reclaim(amp_cell_index(t), is_in_force, t);
    struct store *s = store_of(t);
    t->t_count = 0;
    if (s == NULL)
        return;
    if (s->s_popping != 0)
        finish_pop(s);
    s->s_used = 0;
    for (uint32_t i = 0; i < slots_to_look_at(t, s); i++) {
        s->s_used += slot_value(s, i) != EMPTY;
        t->t_count += slot_value(s, i) > REMOVED;
    }
}

static struct store *
enter(struct amp_cell *t)
{
    if (amp_lock_enter(&t->c_lock0) == AMP_OWNER_DIED)
        repair(t);
    return store_of(t);
}

static void
leave(struct amp_cell *t)
{
    amp_lock_leave(&t->c_lock0);
}

/* Where a key is, or where it would go. True when it is there. */
static bool
find(const struct store *s, struct amp_bytes key, uint32_t hash, uint32_t *slot)
{
    uint32_t mask = s->s_slots - 1;
    uint32_t room = UINT32_MAX;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        uint32_t value = slot_value(s, i);
        if (value == EMPTY) {
            *slot = room != UINT32_MAX ? room : i;
            return false;
        }
        if (value == REMOVED) {
            if (room == UINT32_MAX)
                room = i;
            continue;
        }
        const struct entry *e = entry_at(s, value);
        if (e->e_hash == hash && e->e_key == key.length &&
            memcmp(key_of(e), key.bytes, key.length) == 0) {
            *slot = i;
            return true;
        }
    }
}

/* A free slot for a hash, in a store without removed ones. */
static uint32_t
free_slot(const struct store *s, uint32_t hash)
{
    uint32_t mask = s->s_slots - 1;
    uint32_t i = hash & mask;
    while (slot_value(s, i) != EMPTY)
        i = (i + 1) & mask;
    return i;
}

/* A new store with what lives, and room for `need` bytes more and one more entry. */
static int
grow(struct amp_cell *t, uint64_t need)
{
    struct store *old = store_of(t);
    uint64_t live = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; old && i < slots_to_look_at(t, old); i++) {
        if (slot_value(old, i) > REMOVED) {
            live += size_of(entry_at(old, slot_value(old, i)));
            count++;
        }
    }
    uint32_t slots = SLOTS_FIRST;
    while (slots < 2 * ((uint64_t) count + 1))
        slots *= 2;
    uint64_t begin = padded(sizeof(struct store) + 4 * (uint64_t) slots);
    uint32_t run;
    int failure = amp_arena_take(begin + 2 * live + need, amp_cell_index(t), &run);
    if (failure != 0)
        return failure;
    struct store *s = amp_page_at(run);
    memset(s, 0, begin);
    s->s_slots = slots;
    s->s_size = amp_arena_run_size(run);
    s->s_end = begin;
    for (uint32_t i = 0; old && i < slots_to_look_at(t, old); i++) {
        if (slot_value(old, i) <= REMOVED)
            continue;
        const struct entry *e = entry_at(old, slot_value(old, i));
        uint32_t slot = is_list(t) ? i : free_slot(s, e->e_hash);
        memcpy((char *) s + s->s_end, e, size_of(e));
        set_slot(s, slot, (uint32_t) (s->s_end / 8));
        s->s_end += size_of(e);
        s->s_used++;
    }
    atomic_store_explicit(&s->s_length, old ? length_of(old) : 0, memory_order_relaxed);
    uint32_t old_run = atomic_load_explicit(&t->t_store, memory_order_relaxed);
    atomic_store_explicit(&t->t_store, run, memory_order_release);
    AMP_COMPILER_BARRIER();
    if (old_run != 0)
        amp_arena_free(old_run);
    return 0;
}

/* Sees to it that an entry of `size` bytes fits, and a slot for it. */
static int
make_room(struct amp_cell *t, uint64_t size)
{
    struct store *s = store_of(t);
    if (s && s->s_end + size <= s->s_size) {
        uint64_t used = is_list(t) ? length_of(s) : s->s_used;
        uint64_t limit = is_list(t) ? s->s_slots : (uint64_t) s->s_slots / 4 * 3;
        if (used + 1 <= limit)
            return 0;
    }
    return grow(t, size);
}

/* Writes an entry behind the others; what its slot will say. There is room. */
static uint32_t
write_entry(struct amp_cell *t, struct amp_bytes key, uint32_t hash,
            const struct amp_stored *value)
{
    struct store *s = store_of(t);
    struct entry *e = (struct entry *) ((char *) s + s->s_end);
    uint32_t at = (uint32_t) (s->s_end / 8);
    if (++t->t_version == 0)
        t->t_version = 1; /* 0 is AMP_NO_ENTRY */
    e->e_hash = hash;
    e->e_version = t->t_version;
    e->e_key = (uint32_t) key.length;
    e->e_handles = value->n;
    e->e_value = value->value.length;
    if (value->n > 0)
        memcpy(handles_of(e), value->handles, 8 * (size_t) value->n);
    memcpy(key_of(e), key.bytes, key.length);
    memcpy(key_of(e) + key.length, value->value.bytes, value->value.length);
    s->s_end += size_of(e);
    return at;
}

/* Copies handles and value out, and makes the objects the caller's. */
static int
copy_out(const struct entry *e, struct amp_message *message)
{
    size_t size = 8 * (size_t) e->e_handles + e->e_value;
    message->pinned = message->copied = false;
    message->heap = malloc(size ? size : 1);
    if (message->heap == NULL)
        return -ENOMEM;
    memcpy(message->heap, handles_of(e), 8 * (size_t) e->e_handles);
    memcpy((char *) message->heap + 8 * (size_t) e->e_handles, key_of(e) + e->e_key, e->e_value);
    message->cells = message->heap;
    message->ncells = e->e_handles;
    message->bytes = (unsigned char *) message->heap + 8 * (size_t) e->e_handles;
    message->length = e->e_value;
    for (uint32_t i = 0; i < message->ncells; i++)
        amp_hold(message->cells[i]);
    if (message->ncells > 0)
        amp_hold_transferred();
    return 0;
}

int
amp_dict_get(struct amp_cell *t, struct amp_bytes key, struct amp_message *message,
             uint64_t *version)
{
    int result = -ENOENT;
    uint32_t slot;
    struct store *s = enter(t);
    if (s && find(s, key, hash_of(key), &slot)) {
        const struct entry *e = entry_at(s, slot_value(s, slot));
        result = copy_out(e, message);
        *version = e->e_version;
    } else {
        *version = AMP_NO_ENTRY;
    }
    leave(t);
    return result;
}

/* Objects of an entry that is being replaced: nobody's, perhaps, afterwards. */
struct dropped {
    uint64_t *handles;
    uint32_t n;
};

/* Changes what a slot names: to nothing, or to an entry with the value's objects. */
static int
replace(struct amp_cell *t, uint32_t slot, uint32_t at, const struct amp_stored *value,
        struct dropped *dropped)
{
    struct store *s = store_of(t);
    uint32_t before = slot_value(s, slot);
    if (before > REMOVED && entry_at(s, before)->e_handles > 0) {
        const struct entry *e = entry_at(s, before);
        dropped->handles = malloc(8 * (size_t) e->e_handles);
        if (dropped->handles == NULL)
            return -ENOMEM;
        memcpy(dropped->handles, handles_of(e), 8 * (size_t) e->e_handles);
        dropped->n = e->e_handles;
        amp_handling(true);
    }
    if (value)
        amp_handle_sent(t, value->handles, value->n);
    set_slot(s, slot, at);
    amp_handle_sent_done();
    return 0;
}

/* After the lock is free. */
static void
let_go(struct amp_cell *t, struct dropped *dropped)
{
    if (dropped->n > 0)
        amp_handles_dropped(t, dropped->handles, dropped->n);
    free(dropped->handles);
}

int
amp_dict_set(struct amp_cell *t, struct amp_bytes key, const struct amp_stored *value,
             uint64_t version)
{
    uint32_t hash = hash_of(key);
    uint32_t slot = 0;
    int failure = 0;
    struct dropped dropped = {NULL, 0};
    if (key.length > UINT32_MAX / 2)
        return -ENOMEM;
    struct store *s = enter(t);
    bool there = s && find(s, key, hash, &slot);
    uint64_t present = there ? entry_at(s, slot_value(s, slot))->e_version : AMP_NO_ENTRY;
    if (version != AMP_ANY_VERSION && version != present) {
        failure = -ESTALE;
    } else if (value == NULL) {
        if (there) {
            failure = replace(t, slot, REMOVED, NULL, &dropped);
            if (failure == 0)
                t->t_count--;
        }
    } else {
        failure = make_room(t, entry_size(key.length, value->n, value->value.length));
        if (failure == 0) {
            s = store_of(t);
            find(s, key, hash, &slot);
            bool fresh = slot_value(s, slot) == EMPTY;
            uint32_t at = write_entry(t, key, hash, value);
            failure = replace(t, slot, at, value, &dropped);
            if (failure == 0) {
                s->s_used += fresh;
                t->t_count += !there;
            }
        }
    }
    leave(t);
    let_go(t, &dropped);
    return failure;
}

uint32_t
amp_dict_count(struct amp_cell *t)
{
    struct store *s = enter(t);
    uint32_t count = !s ? 0 : is_list(t) ? length_of(s) : t->t_count;
    leave(t);
    return count;
}

/* In a snapshot the entries follow one another. */
int
amp_dict_snapshot(struct amp_cell *t, struct amp_snapshot *snapshot)
{
    *snapshot = (struct amp_snapshot) {.memory = NULL};
    struct store *s = enter(t);
    uint64_t size = 0;
    for (uint32_t i = 0; s && i < slots_to_look_at(t, s); i++) {
        if (slot_value(s, i) > REMOVED)
            size += size_of(entry_at(s, slot_value(s, i)));
    }
    snapshot->memory = malloc(size ? size : 1);
    if (snapshot->memory == NULL) {
        leave(t);
        return -ENOMEM;
    }
    bool objects = false;
    for (uint32_t i = 0; s && i < slots_to_look_at(t, s); i++) {
        if (slot_value(s, i) <= REMOVED)
            continue;
        const struct entry *e = entry_at(s, slot_value(s, i));
        memcpy((char *) snapshot->memory + snapshot->length, e, size_of(e));
        snapshot->length += size_of(e);
        for (uint32_t k = 0; k < e->e_handles; k++) {
            amp_hold(handles_of(e)[k]);
            objects = true;
        }
    }
    if (objects)
        amp_hold_transferred();
    leave(t);
    return 0;
}

bool
amp_snapshot_next(struct amp_snapshot *snapshot, struct amp_bytes *key, struct amp_message *value)
{
    if (snapshot->position == snapshot->length)
        return false;
    const struct entry *e = (const struct entry *) ((char *) snapshot->memory + snapshot->position);
    snapshot->position += size_of(e);
    *key = (struct amp_bytes) {key_of(e), e->e_key};
    *value = (struct amp_message) {
        .bytes = key_of(e) + e->e_key,
        .length = e->e_value,
        .cells = handles_of(e),
        .ncells = e->e_handles,
    };
    return true;
}

void
amp_snapshot_done(struct amp_snapshot *snapshot)
{
    free(snapshot->memory);
    snapshot->memory = NULL;
    snapshot->position = snapshot->length = 0;
}

/*
 * Lists.
 */

int
amp_list_get(struct amp_cell *t, uint64_t position, struct amp_message *message)
{
    int result = -ENOENT;
    struct store *s = enter(t);
    if (s && position >= 1 && position <= length_of(s))
        result = copy_out(entry_at(s, slot_value(s, (uint32_t) position - 1)), message);
    leave(t);
    return result;
}

/* Position 0 is behind the last. */
static int
set_position(struct amp_cell *t, uint64_t position, const struct amp_stored *value)
{
    static const struct amp_bytes no_key = {"", 0};
    struct dropped dropped = {NULL, 0};
    struct store *s = enter(t);
    uint32_t length = s ? length_of(s) : 0;
    int failure = 0;
    if (position == 0)
        position = (uint64_t) length + 1;
    if (position > (uint64_t) length + 1)
        failure = -ERANGE;
    if (failure == 0)
        failure = make_room(t, entry_size(0, value->n, value->value.length));
    if (failure == 0) {
        s = store_of(t);
        uint32_t at = write_entry(t, no_key, 0, value);
        if (position == (uint64_t) length + 1) {
            set_slot(s, length, at);
            amp_handle_sent(t, value->handles, value->n);
            atomic_store_explicit(&s->s_length, length + 1, memory_order_release);
            amp_handle_sent_done();
        } else {
            failure = replace(t, (uint32_t) position - 1, at, value, &dropped);
        }
    }
    leave(t);
    let_go(t, &dropped);
    return failure;
}

int
amp_list_set(struct amp_cell *t, uint64_t position, const struct amp_stored *value)
{
    return position == 0 ? -ERANGE : set_position(t, position, value);
}

int
amp_list_append(struct amp_cell *t, const struct amp_stored *value)
{
    return set_position(t, 0, value);
}

int
amp_list_pop(struct amp_cell *t, uint64_t position, struct amp_message *message)
{
    int result = -ENOENT;
    struct store *s = enter(t);
    uint32_t length = s ? length_of(s) : 0;
    if (position == 0)
        position = length;
    if (position >= 1 && position <= length) {
        const struct entry *e = entry_at(s, slot_value(s, (uint32_t) position - 1));
        result = copy_out(e, message);
        if (result == 0) {
            if (message->ncells > 0)
                amp_handling(true);
            s->s_popping_length = length;
            AMP_COMPILER_BARRIER();
            s->s_popping = (uint32_t) position;
            AMP_COMPILER_BARRIER();
            close_gap(s, (uint32_t) position - 1);
            if (message->ncells > 0)
                amp_handles_taken(t, message->cells, message->ncells);
        }
    }
    leave(t);
    return result;
}

/*
 * What a table has of objects, and its end.
 */

static bool
dict_carries(struct amp_cell *t, amp_handle handle)
{
    bool found = false;
    struct store *s = enter(t);
    for (uint32_t i = 0; s && i < slots_to_look_at(t, s) && !found; i++) {
        if (slot_value(s, i) <= REMOVED)
            continue;
        const struct entry *e = entry_at(s, slot_value(s, i));
        for (uint32_t k = 0; k < e->e_handles && !found; k++)
            found = handles_of(e)[k] == handle;
    }
    leave(t);
    return found;
}

static bool
keep_none(uint32_t page, void *argument)
{
    (void) page, (void) argument;
    return false;
}

static void
dict_end(struct amp_cell *t)
{
    struct store *s = enter(t);
    for (uint32_t i = 0; s && !t->c_ending && i < slots_to_look_at(t, s); i++) {
        if (slot_value(s, i) <= REMOVED)
            continue;
        const struct entry *e = entry_at(s, slot_value(s, i));
        for (uint32_t k = 0; k < e->e_handles; k++)
            amp_handle_doubt(t, handles_of(e)[k]);
    }
    bool begun = t->c_ending;
    t->c_ending = 1;
    AMP_COMPILER_BARRIER();
    uint32_t run = atomic_load_explicit(&t->t_store, memory_order_relaxed);
    atomic_store_explicit(&t->t_store, 0, memory_order_relaxed);
    AMP_COMPILER_BARRIER();
    if (begun)
        amp_arena_reclaim(amp_cell_index(t), keep_none, NULL);
    else if (run != 0)
        amp_arena_free(run);
    leave(t);
}

const struct amp_kind_operations amp_dict_operations = {
    .end = dict_end,
    .carries = dict_carries,
};
