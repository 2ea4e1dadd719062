/*
 * sync: Lock, RLock, Semaphore, BoundedSemaphore, Event, Condition, Barrier.
 *
 * One attempt of the core's for each call; what the results mean to a script is decided here. A
 * call that may block computes its deadline once and goes on towards it after every signal.
 */
#include "object.h"

#include <math.h>
#include <string.h>

extern const struct luampO_class luampB_lock_class, luampB_rlock_class;
static const struct luampO_class semaphore_class, bounded_class, event_class, condition_class,
    barrier_class;

static struct amp_what
what_for(const struct luampO_object *object)
{
    return (struct amp_what) {.kind = object->class->kind, .cell = amp_cell_index(object->cell)};
}

/*
 * Locks. A lock of either class, a condition's, and a value's: the lock word is the cell's first. A
 * condition's own guard is there, so its lock is another cell.
 */

static void
describe_lock(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    (void) L;
    char name[AMP_NAME_SIZE];
    const char *holder = luampO_holder(&object->cell->c_lock0, name);
    if (holder) {
        luaL_addstring(text, "held by ");
        luaL_addstring(text, holder);
    } else {
        luaL_addstring(text, "free");
    }
}

static int
not_held(lua_State *L, const char *class, const char *name, struct amp_lock *lock)
{
    char buffer[AMP_NAME_SIZE];
    const char *holder = luampO_holder(lock, buffer);
    if (holder)
        return luaL_error(L, "cannot release %s \"%s\": it is held by %s, and only its holder can "
                          "(to hand over from one to another, use a Semaphore)", class, name,
                          holder);
    return luaL_error(L, "cannot release %s \"%s\": it is not held", class, name);
}

/* Takes a lock of the script: 0, AMP_OWNER_DIED or -ETIMEDOUT; else raises. */
static int
acquire_lock(lua_State *L, struct amp_lock *lock, uint32_t kind, struct amp_cell *cell,
             amp_time deadline)
{
    if (amp_self.held >= AMP_LOCKS_MAX)
        luaL_error(L, "too many locks are held: one thread can hold %d", AMP_LOCKS_MAX);
    struct amp_what what = {.kind = kind, .cell = amp_cell_index(cell)};
    if (deadline == AMP_FOREVER)
        what.lock = amp_offset(lock);
    int result;
    LUAMPB_BLOCKING(L, result, amp_lock_acquire(lock, deadline, &what));
    if (result >= 0)
        amp_self.held++;
    else if (result != -ETIMEDOUT)
        luampB_raise(L, "acquire a lock", result);
    return result;
}

static void
release_lock(struct amp_lock *lock)
{
    amp_self.held--;
    amp_lock_leave(lock);
}

/* acquire() without arguments of a lock that is free: the usual case, so a short way. */
static inline bool
take_free(lua_State *L, struct amp_lock *lock)
{
    if (__builtin_expect(lua_gettop(L) != 1 || amp_self.held >= AMP_LOCKS_MAX, 0))
        return false;
    if (__builtin_expect(!amp_lock_try_free(lock), 0)) {
        amp_lock_settled();
        return false;
    }
    amp_self.held++;
    return true;
}

/* The results of an acquire: the object at index 1, and what happened to the owner before. */
static int
acquired(lua_State *L, int result)
{
    lua_settop(L, 1);
    if (__builtin_expect(result == 0, 1))
        return 1;
    if (result == AMP_OWNER_DIED) {
        lua_pushliteral(L, "owner died");
        return 2;
    }
    return luampB_give_up(L, "timeout");
}

static int
lock_take(lua_State *L, struct luampO_object *object, amp_time deadline)
{
    return acquire_lock(L, &object->cell->c_lock0, AMP_LOCK, object->cell, deadline);
}

static int
lock_acquire(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_lock_class);
    if (take_free(L, &object->cell->c_lock0))
        return 1;
    return acquired(L, lock_take(L, object, luampB_deadline(L, 2)));
}

static void
lock_give(lua_State *L, struct luampO_object *object)
{
    struct amp_lock *lock = &object->cell->c_lock0;
    if (__builtin_expect(!amp_lock_is_mine(lock), 0))
        not_held(L, "Lock", object->cell->c_name, lock);
    release_lock(lock);
}

static int
lock_release(lua_State *L)
{
    lock_give(L, luampO_check(L, 1, &luampB_lock_class));
    return 0;
}

/* The recursive lock in a cell: an RLock's, a condition's, a value's. */
static int
take_recursive(lua_State *L, struct amp_cell *cell, amp_time deadline)
{
    struct amp_lock *lock = &cell->c_lock0;
    if (amp_lock_is_mine(lock)) {
        if (lock->l_depth == UINT32_MAX)
            luaL_error(L, "the lock is taken too often by its holder");
        lock->l_depth++;
        return 0;
    }
    int result = acquire_lock(L, lock, AMP_RLOCK, cell, deadline);
    if (result >= 0)
        lock->l_depth = 1;
    return result;
}

static void
give_recursive(struct amp_lock *lock)
{
    if (lock->l_depth > 1)
        lock->l_depth--;
    else
        release_lock(lock);
}

static int
rlock_take(lua_State *L, struct luampO_object *object, amp_time deadline)
{
    return take_recursive(L, object->cell, deadline);
}

static void
rlock_give(lua_State *L, struct luampO_object *object)
{
    struct amp_lock *lock = &object->cell->c_lock0;
    if (!amp_lock_is_mine(lock))
        not_held(L, "RLock", object->cell->c_name, lock);
    give_recursive(lock);
}

static int
rlock_acquire(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_rlock_class);
    struct amp_lock *lock = &object->cell->c_lock0;
    if (!amp_lock_is_mine(lock) && take_free(L, lock)) {
        lock->l_depth = 1;
        return 1;
    }
    return acquired(L, rlock_take(L, object, luampB_deadline(L, 2)));
}

static int
rlock_release(lua_State *L)
{
    rlock_give(L, luampO_check(L, 1, &luampB_rlock_class));
    return 0;
}

static int
lock_locked(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_lock_class);
    lua_pushboolean(L, amp_lock_owner(&object->cell->c_lock0) != 0);
    return 1;
}

static int
rlock_locked(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_rlock_class);
    lua_pushboolean(L, amp_lock_owner(&object->cell->c_lock0) != 0);
    return 1;
}

/* `local _ <close> = l:acquire()`: released at the end of the block, unless the block did it. */
static void
lock_drop(lua_State *L, struct luampO_object *object)
{
    (void) L;
    if (amp_lock_is_mine(&object->cell->c_lock0))
        release_lock(&object->cell->c_lock0);
}

static int
lock_close(lua_State *L)
{
    lock_drop(L, luampO_check(L, 1, &luampB_lock_class));
    return 0;
}

static void
rlock_drop(lua_State *L, struct luampO_object *object)
{
    (void) L;
    if (amp_lock_is_mine(&object->cell->c_lock0))
        give_recursive(&object->cell->c_lock0);
}

static int
rlock_close(lua_State *L)
{
    rlock_drop(L, luampO_check(L, 1, &luampB_rlock_class));
    return 0;
}

/* What an acquire of the object's class does, and a release, and the end of a closable variable. */
struct holding {
    const struct luampO_class *class;
    int (*take)(lua_State *L, struct luampO_object *object, amp_time deadline);
    void (*give)(lua_State *L, struct luampO_object *object);
    void (*drop)(lua_State *L, struct luampO_object *object); /* if it is held */
};

static const struct holding *find_holding(const struct luampO_object *object);

/* with(f, ...): what is below the results of f is the object. Its functions are called directly, so
   that what they raise has the line of the caller. */
static int
with_end(lua_State *L, int status, lua_KContext context)
{
    const struct holding *holding = (const struct holding *) context;
    struct luampO_object *object = luampO_check(L, 1, holding->class);
    if (status != LUA_OK && status != LUA_YIELD) {
        holding->drop(L, object); /* f may have released it: its own error is the one to tell */
        return lua_error(L);
    }
    holding->give(L, object);
    return lua_gettop(L) - 1;
}

static int
with(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    const struct holding *holding = object ? find_holding(object) : NULL;
    if (holding == NULL)
        return luampO_wrong(L, 1, &luampB_lock_class);
    luampO_check(L, 1, holding->class);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    holding->take(L, object, AMP_FOREVER);
    lua_KContext context = (lua_KContext) holding;
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, context, with_end);
    return with_end(L, status, context);
}

static int
make_lock(lua_State *L, const struct luampO_class *class)
{
    static const char *const options[] = {NULL};
    luampO_arguments(L, class, options);
    struct luampO_object *object = luampO_push_new(L, class);
    luampO_made(L, object, luampO_new_cell(L, class, 1));
    return 1;
}

static int
new_lock(lua_State *L)
{
    return make_lock(L, &luampB_lock_class);
}

static int
new_rlock(lua_State *L)
{
    return make_lock(L, &luampB_rlock_class);
}

static const luaL_Reg lock_methods[] = {
    {"acquire", lock_acquire}, {"release", lock_release}, {"locked", lock_locked},
    {"with", with},            {NULL, NULL},
};
static const luaL_Reg lock_metamethods[] = {{"__close", lock_close}, {NULL, NULL}};
const struct luampO_class luampB_lock_class = {
    .name = "Lock",
    .module = "sync",
    .id = LUAMPO_LOCK,
    .kind = AMP_LOCK,
    .methods = lock_methods,
    .metamethods = lock_metamethods,
    .describe = describe_lock,
};

static const luaL_Reg rlock_methods[] = {
    {"acquire", rlock_acquire}, {"release", rlock_release}, {"locked", rlock_locked},
    {"with", with},             {NULL, NULL},
};
static const luaL_Reg rlock_metamethods[] = {{"__close", rlock_close}, {NULL, NULL}};
const struct luampO_class luampB_rlock_class = {
    .name = "RLock",
    .module = "sync",
    .id = LUAMPO_RLOCK,
    .kind = AMP_RLOCK,
    .methods = rlock_methods,
    .metamethods = rlock_metamethods,
    .describe = describe_lock,
};

/*
 * Semaphores.
 */

static struct luampO_object *
check_semaphore(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object && object->class == &bounded_class && object->cell)
        return object;
    return luampO_check(L, 1, &semaphore_class);
}

/* The permits of a plain semaphore that is called without arguments, the usual case; else NULL. */
static inline amp_word *
usual_permits(lua_State *L)
{
    struct luampO_object *object = luampO_userdata(L, 1);
    bool is_usual = object && object->class == &semaphore_class && object->cell &&
                    lua_gettop(L) == 1;
    return is_usual ? &object->cell->s_permits : NULL;
}

static int
semaphore_take(lua_State *L, struct luampO_object *object, amp_time deadline)
{
    struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
    struct amp_what what = what_for(object);
    int result;
    LUAMPB_BLOCKING(L, result, amp_semaphore_acquire(&semaphore, deadline, &what));
    if (result < 0 && result != -ETIMEDOUT)
        luampB_raise(L, "acquire a semaphore", result);
    return result;
}

static void
semaphore_give(lua_State *L, struct luampO_object *object)
{
    struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
    const char *class = object->class->name, *name = object->cell->c_name;
    switch (amp_semaphore_release(&semaphore)) {
    case -EPERM:
        luaL_error(L, "cannot release %s \"%s\": this thread holds none of its permits", class,
                   name);
        break;
    case -EOVERFLOW:
        luaL_error(L, "cannot release %s \"%s\": it is released more often than it was acquired",
                   class, name);
        break;
    }
}

static void
semaphore_drop(lua_State *L, struct luampO_object *object)
{
    struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
    int result = amp_semaphore_release(&semaphore);
    if (result != 0 && semaphore.held == NULL)
        luampB_raise(L, "release a semaphore", result);
    /* of a bounded one: the block released it itself */
}

static int
semaphore_acquire(lua_State *L)
{
    amp_word *permits = usual_permits(L);
    if (permits && amp_permit_take(permits))
        return 1;
    struct luampO_object *object = check_semaphore(L);
    return acquired(L, semaphore_take(L, object, luampB_deadline(L, 2)));
}

/* release([n=1]): all of the permits or, when that is a mistake, none. */
static int
semaphore_release(lua_State *L)
{
    amp_word *permits = usual_permits(L);
    if (permits && amp_permit_give(permits) == 0)
        return 0;
    struct luampO_object *object = check_semaphore(L);
    lua_Integer n = luampB_opt_integer(L, 2, 1);
    luaL_argcheck(L, n >= 1, 2, "at least 1 expected");
    if (n > 1) {
        struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
        lua_Integer most = (lua_Integer) AMP_PERMITS_MAX - amp_semaphore_value(&semaphore);
        if (semaphore.held) /* only this thread changes its own count */
            most = atomic_load_explicit(&semaphore.held[amp_self.member], memory_order_relaxed);
        if (n > most)
            return luaL_error(L, "cannot release %I permits of %s \"%s\": %s %I", (LUAI_UACINT) n,
                              object->class->name, object->cell->c_name,
                              semaphore.held ? "this thread holds" : "it has room for",
                              (LUAI_UACINT) most);
    }
    for (; n > 0; n--)
        semaphore_give(L, object);
    return 0;
}

static int
semaphore_get_value(lua_State *L)
{
    struct amp_semaphore semaphore = amp_semaphore_of(check_semaphore(L)->cell);
    lua_pushinteger(L, amp_semaphore_value(&semaphore));
    return 1;
}

static int
semaphore_locked(lua_State *L)
{
    struct amp_semaphore semaphore = amp_semaphore_of(check_semaphore(L)->cell);
    lua_pushboolean(L, amp_semaphore_value(&semaphore) == 0);
    return 1;
}

static int
semaphore_close(lua_State *L)
{
    semaphore_drop(L, check_semaphore(L));
    return 0;
}

static void
describe_semaphore(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    struct amp_semaphore semaphore = amp_semaphore_of(object->cell);
    if (semaphore.held)
        lua_pushfstring(L, "%d of %d", (int) amp_semaphore_value(&semaphore),
                        (int) semaphore.limit);
    else
        lua_pushfstring(L, "%d", (int) amp_semaphore_value(&semaphore));
    luaL_addvalue(text);
}

static int
make_semaphore(lua_State *L, const struct luampO_class *class)
{
    static const char *const options[] = {"n:integer", NULL};
    luampO_arguments(L, class, options);
    lua_Integer n = luampB_opt_integer(L, 1, 1);
    luaL_argcheck(L, n >= 0 && n <= (lua_Integer) AMP_PERMITS_MAX, 1,
                  "a number of permits from 0 to 1073741823 expected");
    struct luampO_object *object = luampO_push_new(L, class);
    struct amp_cell *cell = luampO_new_cell(L, class, 2);
    if (class == &bounded_class) {
        int failure = amp_semaphore_bind(cell, (uint32_t) n);
        if (failure != 0)
            return luampO_failed(L, class, cell, failure);
    }
    atomic_store_explicit(&cell->s_permits, (uint32_t) n << 1, memory_order_relaxed);
    luampO_made(L, object, cell);
    return 1;
}

static int
new_semaphore(lua_State *L)
{
    return make_semaphore(L, &semaphore_class);
}

static int
new_bounded(lua_State *L)
{
    return make_semaphore(L, &bounded_class);
}

static const luaL_Reg semaphore_methods[] = {
    {"acquire", semaphore_acquire},
    {"release", semaphore_release},
    {"get_value", semaphore_get_value},
    {"locked", semaphore_locked},
    {"with", with},
    {NULL, NULL},
};
static const luaL_Reg semaphore_metamethods[] = {{"__close", semaphore_close}, {NULL, NULL}};
static const struct luampO_class semaphore_class = {
    .name = "Semaphore",
    .module = "sync",
    .id = LUAMPO_SEMAPHORE,
    .kind = AMP_SEMAPHORE,
    .methods = semaphore_methods,
    .metamethods = semaphore_metamethods,
    .describe = describe_semaphore,
};
static const struct luampO_class bounded_class = {
    .name = "BoundedSemaphore",
    .module = "sync",
    .id = LUAMPO_BOUNDED_SEMAPHORE,
    .kind = AMP_BOUNDED_SEMAPHORE,
    .methods = semaphore_methods,
    .metamethods = semaphore_metamethods,
    .describe = describe_semaphore,
};

/*
 * Event.
 */

static int
event_set(lua_State *L)
{
    struct amp_event event = amp_event_of(luampO_check(L, 1, &event_class)->cell);
    amp_event_set(&event);
    return 0;
}

static int
event_clear(lua_State *L)
{
    struct amp_event event = amp_event_of(luampO_check(L, 1, &event_class)->cell);
    amp_event_clear(&event);
    return 0;
}

static int
event_is_set(lua_State *L)
{
    struct amp_event event = amp_event_of(luampO_check(L, 1, &event_class)->cell);
    lua_pushboolean(L, amp_event_is_set(&event));
    return 1;
}

static int
event_wait(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &event_class);
    struct amp_event event = amp_event_of(object->cell);
    amp_time deadline = luampB_timeout(L, 2);
    struct amp_what what = what_for(object);
    int result;
    LUAMPB_BLOCKING(L, result, amp_event_wait(&event, deadline, &what));
    if (result == -ETIMEDOUT)
        return luampB_refuse(L, "timeout");
    if (result < 0)
        return luampB_raise(L, "wait for an event", result);
    lua_pushboolean(L, 1);
    return 1;
}

static void
describe_event(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    (void) L;
    struct amp_event event = amp_event_of(object->cell);
    luaL_addstring(text, amp_event_is_set(&event) ? "set" : "not set");
}

static int
new_event(lua_State *L)
{
    static const char *const options[] = {NULL};
    luampO_arguments(L, &event_class, options);
    struct luampO_object *object = luampO_push_new(L, &event_class);
    luampO_made(L, object, luampO_new_cell(L, &event_class, 1));
    return 1;
}

static const luaL_Reg event_methods[] = {
    {"set", event_set},   {"clear", event_clear}, {"is_set", event_is_set},
    {"wait", event_wait}, {NULL, NULL},
};
static const struct luampO_class event_class = {
    .name = "Event",
    .module = "sync",
    .id = LUAMPO_EVENT,
    .kind = AMP_EVENT,
    .methods = event_methods,
    .describe = describe_event,
};

/*
 * Condition.
 */

/* The cell of a condition's lock. */
static struct amp_cell *
condition_lock(const struct luampO_object *condition)
{
    return amp_cell_at(amp_handle_index(condition->cell->d_lock));
}

static int
condition_take(lua_State *L, struct luampO_object *object, amp_time deadline)
{
    struct amp_cell *cell = condition_lock(object);
    if (amp_cell_kind(cell) == AMP_RLOCK)
        return take_recursive(L, cell, deadline);
    return acquire_lock(L, &cell->c_lock0, AMP_LOCK, cell, deadline);
}

static void
condition_drop(lua_State *L, struct luampO_object *object)
{
    (void) L;
    struct amp_cell *lock = condition_lock(object);
    if (!amp_lock_is_mine(&lock->c_lock0))
        return;
    if (amp_cell_kind(lock) == AMP_RLOCK)
        give_recursive(&lock->c_lock0);
    else
        release_lock(&lock->c_lock0);
}

static void
condition_give(lua_State *L, struct luampO_object *object)
{
    struct amp_lock *lock = &condition_lock(object)->c_lock0;
    if (!amp_lock_is_mine(lock))
        not_held(L, "Condition", object->cell->c_name, lock);
    condition_drop(L, object);
}

static int
condition_acquire(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &condition_class);
    return acquired(L, condition_take(L, object, luampB_deadline(L, 2)));
}

static int
condition_release(lua_State *L)
{
    condition_give(L, luampO_check(L, 1, &condition_class));
    return 0;
}

static int
condition_close(lua_State *L)
{
    condition_drop(L, luampO_check(L, 1, &condition_class));
    return 0;
}

static int
condition_locked(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &condition_class);
    lua_pushboolean(L, amp_lock_owner(&condition_lock(object)->c_lock0) != 0);
    return 1;
}

static struct luampO_object *
check_condition_held(lua_State *L, const char *method)
{
    struct luampO_object *object = luampO_check(L, 1, &condition_class);
    if (!amp_lock_is_mine(&condition_lock(object)->c_lock0))
        luaL_error(L, "cannot %s Condition \"%s\": acquire it first", method, object->cell->c_name);
    return object;
}

/* Sleeps on a ticket. Handlers of signals run between, with nothing held; an error of theirs, or a
   deadlock's, is left on the stack, and ends it: true. */
static bool
sleep_on_ticket(lua_State *L, struct amp_ticket *ticket, amp_time deadline, struct amp_what *what)
{
    int result;
    while ((result = amp_condition_sleep(ticket, deadline, what)) == -EINTR) {
        if (luampB_run_handlers_protected(L))
            return true;
    }
    if (result != -EDEADLK)
        return false;
    luampO_push_deadlock(L);
    return true;
}

/* Takes the lock again, however long that takes: whoever returns from a wait has it. */
static bool
take_again(lua_State *L, struct amp_cell *lock, uint32_t depth, bool raised)
{
    struct amp_what what = {
        .kind = amp_cell_kind(lock),
        .cell = amp_cell_index(lock),
    };
    while (amp_lock_acquire(&lock->c_lock0, AMP_FOREVER, &what) < 0) {
        bool again = luampB_run_handlers_protected(L);
        if (again && raised)
            lua_remove(L, -2); /* the later error tells more */
        raised = raised || again;
    }
    lock->c_lock0.l_depth = depth;
    amp_self.held++;
    return raised;
}

/* Waits for a notification until the deadline: true when it came. The lock is held before and
   afterwards, also when a handler raises. */
static bool
wait_for_call(lua_State *L, amp_time deadline)
{
    struct luampO_object *object = check_condition_held(L, "wait for");
    struct amp_cell *lock = condition_lock(object);
    luaL_checkstack(L, 4, NULL);
    struct amp_ticket *ticket;
    if (amp_condition_enlist(object->cell, &ticket) != 0)
        luaL_error(L, "too many waits within handlers of signals");
    uint32_t depth = lock->c_lock0.l_depth;
    release_lock(&lock->c_lock0);
    struct amp_what what = what_for(object);
    bool raised = sleep_on_ticket(L, ticket, deadline, &what);
    raised = take_again(L, lock, depth, raised);
    bool called = amp_condition_delist(object->cell, ticket);
    if (raised) {
        if (called)
            amp_condition_notify(object->cell, 1); /* nothing is taken by a wait that is ended */
        lua_error(L);
    }
    return called;
}

static int
condition_wait(lua_State *L)
{
    luampO_check(L, 1, &condition_class);
    if (!wait_for_call(L, luampB_timeout(L, 2)))
        return luampB_refuse(L, "timeout");
    lua_pushboolean(L, 1);
    return 1;
}

/* wait_for(predicate[, timeout]): the predicate's last value. */
static int
condition_wait_for(lua_State *L)
{
    check_condition_held(L, "wait for");
    if (!lua_isfunction(L, 2) && luaL_getmetafield(L, 2, "__call") == LUA_TNIL)
        return luaL_typeerror(L, 2, "function");
    amp_time deadline = luampB_timeout(L, 3);
    for (;;) {
        lua_settop(L, 2);
        lua_pushvalue(L, 2);
        lua_call(L, 0, 1);
        if (lua_toboolean(L, -1) || (deadline != AMP_FOREVER && amp_now() >= deadline))
            return 1;
        wait_for_call(L, deadline);
    }
}

static int
condition_notify(lua_State *L)
{
    struct luampO_object *object = check_condition_held(L, "notify");
    lua_Integer n = luampB_opt_integer(L, 2, 1);
    luaL_argcheck(L, n >= 0, 2, "a number of waiters expected");
    amp_condition_notify(object->cell, n > UINT32_MAX ? UINT32_MAX : (uint32_t) n);
    return 0;
}

static int
condition_notify_all(lua_State *L)
{
    struct luampO_object *object = check_condition_held(L, "notify");
    amp_condition_notify(object->cell, UINT32_MAX);
    return 0;
}

static void
describe_condition(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    (void) L;
    char name[AMP_NAME_SIZE];
    const char *holder = luampO_holder(&condition_lock(object)->c_lock0, name);
    luaL_addstring(text, holder ? "held by " : "free");
    if (holder)
        luaL_addstring(text, holder);
}

static int
new_condition(lua_State *L)
{
    static const char *const options[] = {"lock", NULL};
    luampO_arguments(L, &condition_class, options);
    struct luampO_object *lock = NULL;
    if (!lua_isnil(L, 1)) {
        lock = luampO_peek(L, 1);
        if (lock == NULL || lock->is_part ||
            (lock->class != &luampB_lock_class && lock->class != &luampB_rlock_class))
            return luaL_typeerror(L, 1, "Lock or RLock");
        if (lock->cell == NULL)
            return luampO_closed(L, lock);
    }
    struct luampO_object *object = luampO_push_new(L, &condition_class);
    if (lock == NULL) {
        struct luampO_object *own = luampO_push_new(L, &luampB_rlock_class);
        luampO_made(L, own, luampO_new_cell(L, &luampB_rlock_class, 2));
        lock = own;
        lua_insert(L, -2);
    }
    struct amp_cell *cell = luampO_new_cell(L, &condition_class, 2);
    cell->d_lock = lock->handle;
    amp_handle_sent(cell, &lock->handle, 1);
    amp_handle_sent_done();
    luampO_made(L, object, cell);
    return 1;
}

static const luaL_Reg condition_methods[] = {
    {"acquire", condition_acquire},
    {"release", condition_release},
    {"locked", condition_locked},
    {"with", with},
    {"wait", condition_wait},
    {"wait_for", condition_wait_for},
    {"notify", condition_notify},
    {"notify_all", condition_notify_all},
    {NULL, NULL},
};
static const luaL_Reg condition_metamethods[] = {{"__close", condition_close}, {NULL, NULL}};
static const struct luampO_class condition_class = {
    .name = "Condition",
    .module = "sync",
    .id = LUAMPO_CONDITION,
    .kind = AMP_CONDITION,
    .methods = condition_methods,
    .metamethods = condition_metamethods,
    .describe = describe_condition,
};

/*
 * Barrier. The action is a Lua function, kept in the user value: it reaches children by the fork.
 */

/* Runs the action, if there is one: true when it raised; the error is on the stack. */
static bool
run_action(lua_State *L)
{
    if (lua_getiuservalue(L, 1, 1) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return false;
    }
    return lua_pcall(L, 0, 0, 0) != LUA_OK;
}

static int
broken(lua_State *L)
{
    return luampB_give_up(L, "broken");
}

static int
barrier_wait(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &barrier_class);
    struct amp_cell *cell = object->cell;
    amp_time deadline = AMP_FOREVER;
    if (!lua_isnoneornil(L, 2))
        deadline = luampB_timeout(L, 2);
    else if (cell->b_timeout >= 0)
        deadline = amp_deadline(cell->b_timeout);
    struct amp_what what = what_for(object);
    struct amp_ticket *ticket;
    int result;
    luaL_checkstack(L, 6, NULL);
    LUAMPB_BLOCKING(L, result, amp_barrier_arrive(cell, deadline, &what, &ticket));
    if (result == -EPIPE)
        return broken(L);
    if (result == -ETIMEDOUT)
        return luampB_give_up(L, "timeout");
    if (result == -EAGAIN)
        return luaL_error(L, "too many waits within handlers of signals");
    if (result == AMP_BARRIER_LAST) {
        bool raised = run_action(L);
        if (raised)
            amp_barrier_abort(cell);
        result = amp_barrier_open(cell, ticket);
        if (raised)
            return lua_error(L);
    } else {
        while ((result = amp_barrier_sleep(cell, ticket, deadline, &what)) == -EINTR) {
            if (luampB_run_handlers_protected(L)) {
                amp_barrier_withdraw(cell, ticket);
                return lua_error(L);
            }
        }
    }
    if (result == -EPIPE)
        return broken(L);
    if (result == -ETIMEDOUT)
        return luampB_give_up(L, "timeout");
    if (result < 0)
        return luampB_raise(L, "wait at a barrier", result);
    lua_pushinteger(L, ticket->t_place);
    return 1;
}

static int
barrier_abort(lua_State *L)
{
    amp_barrier_abort(luampO_check(L, 1, &barrier_class)->cell);
    return 0;
}

static int
barrier_reset(lua_State *L)
{
    amp_barrier_reset(luampO_check(L, 1, &barrier_class)->cell);
    return 0;
}

static int
barrier_field(lua_State *L, struct luampO_object *object)
{
    const char *field = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(field, "parties") == 0)
        lua_pushinteger(L, object->cell->b_parties);
    else if (strcmp(field, "n_waiting") == 0)
        lua_pushinteger(L, amp_barrier_waiting(object->cell));
    else if (strcmp(field, "broken") == 0)
        lua_pushboolean(L, (int) atomic_load(&object->cell->b_broken));
    else
        return 0;
    return 1;
}

static void
describe_barrier(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    if (atomic_load(&object->cell->b_broken)) {
        luaL_addstring(text, "broken");
        return;
    }
    lua_pushfstring(L, "%d/%d", (int) amp_barrier_waiting(object->cell),
                    (int) object->cell->b_parties);
    luaL_addvalue(text);
}

static const char *
barrier_stays(struct luampO_object *object)
{
    return object->cell->b_has_action
               ? "a barrier with an action reaches other processes by fork only"
               : NULL;
}

static int
new_barrier(lua_State *L)
{
    static const char *const options[] = {
        "parties:integer", "action:function", "timeout:number", NULL,
    };
    luampO_arguments(L, &barrier_class, options);
    lua_Integer parties = luampB_check_integer(L, 1);
    luaL_argcheck(L, parties >= 1 && parties <= (lua_Integer) AMP_MEMBERS_MAX, 1,
                  "a number of parties from 1 to 2047 expected");
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    double timeout = lua_isnil(L, 3) ? -1 : luampB_check_number(L, 3);
    struct luampO_object *object = luampO_push_new(L, &barrier_class);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    struct amp_cell *cell = luampO_new_cell(L, &barrier_class, 4);
    amp_barrier_init(cell, (uint32_t) parties);
    cell->b_has_action = lua_isfunction(L, 2);
    cell->b_timeout = isnan(timeout) ? 0 : timeout;
    luampO_made(L, object, cell);
    return 1;
}

static const luaL_Reg barrier_methods[] = {
    {"wait", barrier_wait}, {"abort", barrier_abort}, {"reset", barrier_reset}, {NULL, NULL},
};
static const struct luampO_class barrier_class = {
    .name = "Barrier",
    .module = "sync",
    .id = LUAMPO_BARRIER,
    .kind = AMP_BARRIER,
    .methods = barrier_methods,
    .field = barrier_field,
    .describe = describe_barrier,
    .stays = barrier_stays,
};

/*
 * The module.
 */

static const struct holding *
find_holding(const struct luampO_object *object)
{
    static const struct holding holdings[] = {
        {&luampB_lock_class, lock_take, lock_give, lock_drop},
        {&luampB_rlock_class, rlock_take, rlock_give, rlock_drop},
        {&semaphore_class, semaphore_take, semaphore_give, semaphore_drop},
        {&bounded_class, semaphore_take, semaphore_give, semaphore_drop},
        {&condition_class, condition_take, condition_give, condition_drop},
    };
    for (size_t i = 0; i < sizeof holdings / sizeof *holdings; i++) {
        if (holdings[i].class == object->class)
            return &holdings[i];
    }
    return NULL;
}

static const luaL_Reg functions[] = {
    {"Lock", new_lock},           {"RLock", new_rlock},
    {"Semaphore", new_semaphore}, {"BoundedSemaphore", new_bounded},
    {"Event", new_event},         {"Condition", new_condition},
    {"Barrier", new_barrier},     {NULL, NULL},
};

int
luampB_open_sync(lua_State *L)
{
    luampO_define(L, &luampB_lock_class);
    luampO_define(L, &luampB_rlock_class);
    luampO_define(L, &semaphore_class);
    luampO_define(L, &bounded_class);
    luampO_define(L, &event_class);
    luampO_define(L, &condition_class);
    luampO_define(L, &barrier_class);
    luaL_newlib(L, functions);
    return 1;
}
