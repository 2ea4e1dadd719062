/*
 * pool: what the pool module needs of C: tasks and results as messages with a number, leases, and a
 * wait for results that also sees a worker die. What a pool does with them is lua/pool.lua.
 */
#include "ipc.h"

#include "process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define NUMBER_SIZE 8 /* of a task, before its values */

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
    lua_Integer number = luaL_checkinteger(L, 2);
    struct luampC_message message;
    luampC_encode(L, 3, lua_gettop(L) - 2, "args", &message);
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    unsigned char *where;
    bool keeps = false;
    int result;
    while ((result = amp_ring_reserve(queue, NUMBER_SIZE + message.length, message.cells,
                                      message.ncells, AMP_FOREVER, &what, &where)) == -EINTR) {
        if (!keeps)
            luampC_keep(L);
        keeps = true;
        luampB_run_handlers(L);
    }
    if (result == -EPIPE)
        return luampB_refuse(L, "closed");
    if (result != 0)
        return luampB_raise(L, "send to a pool", result);
    memcpy(where, &number, NUMBER_SIZE);
    memcpy(where + NUMBER_SIZE, message.bytes, message.length);
    amp_ring_publish(queue);
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

/* take(queue, lease or nil, timeout): the number and the values; nil and a reason; or the number,
   false and the message of an error when the values cannot be received here. */
static int
native_take(lua_State *L)
{
    struct amp_cell *queue = luampB_check_queue(L, 1);
    bool leases = !lua_isnoneornil(L, 2);
    uint32_t lease = leases ? (uint32_t) luaL_checkinteger(L, 2) : 0;
    amp_time deadline = luampB_timeout(L, 3);
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    struct amp_message message;
    int result;
    LUAMPB_BLOCKING(L, result,
                    leases ? amp_ring_take_lease(queue, lease, deadline, &what, &message)
                           : amp_ring_take(queue, deadline, &what, &message));
    if (result == -EPIPE)
        return luampB_give_up(L, "closed");
    if (result == -EAGAIN || result == -ETIMEDOUT)
        return luampB_give_up(L, "timeout");
    if (result != 0)
        return luampB_raise(L, "take from a pool", result);
    lua_Integer number;
    lua_settop(L, 1);
    memcpy(&number, message.bytes, NUMBER_SIZE);
    lua_pushinteger(L, number);
    struct amp_message values = message;
    values.bytes += NUMBER_SIZE;
    values.length -= NUMBER_SIZE;
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message.cells, message.ncells);
    lua_pushcfunction(L, luampB_decode_message);
    lua_pushlightuserdata(L, &values);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    luampO_arrived(&arrival);
    amp_message_done(&message);
    if (status != LUA_OK) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
    }
    return lua_gettop(L) - 1;
}

/* Notes in the table at *index, which is made when it is first needed, that t[i] is the value on
   top. Pops that. */
static void
note(lua_State *L, int index, lua_Integer i)
{
    if (lua_isnil(L, index)) {
        lua_newtable(L);
        lua_replace(L, index);
    }
    lua_rawseti(L, index, i);
}

/* Where a run over the items of a list is. */
struct run {
    lua_Integer first, last;
    lua_Integer i;    /* the item whose turn it is */
    bool has_stopped; /* at it, with more or less than one result */
};

/* run_on(run, f, list, call, values): from item i on: until an error, to the end, or to a call that
   does not return one value, of which it gives those that it returned. */
static int
run_on(lua_State *L)
{
    enum { RUN = 1, F, LIST, CALL, VALUES };
    struct run *run = lua_touserdata(L, RUN);
    bool direct = lua_isnil(L, CALL);
    run->has_stopped = false;
    for (; run->i <= run->last; run->i++) {
        if (direct) {
            lua_pushvalue(L, F);
            lua_rawgeti(L, LIST, run->i);
            lua_call(L, 1, LUA_MULTRET);
        } else {
            lua_pushvalue(L, CALL);
            lua_pushvalue(L, F);
            lua_pushvalue(L, LIST);
            lua_pushinteger(L, run->i);
            lua_call(L, 3, LUA_MULTRET);
        }
        int n = lua_gettop(L) - VALUES;
        if (n != 1) {
            run->has_stopped = true;
            return n;
        }
        lua_rawseti(L, VALUES, run->i - run->first + 1);
    }
    return 0;
}

/* run_items(failure, f, list, first, last[, call]): f(list[i]), or call(f, list, i), for each i,
   with failure as the message handler. Gives the first values that the calls returned, their
   number, and if there are any: a table of errors; a table of packed results, of the calls that
   returned not one value. */
static int
native_run_items(lua_State *L)
{
    enum { FAILURE = 1, F, LIST, FIRST, LAST, CALL, VALUES, ERRORS, MORE };
    struct run run = {luaL_checkinteger(L, FIRST), luaL_checkinteger(L, LAST), 0, false};
    lua_settop(L, CALL);
    lua_createtable(L, run.last - run.first < INT32_MAX ? (int) (run.last - run.first + 1) : 0, 0);
    lua_settop(L, MORE);
    /* To protect each call by itself would cost as much again as the call of a small function. */
    for (run.i = run.first; run.i <= run.last; run.i++) {
        lua_pushcfunction(L, run_on);
        lua_pushlightuserdata(L, &run);
        lua_pushvalue(L, F);
        lua_pushvalue(L, LIST);
        lua_pushvalue(L, CALL);
        lua_pushvalue(L, VALUES);
        int status = lua_pcall(L, 5, LUA_MULTRET, FAILURE);
        lua_Integer at = run.i - run.first + 1;
        if (status != LUA_OK) {
            note(L, ERRORS, at);
        } else if (run.has_stopped) {
            int n = lua_gettop(L) - MORE;
            luaL_checkstack(L, 3, "results of a task");
            lua_createtable(L, n, 1);
            for (int k = 1; k <= n; k++) {
                lua_pushvalue(L, MORE + k);
                lua_rawseti(L, -2, k);
            }
            lua_pushinteger(L, n);
            lua_setfield(L, -2, "n");
            note(L, MORE, at);
            lua_settop(L, MORE + 1); /* the first one, or nil */
            lua_rawseti(L, VALUES, at);
        }
    }
    lua_pushvalue(L, VALUES);
    lua_pushinteger(L, run.last - run.first + 1);
    lua_pushvalue(L, ERRORS);
    lua_pushvalue(L, MORE);
    return 4;
}

/* new_list(n): a table with room for so many, which may come in any order. */
static int
native_new_list(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    lua_createtable(L, n > 0 && n < INT32_MAX ? (int) n : 0, 0);
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

static int
native_lease_done(lua_State *L)
{
    amp_lease_done(luampB_check_queue(L, 1), (uint32_t) luaL_checkinteger(L, 2));
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

/* limit(queue, lease, seconds): the kernel ends this worker when the time is over, whatever it does
   then; 0: it no longer does. */
static int
native_limit(lua_State *L)
{
    static timer_t timer;
    static bool has_timer;
    struct amp_cell *queue = luampB_check_queue(L, 1);
    uint32_t lease = (uint32_t) luaL_checkinteger(L, 2);
    double seconds = luaL_checknumber(L, 3);
    if (!has_timer) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
            return luampB_raise(L, "limit the time of a task", -errno);
        has_timer = true;
    }
    amp_time deadline = seconds > 0 ? amp_deadline(seconds) : 0;
    struct itimerspec when = {
        .it_value = {.tv_sec = deadline / AMP_SECOND, .tv_nsec = deadline % AMP_SECOND},
    };
    amp_lease_set_deadline(queue, lease, deadline);
    timer_settime(timer, TIMER_ABSTIME, &when, NULL);
    return 0;
}

/* wait(results, children, timeout): until a result is there, a child in the list is dead, or the
   time is over; or for no reason. */
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
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(results)};
    int result = amp_wait_many(words, values, used, deadline, &what);
    if (result == -EINTR)
        luampB_run_handlers(L);
    return 0;
}

static const luaL_Reg natives[] = {
    {"queues", native_queues},
    {"put", native_put},
    {"sendable", native_sendable},
    {"take", native_take},
    {"run_items", native_run_items},
    {"new_list", native_new_list},
    {"copy", native_copy},
    {"undisturbed", luampB_undisturbed},
    {"leave_interrupts", native_leave_interrupts},
    {"lease_done", native_lease_done},
    {"lease_task", native_lease_task},
    {"limit", native_limit},
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
