/*
 * pool: what the pool module needs of C: tasks and results as messages with a number, leases, and a
 * wait for results that also sees a worker die. What a pool does with them is lua/pool.lua.
 */
#include "pool.h"

#include "process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* queues(n, name): the tasks, with n leases, and the results. */
static int
native_queues(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    const char *name = luaL_checkstring(L, 2);
    luampB_push_queue(L, lua_pushfstring(L, "%s tasks", name), (uint32_t) n);
    luampB_push_queue(L, lua_pushfstring(L, "%s results", name), 0);
    lua_pushvalue(L, -3);
    lua_insert(L, -2);
    return 2;
}

/* put(queue, number, ...): the values as one message. */
static int
native_put(lua_State *L)
{
    struct amp_cell *queue = luampB_check_queue(L, 1);
    struct luampB_task task = {.number = luaL_checkinteger(L, 2), .form = LUAMPB_VALUES};
    struct luampB_outgoing out = {.prefix = &task, .prefix_length = sizeof task};
    luampC_encode(L, 3, lua_gettop(L) - 2, "args", &out.message);
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    int result = luampB_send(L, queue, &out, AMP_FOREVER, &what);
    if (result == -EPIPE)
        return luampB_refuse(L, "closed");
    if (result != 0)
        return luampB_raise(L, "send to a pool", result);
    lua_pushboolean(L, 1);
    return 1;
}

/* sendable(value): true, or false and why not. */
static int
native_sendable(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct luampC_message message;
    luampC_encode(L, 1, 1, "result", &message);
    lua_pushboolean(L, 1);
    return 1;
}

void
luampB_push_list(lua_State *L, lua_Integer n)
{
    lua_createtable(L, n > 0 && n < INT32_MAX ? (int) n : 0, 0);
}

/* new_list(n) */
static int
native_new_list(lua_State *L)
{
    luampB_push_list(L, luaL_checkinteger(L, 1));
    return 1;
}

/* copy(from, first, n, to, place): to[place], ... are from[first] and the n - 1 that follow; as
   table.move, but with no metamethods. Pushes `to`. */
static int
native_copy(lua_State *L)
{
    enum { FROM = 1, FIRST, N, TO, PLACE };
    luaL_checktype(L, FROM, LUA_TTABLE);
    luaL_checktype(L, TO, LUA_TTABLE);
    lua_Integer first = luaL_checkinteger(L, FIRST), n = luaL_checkinteger(L, N);
    lua_Integer place = luaL_checkinteger(L, PLACE);
    lua_settop(L, TO);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, FROM, first + i);
        lua_rawseti(L, TO, place + i);
    }
    return 1;
}

static int
native_leave_interrupts(lua_State *L)
{
    (void) L;
    luampB_leave_interrupts();
    return 0;
}

/* lease_task(queue, lease): the number of the task, or 0; and whether its time is over. */
static int
native_lease_task(lua_State *L)
{
    amp_time deadline;
    uint64_t task = amp_lease_task(luampB_check_queue(L, 1), (uint32_t) luaL_checkinteger(L, 2),
                                   &deadline);
    lua_pushinteger(L, (lua_Integer) task);
    lua_pushboolean(L, deadline != 0 && amp_now() >= deadline - AMP_MILLISECOND);
    return 2;
}

void
luampB_limit_task(lua_State *L, struct amp_cell *tasks, uint32_t lease, double seconds)
{
    static bool is_limited;
    static timer_t timer;
    static pid_t owner; /* a worker's own worker is forked from it, and inherits no timer */
    if (owner != getpid()) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
            luampB_raise(L, "limit the time of a task", -errno);
        owner = getpid();
    }
    if (is_limited != (seconds > 0)) {
        is_limited = seconds > 0;
        atomic_fetch_add(&amp_outsiders, is_limited ? 1 : -1);
    }
    amp_time deadline = seconds > 0 ? amp_deadline(seconds) : 0;
    struct itimerspec when = {
        .it_value = {.tv_sec = deadline / AMP_SECOND, .tv_nsec = deadline % AMP_SECOND},
    };
    amp_lease_set_deadline(tasks, lease, deadline);
    timer_settime(timer, TIMER_ABSTIME, &when, NULL);
}

/* lease_done(queue, lease): the worker has put the result of its task. */
static int
native_lease_done(lua_State *L)
{
    amp_lease_done(luampB_check_queue(L, 1), (uint32_t) luaL_checkinteger(L, 2));
    return 0;
}

/* unlimited(queue, lease): the worker's time is no longer limited. */
static int
native_unlimited(lua_State *L)
{
    luampB_limit_task(L, luampB_check_queue(L, 1), (uint32_t) luaL_checkinteger(L, 2), 0);
    return 0;
}

/* wait(results, children, timeout, since): until a result is there, a child in the list is dead, or the
   time is over; or for no reason. Returns since when it waits: to be given again if nothing was found to
   be done in between. */
static int
native_wait(lua_State *L)
{
    struct amp_cell *results = luampB_check_queue(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    amp_time deadline = luampB_timeout(L, 3);
    amp_word *words[AMP_WAIT_MANY_MAX];
    uint32_t values[AMP_WAIT_MANY_MAX];
    lua_Integer n = luaL_len(L, 2);
    unsigned used = 1;
    words[0] = &results->q_published;
    for (lua_Integer i = 1; i <= n && used < AMP_WAIT_MANY_MAX; i++) {
        lua_geti(L, 2, i);
        words[used] = luampB_child_life(L, -1, &values[used]);
        lua_pop(L, 1);
        if (words[used] == NULL)
            return 0; /* dead already */
        used++;
    }
    uint32_t published = atomic_load(&results->q_published); /* first, or what comes now is missed */
    if (amp_ring_is_ready(results) || amp_spin(&results->q_published, published))
        return 0;
    if (!amp_ring_prepare_wait(results, &values[0]))
        return 0;
    struct amp_what what = {
        .kind = AMP_QUEUE,
        .cell = amp_cell_index(results),
        .follows = true,
        .since = luaL_optinteger(L, 4, 0),
    };
    int result = amp_wait_many(words, values, used, deadline, &what);
    if (result == -EINTR)
        luampB_run_handlers(L);
    else if (result == -EDEADLK)
        luampO_raise_deadlock(L);
    lua_pushinteger(L, what.since);
    return 1;
}

static const luaL_Reg natives[] = {
    {"queues", native_queues},
    {"put", native_put},
    {"sendable", native_sendable},
    {"new_list", native_new_list},
    {"copy", native_copy},
    {"undisturbed", luampB_undisturbed},
    {"leave_interrupts", native_leave_interrupts},
    {"lease_done", native_lease_done},
    {"lease_task", native_lease_task},
    {"unlimited", native_unlimited},
    {"wait", native_wait},
    {NULL, NULL},
};

static void
require(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

int
luampB_open_pool(lua_State *L)
{
    luaL_newlib(L, natives);
    luaL_setfuncs(L, luampB_items_natives, 0);
    luaL_setfuncs(L, luampB_worker_natives, 0);
    require(L, "luamp.process");
    lua_setfield(L, -2, "process");
    luampB_push_process_natives(L);
    lua_setfield(L, -2, "processes");
    require(L, "luamp.signal");
    lua_setfield(L, -2, "signal");
    require(L, "luamp.ipc"); /* its classes: what a task may bring along */
    lua_pop(L, 1);
    require(L, "luamp.sync");
    lua_pop(L, 1);
    luampB_run_chunk(L, "pool", 1);
    return 1;
}
