/*
 * items: the items of a list on their way through a pool. The process that has the pool gives them in
 * chunks (give), the workers run them (serve), and the values come back to where they belong
 * (collect). It is the part of lua/pool.lua that runs once for each item or chunk; whatever does not
 * go well there is handed to Lua.
 *
 * The chunks of a list have numbers in a row, so a result needs no more than its number to find its
 * place. A chunk is settled once: a second result of one that was tried again is dropped.
 *
 * The function goes with each chunk, encoded once, as the head of the message. A worker that finds
 * the same head again as in the chunk before need not decode it again, when nothing shows: when the
 * function has no upvalues that it could have changed.
 */
#include "pool.h"

#include "process.h"

#include <errno.h>
#include <string.h>

#define AT_ONCE_MAX 256 /* chunks given, or results collected, before Lua looks at the other side */

/*
 * The process that has the pool.
 */

/* What a list's chunks have in common; a userdata. */
struct items {
    lua_Integer number;        /* of the first chunk's task */
    lua_Integer n, size;       /* items, and how many make a chunk */
    lua_Integer chunks, given, settled;
    bool one_by_one;           /* an item that is a chunk by itself goes as itself, not as a list */
    uint32_t ncells;           /* the objects in the head */
    size_t prefix_length;      /* the header and the head */
    unsigned char *is_settled; /* a bit for each chunk; lies behind the struct, as the next two do */
    uint64_t *cells;           /* the head's, and room for none but those */
    unsigned char *prefix;     /* the header, to be completed, and the head */
};

enum { ITEMS_LIST = 1, ITEMS_VALUES, ITEMS_FUNCTION, ITEMS_UPVALUES = ITEMS_FUNCTION };

static struct items *
check_items(lua_State *L, int index)
{
    struct items *items = lua_touserdata(L, index);
    return items ? items : (luaL_argerror(L, index, "items expected"), NULL);
}

static bool
is_settled(const struct items *items, lua_Integer chunk)
{
    return items->is_settled[chunk / 8] >> chunk % 8 & 1;
}

static void
settle(struct items *items, lua_Integer chunk)
{
    items->is_settled[chunk / 8] |= (unsigned char) (1u << chunk % 8);
    items->settled++;
}

static lua_Integer
first_of(const struct items *items, lua_Integer chunk)
{
    return chunk * items->size + 1;
}

static lua_Integer
length_of(const struct items *items, lua_Integer chunk)
{
    lua_Integer left = items->n - chunk * items->size;
    return left < items->size ? left : items->size;
}

/* items(number, list, n, size, values, f, spread): the chunks of a plain list of n items, of which the
   first has this number; where the values go; the function, and whether an item is a list of its
   arguments. Raises when the function cannot be sent. */
static int
native_items(lua_State *L)
{
    enum { NUMBER = 1, LIST, N, SIZE, VALUES, F, SPREAD };
    lua_settop(L, SPREAD);
    luaL_checktype(L, LIST, LUA_TTABLE);
    luaL_checktype(L, VALUES, LUA_TTABLE);
    struct items common = {
        .number = luaL_checkinteger(L, NUMBER),
        .n = luaL_checkinteger(L, N),
        .size = luaL_checkinteger(L, SIZE),
        .one_by_one = !lua_toboolean(L, SPREAD),
    };
    common.chunks = (common.n + common.size - 1) / common.size;
    struct luampC_message head;
    luampC_encode(L, F, 2, "args", &head);
    luampC_keep(L);
    common.ncells = head.ncells;
    common.prefix_length = sizeof(struct luampB_task) + head.length;
    size_t cells = head.ncells * sizeof *head.cells, bits = (size_t) common.chunks / 8 + 1;
    struct items *items = lua_newuserdatauv(L, sizeof *items + cells + common.prefix_length + bits,
                                            ITEMS_UPVALUES);
    *items = common;
    items->cells = (uint64_t *) (items + 1);
    items->prefix = (unsigned char *) items->cells + cells;
    items->is_settled = items->prefix + common.prefix_length;
    if (cells > 0)
        memcpy(items->cells, head.cells, cells);
    memcpy(items->prefix + sizeof(struct luampB_task), head.bytes, head.length);
    memset(items->is_settled, 0, bits);
    lua_pushvalue(L, LIST);
    lua_setiuservalue(L, -2, ITEMS_LIST);
    lua_pushvalue(L, VALUES);
    lua_setiuservalue(L, -2, ITEMS_VALUES);
    lua_pushvalue(L, F); /* the objects that it uses */
    lua_setiuservalue(L, -2, ITEMS_FUNCTION);
    return 1;
}

/* Pushes what goes for the chunk: its only item, or a list. */
static void
push_chunk(lua_State *L, const struct items *items, int list, lua_Integer chunk)
{
    lua_Integer first = first_of(items, chunk), n = length_of(items, chunk);
    if (n == 1 && items->one_by_one) {
        lua_rawgeti(L, list, first);
        return;
    }
    lua_createtable(L, n < INT32_MAX ? (int) n : 0, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, list, first + i - 1);
        lua_rawseti(L, -2, i);
    }
}

/* encode(outgoing, root, value) */
static int
encode(lua_State *L)
{
    luampB_encode(L, 3, lua_tostring(L, 2), lua_touserdata(L, 1));
    return 0;
}

/* What begins the path of a chunk that cannot be sent: "list[1]", the first item of the chunk, is the whole
   of one that goes by itself. */
static const char *
root_of(const struct items *items, lua_Integer chunk)
{
    return length_of(items, chunk) == 1 && items->one_by_one ? "list[]" : "list";
}

/* Encodes the value on the top of the stack: LUA_OK, or a status with the error pushed. */
static int
try_to_encode(lua_State *L, const char *root, struct luampB_outgoing *out)
{
    int value = lua_gettop(L);
    out->message.length = luampC_scalar_size(L, value);
    if (out->message.length > 0) {
        luampB_encode(L, value, root, out);
        return LUA_OK;
    }
    lua_pushcfunction(L, encode);
    lua_pushlightuserdata(L, out);
    lua_pushstring(L, root);
    lua_pushvalue(L, value);
    return lua_pcall(L, 3, 0, 0);
}

static void
put(lua_State *L, struct amp_cell *queue, struct luampB_outgoing *out, const char *what)
{
    struct amp_what waiting = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    int result = luampB_send(L, queue, out, AMP_FOREVER, &waiting);
    if (result != 0)
        luampB_raise(L, what, result);
}

/* The message's objects and the head's, in one array, which is pushed. */
static void
add_cells(lua_State *L, const struct items *items, struct luampB_outgoing *out)
{
    uint32_t n = items->ncells + out->message.ncells;
    uint64_t *cells = lua_newuserdatauv(L, n * sizeof *cells, 0);
    memcpy(cells, items->cells, items->ncells * sizeof *cells);
    if (out->message.ncells > 0)
        memcpy(cells + items->ncells, out->message.cells, out->message.ncells * sizeof *cells);
    out->message.cells = cells;
    out->message.ncells = n;
}

/* Puts the chunk that is on the top of the stack, encoded. */
static void
put_chunk(lua_State *L, struct amp_cell *tasks, struct items *items, lua_Integer chunk,
          struct luampB_outgoing *out)
{
    lua_Integer n = length_of(items, chunk);
    struct luampB_task task = {
        .number = items->number + chunk,
        .form = n == 1 && items->one_by_one ? LUAMPB_ONE : LUAMPB_LIST,
        .n = (uint64_t) n,
        .head_length = items->prefix_length - sizeof task,
    };
    memcpy(items->prefix, &task, sizeof task);
    out->prefix = items->prefix;
    out->prefix_length = items->prefix_length;
    if (items->ncells > 0)
        add_cells(L, items, out);
    put(L, tasks, out, "send to a pool");
}

/* give(tasks, items, most): gives chunks to the workers, until `most` are given and not settled, or
   some hundred are. Pushes how many; and if the next one cannot be sent, its first item and why: it is
   settled then. */
static int
native_give(lua_State *L)
{
    enum { TASKS = 1, ITEMS, MOST, LIST };
    struct amp_cell *tasks = luampB_check_queue(L, TASKS);
    struct items *items = check_items(L, ITEMS);
    lua_Integer most = luaL_checkinteger(L, MOST), n = 0;
    lua_settop(L, MOST);
    lua_getiuservalue(L, ITEMS, ITEMS_LIST);
    while (items->given < items->chunks && items->given - items->settled < most && n < AT_ONCE_MAX) {
        struct luampB_outgoing out;
        lua_Integer chunk = items->given;
        push_chunk(L, items, LIST, chunk);
        if (try_to_encode(L, root_of(items, chunk), &out) != LUA_OK) {
            items->given++;
            settle(items, chunk);
            lua_pushinteger(L, n);
            lua_pushinteger(L, first_of(items, chunk));
            lua_pushvalue(L, -3);
            return 3;
        }
        put_chunk(L, tasks, items, chunk, &out);
        items->given++;
        n++;
        lua_settop(L, LIST);
    }
    lua_pushinteger(L, n);
    return 1;
}

/* give_again(tasks, items, number): the chunk, whose worker died. */
static int
native_give_again(lua_State *L)
{
    enum { TASKS = 1, ITEMS, NUMBER, LIST };
    struct amp_cell *tasks = luampB_check_queue(L, TASKS);
    struct items *items = check_items(L, ITEMS);
    lua_Integer chunk = luaL_checkinteger(L, NUMBER) - items->number;
    struct luampB_outgoing out;
    lua_settop(L, NUMBER);
    lua_getiuservalue(L, ITEMS, ITEMS_LIST);
    push_chunk(L, items, LIST, chunk);
    if (try_to_encode(L, root_of(items, chunk), &out) != LUA_OK)
        return lua_error(L);
    put_chunk(L, tasks, items, chunk, &out);
    return 0;
}

/* The list that has a chunk with this number which is not settled; NULL: none. Pushes it. */
static struct items *
push_owner(lua_State *L, int lists, lua_Integer number)
{
    lua_Integer n = (lua_Integer) lua_rawlen(L, lists);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, lists, i);
        struct items *items = lua_touserdata(L, -1);
        lua_Integer chunk = number - items->number;
        if (chunk >= 0 && chunk < items->given)
            return is_settled(items, chunk) ? NULL : items;
        lua_pop(L, 1);
    }
    return NULL;
}

/* owner(lists, number): the place among the lists of the one that has this chunk, its first item and
   its length; nothing when none has it, or it is settled. */
static int
native_owner(lua_State *L)
{
    lua_Integer number = luaL_checkinteger(L, 2), n = (lua_Integer) lua_rawlen(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        struct items *items = lua_touserdata(L, -1);
        lua_Integer chunk = number - items->number;
        if (chunk < 0 || chunk >= items->given || is_settled(items, chunk))
            continue;
        lua_pushinteger(L, i);
        lua_pushinteger(L, first_of(items, chunk));
        lua_pushinteger(L, length_of(items, chunk));
        return 3;
    }
    return 0;
}

/* settle(items, first): the chunk with this first item is. */
static int
native_settle(lua_State *L)
{
    struct items *items = check_items(L, 1);
    settle(items, (luaL_checkinteger(L, 2) - 1) / items->size);
    return 0;
}

/* abandon(items): settles all chunks. Pushes the first item of the first that was not, if any. */
static int
native_abandon(lua_State *L)
{
    struct items *items = check_items(L, 1);
    lua_Integer first = 0;
    for (lua_Integer chunk = items->chunks - 1; chunk >= 0; chunk--) {
        if (!is_settled(items, chunk)) {
            settle(items, chunk);
            first = first_of(items, chunk);
        }
    }
    items->given = items->chunks;
    if (first == 0)
        return 0;
    lua_pushinteger(L, first);
    return 1;
}

/* progress(items): chunks, and how many of them are given, and settled. */
static int
native_progress(lua_State *L)
{
    const struct items *items = check_items(L, 1);
    lua_pushinteger(L, items->chunks);
    lua_pushinteger(L, items->given);
    lua_pushinteger(L, items->settled);
    return 3;
}

/* Puts the value on the top of the stack, or the values in the list there, in their places. */
static void
place_values(lua_State *L, struct items *items, lua_Integer chunk, int owner, unsigned form)
{
    lua_Integer first = first_of(items, chunk), n = length_of(items, chunk);
    int came = lua_gettop(L);
    lua_getiuservalue(L, owner, ITEMS_VALUES);
    if (form == LUAMPB_ONE) {
        lua_pushvalue(L, came);
        lua_rawseti(L, -2, first);
        return;
    }
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, came, i);
        lua_rawseti(L, came + 1, first + i - 1);
    }
}

/* Decodes the values behind the header, and ends the message. LUA_OK: they are pushed; otherwise the
   error is. */
int
luampB_receive(lua_State *L, struct amp_message *message, size_t behind)
{
    struct amp_message values = *message;
    values.bytes += behind;
    values.length -= behind;
    int status = LUA_OK;
    if (message->ncells == 0 && luampC_is_number(values.bytes, values.length)) {
        luampC_decode(L, values.bytes, values.length, 0);
    } else {
        struct luampO_arrival arrival;
        luampO_arriving(&arrival, message->cells, message->ncells);
        lua_pushcfunction(L, luampB_decode_message);
        lua_pushlightuserdata(L, &values);
        status = lua_pcall(L, 1, LUA_MULTRET, 0);
        luampO_arrived(&arrival);
    }
    amp_message_done(message);
    return status;
}

/* Drops a message that nobody waits for, with the objects in it. */
static void
drop(struct amp_message *message)
{
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message->cells, message->ncells);
    luampO_arrived(&arrival);
    amp_message_done(message);
}

/* collect(results, lists): takes the results that are there, and puts values in their places, until
   there is none, or it is another kind of result, or some hundred have come. Pushes how many chunks
   were settled; and of another kind of result, or one that cannot be received, what native.take
   pushes. */
static int
native_collect(lua_State *L)
{
    enum { RESULTS = 1, LISTS };
    struct amp_cell *results = luampB_check_queue(L, RESULTS);
    luaL_checktype(L, LISTS, LUA_TTABLE);
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(results)};
    for (lua_Integer n = 0;; n++) {
        struct amp_message message;
        struct luampB_task task;
        lua_settop(L, LISTS);
        int result = n < AT_ONCE_MAX ? amp_ring_take(results, AMP_AT_ONCE, &what, &message) : -EAGAIN;
        if (result == -EAGAIN) {
            lua_pushinteger(L, n);
            return 1;
        }
        if (result != 0)
            return luampB_raise(L, "take from a pool", result);
        memcpy(&task, message.bytes, sizeof task);
        if (task.form == LUAMPB_VALUES) {
            lua_pushinteger(L, n);
            lua_pushinteger(L, task.number);
            if (luampB_receive(L, &message, sizeof task) != LUA_OK) {
                lua_pushboolean(L, 0);
                lua_insert(L, -2);
            }
            return lua_gettop(L) - LISTS;
        }
        struct items *items = push_owner(L, LISTS, task.number);
        if (items == NULL) {
            drop(&message);
            n--;
            continue;
        }
        int owner = lua_gettop(L);
        if (luampB_receive(L, &message, sizeof task) != LUA_OK) {
            lua_pushinteger(L, n);
            lua_pushinteger(L, task.number);
            lua_pushboolean(L, 0);
            lua_pushvalue(L, owner + 1);
            return 4;
        }
        place_values(L, items, task.number - items->number, owner, task.form);
        settle(items, task.number - items->number);
    }
}

/*
 * A worker.
 */

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
            pack(L, MORE + 1);
            lua_rawgeti(L, MORE + 1, 1); /* the first one, or nil */
            lua_rawseti(L, VALUES, at);
            note(L, MORE, at);
        }
    }
    lua_pushvalue(L, VALUES);
    lua_pushinteger(L, run.last - run.first + 1);
    lua_pushvalue(L, ERRORS);
    lua_pushvalue(L, MORE);
    return 4;
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
enum { TASKS = 1, LEASE, RESULTS, FAILURE, SPREAD_CALL, LIMIT, MOST, HEAD, F, CALL, WORK };

/* head(bytes, length): what it holds. */
static int
decode_head(lua_State *L)
{
    const void *bytes = lua_touserdata(L, 1);
    size_t length = (size_t) lua_tointeger(L, 2);
    lua_settop(L, 0);
    return luampC_decode(L, bytes, length, LUAMPC_FUNCTIONS | LUAMPC_OBJECTS);
}

/* Makes F and CALL those of the task. LUA_OK, or a status with the error pushed. */
static int
know_function(lua_State *L, const struct luampB_task *task, const struct amp_message *message)
{
    const char *head = (const char *) message->bytes + sizeof *task;
    size_t length;
    const char *known = lua_tolstring(L, HEAD, &length);
    if (known && length == task->head_length && memcmp(known, head, length) == 0)
        return LUA_OK;
    lua_pushnil(L);
    lua_replace(L, HEAD);
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message->cells, message->ncells);
    lua_pushcfunction(L, decode_head);
    lua_pushlightuserdata(L, (void *) head);
    lua_pushinteger(L, (lua_Integer) task->head_length);
    int status = lua_pcall(L, 2, 2, 0);
    if (status == LUA_OK) {
        if (lua_toboolean(L, -1))
            lua_pushvalue(L, SPREAD_CALL);
        else
            lua_pushnil(L);
        lua_replace(L, CALL);
        lua_pop(L, 1);
        lua_replace(L, F);
        if (keeps_nothing(L, F)) {
            lua_pushlstring(L, head, task->head_length);
            lua_replace(L, HEAD);
        }
    }
    luampO_arrived(&arrival);
    return status;
}

/* Calls F with the item on the top of the stack. True: it returned one value, which is pushed.
   Otherwise what came of it is pushed as run_items would. */
static bool
run_one(lua_State *L)
{
    int item = lua_gettop(L);
    lua_pushvalue(L, F);
    lua_pushvalue(L, item);
    bool failed = lua_pcall(L, 1, LUA_MULTRET, FAILURE) != LUA_OK;
    if (!failed && lua_gettop(L) == item + 1)
        return true;
    enum { VALUES = 1, N, ERRORS, MORE };
    lua_newtable(L);
    lua_pushinteger(L, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    if (failed) {
        lua_rotate(L, item + 1, -1); /* the error, behind the others */
        note(L, item + ERRORS, 1);
        return false;
    }
    lua_rotate(L, item + 1, MORE); /* the results, behind the others */
    pack(L, item + MORE + 1);
    lua_rawgeti(L, -1, 1);
    lua_rawseti(L, item + VALUES, 1);
    note(L, item + MORE, 1);
    return false;
}

/* Runs a list, or an item; it is at WORK. True: all went well, and what is to be sent is pushed, an item's
   value or a list's. Otherwise what came of it is pushed as run_items does. */
static bool
run_chunk(lua_State *L, const struct luampB_task *task)
{
    if (task->form == LUAMPB_ONE)
        return run_one(L);
    lua_pushcfunction(L, native_run_items);
    lua_pushvalue(L, FAILURE);
    lua_pushvalue(L, F);
    lua_pushvalue(L, WORK);
    lua_pushinteger(L, 1);
    lua_pushinteger(L, (lua_Integer) task->n);
    lua_pushvalue(L, CALL);
    lua_call(L, 6, 4);
    if (!lua_isnil(L, -1) || !lua_isnil(L, -2))
        return false;
    lua_pop(L, 3);
    return true;
}

/* Puts what is on the top of the stack as the result of the task: false when it cannot be sent. */
static bool
put_result(lua_State *L, struct amp_cell *results, const struct luampB_task *task)
{
    struct luampB_outgoing out;
    struct luampB_task result = {.number = task->number, .form = task->form};
    int top = lua_gettop(L);
    if (try_to_encode(L, "result", &out) != LUA_OK) {
        lua_settop(L, top);
        return false;
    }
    out.prefix = &result;
    out.prefix_length = sizeof result;
    put(L, results, &out, "send to a pool");
    return true;
}

/* Makes of the value on the top of the stack, which cannot be sent, what run_items would give. */
static void
push_as_run(lua_State *L, const struct luampB_task *task)
{
    if (task->form == LUAMPB_ONE) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    lua_pushinteger(L, (lua_Integer) task->n);
    lua_pushnil(L);
    lua_pushnil(L);
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
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(tasks)};
    lua_settop(L, MOST);
    for (n = 0; n < most; n++) {
        struct amp_message message;
        struct luampB_task task;
        int result, status;
        lua_settop(L, CALL);
        what.since = 0;
        LUAMPB_BLOCKING(L, result, amp_ring_take_lease(tasks, lease, AMP_FOREVER, &what, &message));
        if (result == -EPIPE)
            break;
        if (result != 0)
            return luampB_raise(L, "take from a pool", result);
        memcpy(&task, message.bytes, sizeof task);
        if (limit > 0)
            luampB_limit_task(L, tasks, lease, limit);
        if (task.form == LUAMPB_VALUES) {
            status = luampB_receive(L, &message, sizeof task);
        } else {
            status = know_function(L, &task, &message);
            if (status != LUA_OK)
                amp_message_done(&message);
            else
                status = luampB_receive(L, &message, sizeof task + task.head_length);
        }
        if (status == LUA_OK && task.form != LUAMPB_VALUES) {
            bool well = run_chunk(L, &task);
            if (well && put_result(L, results, &task)) {
                if (limit > 0)
                    luampB_limit_task(L, tasks, lease, 0);
                amp_lease_done(tasks, lease);
                continue;
            }
            if (well)
                push_as_run(L, &task);
            lua_pushliteral(L, "ran");
            lua_replace(L, WORK);
        } else if (status != LUA_OK) {
            lua_pushboolean(L, 0);
            lua_insert(L, -2);
        }
        lua_pushinteger(L, n);
        lua_pushinteger(L, task.number);
        lua_rotate(L, WORK, 2);
        return lua_gettop(L) - CALL;
    }
    lua_pushinteger(L, n);
    return 1;
}

const luaL_Reg luampB_items_natives[] = {
    {"items", native_items},
    {"give", native_give},
    {"give_again", native_give_again},
    {"owner", native_owner},
    {"settle", native_settle},
    {"abandon", native_abandon},
    {"progress", native_progress},
    {"collect", native_collect},
    {"run_items", native_run_items},
    {"serve", native_serve},
    {NULL, NULL},
};
