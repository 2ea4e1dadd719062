/*
 * worker: the items of a list in a worker of a pool, which takes tasks and runs them (serve). It is the part
 * of lua/pool.lua that runs there once for each item or chunk; whatever does not go well is handed to Lua.
 *
 * Each chunk brings its function, as the head of the message. A worker that finds the same head again as in
 * the chunk before need not decode it again, when nothing shows: when the function has no upvalues that
 * it could have changed.
 */
#include "pool.h"

#include "process.h"

#include <errno.h>
#include <string.h>

#define RESULTS_MAX 200000 /* of one call: a fifth of what Lua's stack can hold */

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

/* Makes one list, with their number as n, of the values from the index to the top. */
static void
pack(lua_State *L, int first)
{
    int n = lua_gettop(L) - first + 1;
    luaL_checkstack(L, 3, "results of a task");
    lua_createtable(L, n, 1);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(L, first + i - 1);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    lua_insert(L, first);
    lua_settop(L, first);
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

/* What a run over items has on its stack. */
enum { RUN_FAILURE = 1, RUN_F, RUN_LIST, RUN_FIRST, RUN_LAST, RUN_CALL, RUN_VALUES, RUN_ERRORS, RUN_MORE };

/* Notes what came of the call for one item: an error, on the top of the stack, or the results from the
   index on; pops it. */
static void
note_outcome(lua_State *L, bool failed, int results, lua_Integer at)
{
    if (failed) {
        note(L, RUN_ERRORS, at);
    } else if (lua_gettop(L) == results) {
        lua_rawseti(L, RUN_VALUES, at);
    } else {
        pack(L, results);
        lua_rawgeti(L, results, 1); /* the first one, or nil */
        lua_rawseti(L, RUN_VALUES, at);
        note(L, RUN_MORE, at);
    }
}

/* The run from item i on. */
static int
run_from(lua_State *L, lua_Integer i)
{
    struct run run = {lua_tointeger(L, RUN_FIRST), lua_tointeger(L, RUN_LAST), i, false};
    /* To protect each call by itself would cost as much again as the call of a small function. */
    for (; run.i <= run.last; run.i++) {
        lua_pushcfunction(L, run_on);
        lua_pushlightuserdata(L, &run);
        lua_pushvalue(L, RUN_F);
        lua_pushvalue(L, RUN_LIST);
        lua_pushvalue(L, RUN_CALL);
        lua_pushvalue(L, RUN_VALUES);
        bool failed = lua_pcall(L, 5, LUA_MULTRET, RUN_FAILURE) != LUA_OK;
        if (failed || run.has_stopped)
            note_outcome(L, failed, RUN_MORE + 1, run.i - run.first + 1);
    }
    lua_pushvalue(L, RUN_VALUES);
    lua_pushinteger(L, run.last - run.first + 1);
    lua_pushvalue(L, RUN_ERRORS);
    lua_pushvalue(L, RUN_MORE);
    return 4;
}

/* run_items(failure, f, list, first, last[, call]): f(list[i]), or call(f, list, i), for each i,
   with failure as the message handler. Gives the first values that the calls returned, their
   number, and if there are any: a table of errors; a table of packed results, of the calls that
   returned not one value. */
static int
native_run_items(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, RUN_FIRST), last = luaL_checkinteger(L, RUN_LAST);
    lua_settop(L, RUN_CALL);
    luampB_push_list(L, last - first + 1);
    lua_settop(L, RUN_MORE);
    return run_from(L, first);
}

/* Has the function at the index nothing that one call could leave to the next? */
static bool
keeps_nothing(lua_State *L, int index)
{
    if (lua_iscfunction(L, index)) /* it went by name, and is this process's own */
        return true;
    if (!lua_isfunction(L, index))
        return false;
    bool keeps = false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    for (int i = 1; !keeps && lua_getupvalue(L, index, i) != NULL; i++) {
        keeps = !lua_rawequal(L, -1, -2);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return !keeps;
}

/* What serve() has on the stack. */
enum { TASKS = 1, LEASE, RESULTS, FAILURE, SPREAD_CALL, LIMIT, MOST, HEAD, F, CALL, TEXT, WORK };

/* head(bytes, length): the function, whether its items are lists of arguments, and the head itself if the
   function may stay for the next chunk that has the same. */
static int
decode_head(lua_State *L)
{
    const char *bytes = lua_touserdata(L, 1);
    size_t length = (size_t) lua_tointeger(L, 2);
    lua_settop(L, 0);
    luampC_decode(L, bytes, length, LUAMPC_FUNCTIONS | LUAMPC_OBJECTS);
    if (keeps_nothing(L, 1))
        lua_pushlstring(L, bytes, length);
    else
        lua_pushnil(L);
    return 3;
}

/* Makes F and CALL those of the task. LUA_OK, or a status with the error pushed. */
static int
know_function(lua_State *L, const struct luampB_task *task, const struct amp_message *message)
{
    const char *head = (const char *) message->bytes + sizeof *task;
    size_t length;
    const char *known = lua_tolstring(L, HEAD, &length);
    if (known && length == task->head_length && memcmp(known, head, length) == 0 &&
        keeps_nothing(L, F)) /* it may have put something else in the place of the globals */
        return LUA_OK;
    lua_pushcfunction(L, decode_head);
    lua_pushlightuserdata(L, (void *) head);
    lua_pushinteger(L, (lua_Integer) task->head_length);
    int status = lua_pcall(L, 2, 3, 0);
    if (status != LUA_OK)
        return status;
    lua_replace(L, HEAD);
    if (lua_toboolean(L, -1))
        lua_pushvalue(L, SPREAD_CALL);
    else
        lua_pushnil(L);
    lua_replace(L, CALL);
    lua_pop(L, 1);
    lua_replace(L, F);
    return LUA_OK;
}

/*
 * The ways to run a chunk. What is to be run is at WORK. They return the form of the result: what is to be
 * sent is on the top of the stack then, or of scalars the text at TEXT. Or LUAMPB_VALUES, when not all went
 * well: then what run_items gives is pushed.
 */

static enum luampB_form
run_one(lua_State *L)
{
    lua_pushvalue(L, F);
    lua_pushvalue(L, WORK);
    bool failed = lua_pcall(L, 1, LUA_MULTRET, FAILURE) != LUA_OK;
    if (!failed && lua_gettop(L) == WORK + 1)
        return LUAMPB_ONE;
    enum { VALUES = 1, N, ERRORS, MORE };
    luaL_checkstack(L, MORE, "results of a task");
    lua_newtable(L);
    lua_pushinteger(L, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    if (failed) {
        lua_rotate(L, WORK + 1, -1); /* the error, behind the others */
        note(L, WORK + ERRORS, 1);
        return LUAMPB_VALUES;
    }
    lua_rotate(L, WORK + 1, MORE); /* the results, behind the others */
    pack(L, WORK + MORE + 1);
    lua_rawgeti(L, -1, 1);
    lua_rawseti(L, WORK + VALUES, 1);
    note(L, WORK + MORE, 1);
    return LUAMPB_VALUES;
}

/* What run_items gives is on the top of the stack. */
static enum luampB_form
after_run(lua_State *L)
{
    if (!lua_isnil(L, -1) || !lua_isnil(L, -2))
        return LUAMPB_VALUES;
    lua_pop(L, 3);
    return LUAMPB_LIST;
}

static enum luampB_form
run_list(lua_State *L, const struct luampB_task *task)
{
    lua_pushcfunction(L, native_run_items);
    lua_pushvalue(L, FAILURE);
    lua_pushvalue(L, F);
    lua_pushvalue(L, WORK);
    lua_pushinteger(L, 1);
    lua_pushinteger(L, (lua_Integer) task->n);
    lua_pushvalue(L, CALL);
    lua_call(L, 6, 4);
    return after_run(L);
}

/* Where a run over scalars is. */
struct scalars {
    const unsigned char *at, *end;
    lua_Integer left; /* items */
    struct luampB_text *values;
};

/* run_scalars(scalars, f): from the next item on: until an error, to the end, or to a call that returns
   anything but one scalar, of which it gives what it returned. */
static int
run_scalars(lua_State *L)
{
    struct scalars *scalars = lua_touserdata(L, 1);
    for (; scalars->left > 0; scalars->left--) {
        lua_pushvalue(L, 2);
        luampC_get_scalar(L, &scalars->at, scalars->end);
        lua_call(L, 1, LUA_MULTRET);
        if (lua_gettop(L) != 3 || !luampB_add_scalar(L, scalars->values))
            return lua_gettop(L) - 2;
        lua_pop(L, 1);
    }
    return 0;
}

/* go_on(failure, f, items, n, done, values, failed, results...): with the item behind those that are done,
   whose call has failed or given these results; goes on with the items behind it as a list, and gives what
   run_items does. */
static int
go_on(lua_State *L)
{
    enum { ITEMS = 3, N, DONE, DONE_VALUES, FAILED };
    size_t length;
    const unsigned char *items = (const unsigned char *) lua_tolstring(L, ITEMS, &length);
    const struct luampB_text *values = lua_touserdata(L, DONE_VALUES);
    lua_Integer n = lua_tointeger(L, N), done = lua_tointeger(L, DONE);
    bool failed = lua_toboolean(L, FAILED);
    luaL_checkstack(L, 2 * RUN_MORE, "results of a task");
    luampB_push_list(L, n);
    luampB_spread_scalars(L, items, items + length, lua_gettop(L), 1, n);
    luampB_push_list(L, n);
    if (done > 0)
        luampB_spread_scalars(L, values->bytes, values->bytes + values->length, lua_gettop(L), 1, done);
    lua_replace(L, RUN_VALUES);
    lua_replace(L, RUN_LIST);
    lua_pushinteger(L, 1);
    lua_replace(L, RUN_FIRST);
    lua_pushinteger(L, n);
    lua_replace(L, RUN_LAST);
    lua_pushnil(L);
    lua_replace(L, RUN_CALL);
    for (int i = RUN_ERRORS; i <= RUN_MORE; i++) { /* before the results */
        lua_pushnil(L);
        lua_insert(L, i);
    }
    note_outcome(L, failed, RUN_MORE + 1, done + 1);
    return run_from(L, done + 2);
}

static enum luampB_form
run_text(lua_State *L, const struct luampB_task *task)
{
    size_t length;
    const unsigned char *items = (const unsigned char *) lua_tolstring(L, WORK, &length);
    lua_Integer n = (lua_Integer) task->n;
    struct scalars scalars = {items, items + length, n, lua_touserdata(L, TEXT)};
    scalars.values->length = 0;
    lua_pushcfunction(L, run_scalars);
    lua_pushlightuserdata(L, &scalars);
    lua_pushvalue(L, F);
    bool failed = lua_pcall(L, 2, LUA_MULTRET, FAILURE) != LUA_OK;
    if (scalars.left == 0)
        return LUAMPB_SCALARS;
    int results = lua_gettop(L) - WORK;
    luaL_checkstack(L, 10, "results of a task");
    lua_pushcfunction(L, go_on);
    lua_pushvalue(L, FAILURE);
    lua_pushvalue(L, F);
    lua_pushvalue(L, WORK);
    lua_pushinteger(L, n);
    lua_pushinteger(L, n - scalars.left);
    lua_pushvalue(L, TEXT);
    lua_pushboolean(L, failed);
    lua_rotate(L, WORK + 1, 8); /* the function and its arguments, before the results */
    lua_call(L, 7 + results, 4);
    return after_run(L);
}

/* Puts what a run has left as the result of the task: false when it cannot be sent, or there is no room. */
static bool
put_result(lua_State *L, struct amp_cell *results, const struct luampB_task *task,
           enum luampB_form form)
{
    struct luampB_outgoing out;
    struct luampB_task result = {.number = task->number, .form = form};
    int top = lua_gettop(L);
    if (form == LUAMPB_SCALARS) {
        const struct luampB_text *text = lua_touserdata(L, TEXT);
        out = (struct luampB_outgoing) {
            .message = {.bytes = text->bytes, .length = text->length},
            .keeps = true,
        };
    } else if (luampB_try_to_encode(L, "result", &out) != LUA_OK) {
        lua_settop(L, top);
        return false;
    }
    out.prefix = &result;
    out.prefix_length = sizeof result;
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(results)};
    int failure = luampB_send(L, results, &out, AMP_FOREVER, &what);
    lua_settop(L, top);
    return failure == 0;
}

/* Makes of what a run has left, and cannot be sent, what run_items would give. */
static void
push_as_run(lua_State *L, const struct luampB_task *task, enum luampB_form form)
{
    if (form == LUAMPB_ONE) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    } else if (form == LUAMPB_SCALARS) {
        const struct luampB_text *text = lua_touserdata(L, TEXT);
        lua_Integer n = (lua_Integer) task->n;
        luampB_push_list(L, n);
        luampB_spread_scalars(L, text->bytes, text->bytes + text->length, lua_gettop(L), 1, n);
    }
    lua_pushinteger(L, (lua_Integer) task->n);
    lua_pushnil(L);
    lua_pushnil(L);
}

/* bytes(address, length): a string of them. */
static int
copy_bytes(lua_State *L)
{
    lua_pushlstring(L, lua_touserdata(L, 1), (size_t) lua_tointeger(L, 2));
    return 1;
}

/* Pushes what a worker is to run, and ends the message: a status, and for all but LUA_OK the error is
   pushed. */
static int
receive_work(lua_State *L, const struct luampB_task *task, struct amp_message *message)
{
    if (task->form == LUAMPB_VALUES)
        return luampB_receive(L, message);
    size_t behind = sizeof *task + task->head_length;
    /* The objects of the items come in one message with those of the head, and must outlast its decoding. */
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message->cells, message->ncells);
    int status = know_function(L, task, message);
    if (status == LUA_OK && task->form == LUAMPB_SCALARS) {
        lua_pushcfunction(L, copy_bytes);
        lua_pushlightuserdata(L, (void *) (message->bytes + behind));
        lua_pushinteger(L, (lua_Integer) (message->length - behind));
        status = lua_pcall(L, 2, 1, 0);
    } else if (status == LUA_OK) {
        status = luampB_decode_behind(L, message, behind);
    }
    luampO_arrived(&arrival);
    amp_message_done(message);
    return status;
}

static enum luampB_form
run_chunk(lua_State *L, const struct luampB_task *task)
{
    switch (task->form) {
    case LUAMPB_ONE:
        return run_one(L);
    case LUAMPB_SCALARS:
        return run_text(L, task);
    default:
        return run_list(L, task);
    }
}

/* run_call(f, args, kwargs): as call_with, but so many results are an error that pass on the stack from here to
   who waits for them, once in each function on the way, does not bear. */
static int
native_run_call(lua_State *L)
{
    int n = luampB_call_with(L);
    if (n > RESULTS_MAX)
        return luaL_error(L, "too many results: %d, and at most %d can be sent; return them in a table", n, RESULTS_MAX);
    return n;
}

/*
 * serve(tasks, lease, results, failure, spread_call, limit, most): takes tasks and runs them, until
 * one is there for Lua to see to, or there will be no more, or it has run so many. Pushes how many it
 * has run; and of a task for Lua, under its lease and its time limit: its number and its values; or the
 * number, false and why it cannot be received; or the number, "ran" and what run_items gives, when
 * items were run and not all went well.
 */
static int
native_serve(lua_State *L)
{
    struct amp_cell *tasks = luampB_check_queue(L, TASKS), *results = luampB_check_queue(L, RESULTS);
    uint32_t lease = (uint32_t) luaL_checkinteger(L, LEASE);
    double limit = luaL_optnumber(L, LIMIT, 0);
    lua_Integer most = luaL_checkinteger(L, MOST), n;
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(tasks), .is_idle = true};
    lua_settop(L, CALL);
    luampB_push_text(L);
    for (n = 0; n < most; n++) {
        struct amp_message message;
        struct luampB_task task;
        int result;
        lua_settop(L, TEXT);
        what.since = 0;
        LUAMPB_BLOCKING(L, result, amp_ring_take_lease(tasks, lease, AMP_FOREVER, &what, &message));
        if (result == -EPIPE)
            break;
        if (result != 0)
            return luampB_raise(L, "take from a pool", result);
        memcpy(&task, message.bytes, sizeof task);
        if (limit > 0)
            luampB_limit_task(L, tasks, lease, limit);
        int status = receive_work(L, &task, &message);
        if (status != LUA_OK) {
            lua_pushboolean(L, 0);
            lua_insert(L, -2);
        } else if (task.form != LUAMPB_VALUES) {
            enum luampB_form form = run_chunk(L, &task);
            if (form != LUAMPB_VALUES && put_result(L, results, &task, form)) {
                if (limit > 0)
                    luampB_limit_task(L, tasks, lease, 0);
                amp_lease_done(tasks, lease);
                continue;
            }
            if (form != LUAMPB_VALUES)
                push_as_run(L, &task, form);
            lua_pushliteral(L, "ran");
            lua_replace(L, WORK);
        }
        lua_pushinteger(L, n);
        lua_pushinteger(L, task.number);
        lua_rotate(L, WORK, 2);
        return lua_gettop(L) - TEXT;
    }
    lua_pushinteger(L, n);
    return 1;
}

const luaL_Reg luampB_worker_natives[] = {
    {"run_call", native_run_call},
    {"run_items", native_run_items},
    {"serve", native_serve},
    {NULL, NULL},
};
