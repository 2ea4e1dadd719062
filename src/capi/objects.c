/*
 * objects: handles of shared objects, and what C does with locks, semaphores, events and values.
 *
 * A handle is private memory of the process; the object is a cell of the arena. The thread that makes a
 * handle holds the object, and each handle is counted beside what else of that thread stands for it
 * (amp_keep): the values of Lua states.
 */
#include "capi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The classes of objects that programs in C have, and what luamp.h calls them. */
static int
kind_of(enum luampO_class_id class)
{
    switch (class) {
    case LUAMPO_LOCK:
        return LUAMP_LOCK;
    case LUAMPO_RLOCK:
        return LUAMP_RLOCK;
    case LUAMPO_SEMAPHORE:
        return LUAMP_SEMAPHORE;
    case LUAMPO_BOUNDED_SEMAPHORE:
        return LUAMP_BOUNDED_SEMAPHORE;
    case LUAMPO_EVENT:
        return LUAMP_EVENT;
    case LUAMPO_VALUE:
        return LUAMP_VALUE;
    case LUAMPO_QUEUE:
    case LUAMPO_JOINABLE_QUEUE:
    case LUAMPO_SIMPLE_QUEUE:
        return LUAMP_QUEUE;
    default:
        return 0;
    }
}

/* What the cell of an object of the class is. */
static enum amp_kind
cell_kind_of(enum luampO_class_id class)
{
    switch (kind_of(class)) {
    case LUAMP_LOCK:
        return AMP_LOCK;
    case LUAMP_RLOCK:
        return AMP_RLOCK;
    case LUAMP_SEMAPHORE:
        return AMP_SEMAPHORE;
    case LUAMP_BOUNDED_SEMAPHORE:
        return AMP_BOUNDED_SEMAPHORE;
    case LUAMP_EVENT:
        return AMP_EVENT;
    case LUAMP_VALUE:
        return AMP_VALUE;
    case LUAMP_QUEUE:
        return AMP_QUEUE;
    default:
        return AMP_NONE;
    }
}

/*
 * Handles.
 */

int
luampA_enter(const luamp_Object *object, unsigned classes)
{
    if (__builtin_expect(object == NULL, 0))
        return LUAMP_MISUSE;
    int result = luampA_join(NULL);
    if (__builtin_expect(result != LUAMP_OK, 0))
        return result;
    if (__builtin_expect((LUAMPA_CLASS(object->class) & classes) == 0, 0))
        return LUAMP_WRONG_KIND;
    return amp_cell_of(object->handle) == object->cell ? LUAMP_OK : LUAMP_GONE;
}

int
luampA_handle(amp_handle handle, enum luampO_class_id class, luamp_Object **object)
{
    struct amp_cell *cell = amp_cell_of(handle);
    if (cell == NULL)
        return LUAMP_GONE;
    if (kind_of(class) == 0 || amp_cell_kind(cell) != cell_kind_of(class))
        return LUAMP_WRONG_KIND;
    luamp_Object *made = malloc(sizeof *made);
    if (made == NULL || amp_keep_room(amp_handle_index(handle)) != 0) {
        free(made);
        return LUAMP_NO_MEMORY;
    }
    *made = (luamp_Object) {.handle = handle, .cell = cell, .class = class};
    amp_hold(handle);
    amp_keep(handle);
    *object = made;
    return LUAMP_OK;
}

int
luamp_dup(luamp_Object *object, luamp_Object **another)
{
    if (another == NULL)
        return LUAMP_MISUSE;
    *another = NULL;
    int result = luampA_enter(object, LUAMPA_ANY);
    return result == LUAMP_OK ? luampA_handle(object->handle, object->class, another) : result;
}

void
luamp_close(luamp_Object *object)
{
    if (object == NULL)
        return;
    if (object->watch)
        luampA_watch_end(object->watch);
    if (amp_unkeep(object->handle))
        amp_unhold(object->handle);
    free(object);
}

int
luamp_kind(const luamp_Object *object)
{
    return object ? kind_of(object->class) : 0;
}

const char *
luamp_name(const luamp_Object *object)
{
    return object && amp_cell_of(object->handle) == object->cell ? object->cell->c_name : "?";
}

/*
 * Making. begin() takes a cell and memory for a handle; the caller fills the cell in; finish() makes it an
 * object, or gives both up.
 */

static int
begin(enum luampO_class_id class, const char *name, luamp_Object **out, struct amp_cell **cell)
{
    if (out == NULL)
        return LUAMP_MISUSE;
    *out = NULL;
    int result = luampA_join(NULL);
    if (result != LUAMP_OK)
        return result;
    luamp_Object *object = malloc(sizeof *object);
    if (object == NULL)
        return LUAMP_NO_MEMORY;
    result = luampA_result(amp_cell_make(cell_kind_of(class), name ? name : "?", cell));
    if (result != LUAMP_OK) {
        free(object);
        return result;
    }
    *object = (luamp_Object) {.cell = *cell, .class = class};
    *out = object;
    return LUAMP_OK;
}

static int
finish(luamp_Object **out, int failure)
{
    luamp_Object *object = *out;
    if (failure == 0)
        failure = amp_keep_room(amp_cell_index(object->cell));
    if (failure != 0) {
        amp_cell_abandon(object->cell);
        free(object);
        *out = NULL;
        return luampA_result(failure);
    }
    object->handle = amp_cell_ready(object->cell);
    amp_keep(object->handle);
    return LUAMP_OK;
}

/* One whose cell is right when it is zero. */
static int
make_plain(enum luampO_class_id class, const char *name, luamp_Object **out)
{
    struct amp_cell *cell;
    int result = begin(class, name, out, &cell);
    return result == LUAMP_OK ? finish(out, 0) : result;
}

int
luamp_new_lock(const char *name, luamp_Object **lock)
{
    return make_plain(LUAMPO_LOCK, name, lock);
}

int
luamp_new_rlock(const char *name, luamp_Object **lock)
{
    return make_plain(LUAMPO_RLOCK, name, lock);
}

int
luamp_new_event(const char *name, luamp_Object **event)
{
    return make_plain(LUAMPO_EVENT, name, event);
}

static int
make_semaphore(enum luampO_class_id class, const char *name, unsigned permits, luamp_Object **out)
{
    struct amp_cell *cell;
    if (permits > AMP_PERMITS_MAX)
        return LUAMP_OUT_OF_RANGE;
    int result = begin(class, name, out, &cell);
    if (result != LUAMP_OK)
        return result;
    int failure = class == LUAMPO_BOUNDED_SEMAPHORE ? amp_semaphore_bind(cell, permits) : 0;
    atomic_store_explicit(&cell->s_permits, permits << 1, memory_order_relaxed);
    return finish(out, failure);
}

int
luamp_new_semaphore(const char *name, unsigned permits, luamp_Object **semaphore)
{
    return make_semaphore(LUAMPO_SEMAPHORE, name, permits, semaphore);
}

int
luamp_new_bounded_semaphore(const char *name, unsigned permits, luamp_Object **semaphore)
{
    return make_semaphore(LUAMPO_BOUNDED_SEMAPHORE, name, permits, semaphore);
}

int
luamp_new_value(const char *name, char typecode, luamp_Object **value)
{
    struct amp_cell *cell;
    const struct amp_type *type = amp_type_find(typecode);
    if (type == NULL)
        return LUAMP_MISUSE;
    int result = begin(LUAMPO_VALUE, name, value, &cell);
    if (result != LUAMP_OK)
        return result;
    cell->v_type = (uint32_t) (unsigned char) type->code;
    atomic_store_explicit(&cell->v_bits, 0, memory_order_relaxed); /* 0.0, too */
    return finish(value, 0);
}

int
luamp_new_queue(const char *name, unsigned most, luamp_Object **queue)
{
    struct amp_cell *cell;
    if (most > AMP_PERMITS_MAX)
        return LUAMP_OUT_OF_RANGE;
    int result = begin(LUAMPO_QUEUE, name, queue, &cell);
    if (result != LUAMP_OK)
        return result;
    amp_ring_init(cell, most, 0);
    return finish(queue, 0);
}

/*
 * Locks and semaphores.
 */

#define PLAIN_LOCKS LUAMPA_CLASS(LUAMPO_LOCK)
#define RECURSIVE_LOCKS (LUAMPA_CLASS(LUAMPO_RLOCK) | LUAMPA_CLASS(LUAMPO_VALUE))
#define SEMAPHORES \
    (LUAMPA_CLASS(LUAMPO_SEMAPHORE) | LUAMPA_CLASS(LUAMPO_BOUNDED_SEMAPHORE))

static bool
is_one_of(const luamp_Object *object, unsigned classes)
{
    return (LUAMPA_CLASS(object->class) & classes) != 0;
}

static int
acquire_lock(luamp_Object *object, luamp_Time deadline)
{
    struct amp_lock *lock = &object->cell->c_lock0;
    bool is_recursive = is_one_of(object, RECURSIVE_LOCKS);
    if (is_recursive && amp_lock_is_mine(lock)) {
        if (lock->l_depth == UINT32_MAX)
            return LUAMP_OUT_OF_RANGE;
        lock->l_depth++;
        return LUAMP_OK;
    }
    if (amp_self.held >= AMP_LOCKS_MAX)
        return LUAMP_TOO_MANY;
    struct amp_what what = luampA_what(object);
    if (deadline == AMP_FOREVER)
        what.lock = amp_offset(lock); /* an edge, should it be a deadlock */
    int result = amp_lock_acquire(lock, deadline, &what);
    if (result >= 0) {
        amp_self.held++;
        lock->l_depth = is_recursive;
    }
    return luampA_result(result);
}

static int
release_lock(luamp_Object *object)
{
    struct amp_lock *lock = &object->cell->c_lock0;
    if (!amp_lock_is_mine(lock))
        return LUAMP_NOT_OWNER;
    if (is_one_of(object, RECURSIVE_LOCKS) && lock->l_depth > 1) {
        lock->l_depth--;
        return LUAMP_OK;
    }
    amp_self.held--;
    amp_lock_leave(lock);
    return LUAMP_OK;
}

int
luamp_acquire(luamp_Object *object, luamp_Time deadline)
{
    int result = luampA_enter(object, PLAIN_LOCKS | RECURSIVE_LOCKS | SEMAPHORES);
    if (result != LUAMP_OK)
        return result;
    if (!is_one_of(object, SEMAPHORES))
        return acquire_lock(object, deadline);
    struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
    struct amp_what what = luampA_what(object);
    result = amp_semaphore_acquire(&semaphore, deadline, &what);
    return luampA_result(result);
}

int
luamp_release(luamp_Object *object)
{
    int result = luampA_enter(object, PLAIN_LOCKS | RECURSIVE_LOCKS | SEMAPHORES);
    if (result != LUAMP_OK)
        return result;
    if (!is_one_of(object, SEMAPHORES))
        return release_lock(object);
    struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
    return luampA_result(amp_semaphore_release(&semaphore));
}

/*
 * Events.
 */

int
luamp_event_set(luamp_Object *object)
{
    int result = luampA_enter(object, LUAMPA_EVENTS);
    if (result != LUAMP_OK)
        return result;
    struct amp_event event = amp_event_of(object->cell);
    amp_event_set(&event);
    return LUAMP_OK;
}

int
luamp_event_clear(luamp_Object *object)
{
    int result = luampA_enter(object, LUAMPA_EVENTS);
    if (result != LUAMP_OK)
        return result;
    struct amp_event event = amp_event_of(object->cell);
    amp_event_clear(&event);
    return LUAMP_OK;
}

int
luamp_event_is_set(luamp_Object *object)
{
    int result = luampA_enter(object, LUAMPA_EVENTS);
    if (result != LUAMP_OK)
        return result;
    struct amp_event event = amp_event_of(object->cell);
    return amp_event_is_set(&event);
}

int
luamp_event_wait(luamp_Object *object, luamp_Time deadline)
{
    int result = luampA_enter(object, LUAMPA_EVENTS);
    if (result != LUAMP_OK)
        return result;
    struct amp_event event = amp_event_of(object->cell);
    struct amp_what what = luampA_what(object);
    result = luampA_result(amp_event_wait(&event, deadline, &what));
    if (result == LUAMP_TIMEOUT && object->watch && deadline == LUAMP_NOW)
        luampA_watch_again(object->watch);
    return result;
}

/*
 * Values.
 */

static int
enter_value(const luamp_Object *object, bool is_float, const struct amp_type **type)
{
    int result = luampA_enter(object, LUAMPA_CLASS(LUAMPO_VALUE));
    if (result != LUAMP_OK)
        return result;
    *type = amp_type_find((char) object->cell->v_type);
    return ((*type)->class == AMP_FLOAT) == is_float ? LUAMP_OK : LUAMP_WRONG_KIND;
}

static bool
fits(const struct amp_type *type, int64_t n)
{
    return n >= type->least && n <= type->most;
}

int
luamp_value_get(luamp_Object *value, int64_t *n)
{
    const struct amp_type *type;
    int result = n ? enter_value(value, false, &type) : LUAMP_MISUSE;
    if (result != LUAMP_OK)
        return result;
    *n = (int64_t) atomic_load_explicit(&value->cell->v_bits, memory_order_acquire);
    return LUAMP_OK;
}

int
luamp_value_set(luamp_Object *value, int64_t n)
{
    const struct amp_type *type;
    int result = enter_value(value, false, &type);
    if (result != LUAMP_OK)
        return result;
    if (!fits(type, n))
        return LUAMP_OUT_OF_RANGE;
    atomic_store_explicit(&value->cell->v_bits, (uint64_t) n, memory_order_release);
    return LUAMP_OK;
}

int
luamp_value_add(luamp_Object *value, int64_t n, int64_t *old)
{
    const struct amp_type *type;
    int result = enter_value(value, false, &type);
    if (result != LUAMP_OK)
        return result;
    if (type->class != AMP_INTEGER)
        return LUAMP_WRONG_KIND;
    uint64_t before = atomic_load(&value->cell->v_bits);
    int64_t sum;
    do {
        if (__builtin_add_overflow((int64_t) before, n, &sum) || !fits(type, sum))
            return LUAMP_OUT_OF_RANGE;
    } while (!atomic_compare_exchange_weak(&value->cell->v_bits, &before, (uint64_t) sum));
    if (old)
        *old = (int64_t) before;
    return LUAMP_OK;
}

int
luamp_value_exchange(luamp_Object *value, int64_t n, int64_t *old)
{
    const struct amp_type *type;
    int result = enter_value(value, false, &type);
    if (result != LUAMP_OK)
        return result;
    if (!fits(type, n))
        return LUAMP_OUT_OF_RANGE;
    uint64_t before = atomic_exchange(&value->cell->v_bits, (uint64_t) n);
    if (old)
        *old = (int64_t) before;
    return LUAMP_OK;
}

int
luamp_value_compare_exchange(luamp_Object *value, int64_t expected, int64_t wanted)
{
    const struct amp_type *type;
    int result = enter_value(value, false, &type);
    if (result != LUAMP_OK)
        return result;
    if (!fits(type, expected) || !fits(type, wanted))
        return LUAMP_OUT_OF_RANGE;
    uint64_t before = (uint64_t) expected;
    return atomic_compare_exchange_strong(&value->cell->v_bits, &before, (uint64_t) wanted);
}

int
luamp_value_get_number(luamp_Object *value, double *number)
{
    const struct amp_type *type;
    int result = number ? enter_value(value, true, &type) : LUAMP_MISUSE;
    if (result != LUAMP_OK)
        return result;
    *number = amp_float_of_bits(atomic_load_explicit(&value->cell->v_bits, memory_order_acquire));
    return LUAMP_OK;
}

int
luamp_value_set_number(luamp_Object *value, double number)
{
    const struct amp_type *type;
    int result = enter_value(value, true, &type);
    if (result != LUAMP_OK)
        return result;
    if (!amp_float_fits(type, number))
        return LUAMP_OUT_OF_RANGE;
    atomic_store_explicit(&value->cell->v_bits, amp_bits_of_float(type, number),
                          memory_order_release);
    return LUAMP_OK;
}

int
luamp_value_add_number(luamp_Object *value, double number, double *old)
{
    const struct amp_type *type;
    int result = enter_value(value, true, &type);
    if (result != LUAMP_OK)
        return result;
    uint64_t before = atomic_load(&value->cell->v_bits);
    double sum;
    do {
        sum = amp_float_of_bits(before) + number;
        if (!amp_float_fits(type, sum))
            return LUAMP_OUT_OF_RANGE;
    } while (!atomic_compare_exchange_weak(&value->cell->v_bits, &before,
                                           amp_bits_of_float(type, sum)));
    if (old)
        *old = amp_float_of_bits(before);
    return LUAMP_OK;
}
