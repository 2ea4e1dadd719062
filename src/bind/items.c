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
#include <stdlib.h>
#include <string.h>

#define AT_ONCE_MAX 256 /* chunks given, or results collected, before Lua looks at the other side */

/*
 * Scalars one after the other, in memory that grows: a userdata.
 */

struct text {
    unsigned char *bytes;
    size_t length, capacity;
};

static int
text_gc(lua_State *L)
{
    struct text *text = lua_touserdata(L, 1);
    free(text->bytes);
    *text = (struct text) {.bytes = NULL};
    return 0;
}

static struct text *
push_text(lua_State *L)
{
    static const char key;
    struct text *text = lua_newuserdatauv(L, sizeof *text, 0);
    *text = (struct text) {.bytes = NULL};
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, text_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    }
    lua_setmetatable(L, -2);
    return text;
}

/* Adds the value on the top of the stack: false when it is no scalar, or there is no memory. */
static bool
add_scalar(lua_State *L, struct text *text)
{
    for (;;) {
        size_t room = text->capacity - text->length;
        size_t size = luampC_put_scalar(L, -1, text->bytes + text->length, room);
        if (size == 0)
            return false;
        if (size <= room) {
            text->length += size;
            return true;
        }
        size_t capacity = 2 * text->capacity + size + 4096;
        unsigned char *bytes = realloc(text->bytes, capacity);
        if (bytes == NULL)
            return false;
        text->bytes = bytes;
        text->capacity = capacity;
    }
}

/* Puts n scalars into the table at the index, from its `first` on. */
static void
spread_scalars(lua_State *L, const unsigned char *at, const unsigned char *end, int table,
               lua_Integer first, lua_Integer n)
{
    for (lua_Integer i = 0; i < n; i++) {
        luampC_get_scalar(L, &at, end);
        lua_rawseti(L, table, first + i);
    }
}

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
    if (common.size > common.n)
        common.size = common.n > 0 ? common.n : 1;
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

/* Writes the chunk as scalars: false when there is something else in it. */
static bool
write_chunk(lua_State *L, const struct items *items, int list, lua_Integer chunk, struct text *text)
{
    lua_Integer first = first_of(items, chunk), n = length_of(items, chunk);
    text->length = 0;
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, list, first + i);
        bool is_added = add_scalar(L, text);
        lua_pop(L, 1);
        if (!is_added)
            return false;
    }
    return true;
}

/* Encodes the value on the top of the stack: LUA_OK, or a status with the error pushed. In the error the path
   of what cannot be sent begins with the root: "list[1]" is the first item of a chunk, which of one that
   goes by itself is the whole. */
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

/* The message's objects and the head's, in one array, which is pushed; and what keeps the message, since that
   may run finalizers. */
static void
add_cells(lua_State *L, const struct items *items, struct luampB_outgoing *out)
{
    if (!out->scalar && !out->keeps) {
        luampC_keep(L);
        out->keeps = true;
    }
    uint32_t n = items->ncells + out->message.ncells;
    uint64_t *cells = lua_newuserdatauv(L, n * sizeof *cells, 0);
    memcpy(cells, items->cells, items->ncells * sizeof *cells);
    if (out->message.ncells > 0)
        memcpy(cells + items->ncells, out->message.cells, out->message.ncells * sizeof *cells);
    out->message.cells = cells;
    out->message.ncells = n;
}

/* Puts the chunk of which `out` is the message. */
static void
put_chunk(lua_State *L, struct amp_cell *tasks, struct items *items, lua_Integer chunk,
          enum luampB_form form, struct luampB_outgoing *out)
{
    struct luampB_task task = {
        .number = items->number + chunk,
        .form = form,
        .n = (uint64_t) length_of(items, chunk),
        .head_length = items->prefix_length - sizeof task,
    };
    if (items->ncells > 0)
        add_cells(L, items, out);
    memcpy(items->prefix, &task, sizeof task);
    out->prefix = items->prefix;
    out->prefix_length = items->prefix_length;
    put(L, tasks, out, "send to a pool");
}

/* Gives a chunk: LUA_OK, or a status with the error pushed when it cannot be sent. */
static int
give_chunk(lua_State *L, struct amp_cell *tasks, struct items *items, int list, lua_Integer chunk,
           struct text *text)
{
    struct luampB_outgoing out = {.scalar = 0};
    bool is_one = length_of(items, chunk) == 1 && items->one_by_one;
    if (!is_one && items->one_by_one && write_chunk(L, items, list, chunk, text)) {
        out.message.bytes = text->bytes;
        out.message.length = text->length;
        out.keeps = true;
        put_chunk(L, tasks, items, chunk, LUAMPB_SCALARS, &out);
        return LUA_OK;
    }
    push_chunk(L, items, list, chunk);
    int status = try_to_encode(L, is_one ? "list[]" : "list", &out);
    if (status == LUA_OK)
        put_chunk(L, tasks, items, chunk, is_one ? LUAMPB_ONE : LUAMPB_LIST, &out);
    return status;
}

/* give(tasks, items, most): gives chunks to the workers, until `most` are given and not settled, or
   some hundred are. Pushes how many; and if the next one cannot be sent, its first item and why: it is
   settled then. */
static int
native_give(lua_State *L)
{
    enum { TASKS = 1, ITEMS, MOST, LIST, TEXT };
    struct amp_cell *tasks = luampB_check_queue(L, TASKS);
    struct items *items = check_items(L, ITEMS);
    lua_Integer most = luaL_checkinteger(L, MOST), n = 0;
    lua_settop(L, MOST);
    lua_getiuservalue(L, ITEMS, ITEMS_LIST);
    struct text *text = push_text(L);
    while (items->given < items->chunks && items->given - items->settled < most && n < AT_ONCE_MAX) {
        lua_Integer chunk = items->given++; /* before: a finalizer may use the pool, and give the next */
        if (give_chunk(L, tasks, items, LIST, chunk, text) != LUA_OK) {
            settle(items, chunk);
            lua_pushinteger(L, n);
            lua_pushinteger(L, first_of(items, chunk));
            lua_pushvalue(L, -3);
            return 3;
        }
        n++;
        lua_settop(L, TEXT);
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
    lua_settop(L, NUMBER);
    lua_getiuservalue(L, ITEMS, ITEMS_LIST);
    if (give_chunk(L, tasks, items, LIST, chunk, push_text(L)) != LUA_OK)
        return lua_error(L);
    return 0;
}

/* The list that has a chunk with this number which is not settled, and its place among the lists; NULL: none.
   Pushes it. */
static struct items *
push_owner(lua_State *L, int lists, lua_Integer number, lua_Integer *place)
{
    lua_Integer n = (lua_Integer) lua_rawlen(L, lists);
    for (*place = 1; *place <= n; ++*place) {
        lua_rawgeti(L, lists, *place);
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
    lua_Integer number = luaL_checkinteger(L, 2), place;
    const struct items *items = push_owner(L, 1, number, &place);
    if (items == NULL)
        return 0;
    lua_pushinteger(L, place);
    lua_pushinteger(L, first_of(items, number - items->number));
    lua_pushinteger(L, length_of(items, number - items->number));
    return 3;
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
place_values(lua_State *L, const struct items *items, lua_Integer chunk, int owner, unsigned form)
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

/* place(items, chunk, message): puts the scalars in the message in their places. */
static int
place_scalars(lua_State *L)
{
    enum { ITEMS = 1, CHUNK, MESSAGE, VALUES };
    const struct items *items = check_items(L, ITEMS);
    lua_Integer chunk = lua_tointeger(L, CHUNK);
    const struct amp_message *message = lua_touserdata(L, MESSAGE);
    lua_getiuservalue(L, ITEMS, ITEMS_VALUES);
    spread_scalars(L, message->bytes + sizeof(struct luampB_task), message->bytes + message->length,
                   VALUES, first_of(items, chunk), length_of(items, chunk));
    return 0;
}

/* Decodes the values behind so many bytes of a message whose objects are arriving. LUA_OK: they are pushed;
   otherwise the error is. */
static int
decode_behind(lua_State *L, const struct amp_message *message, size_t behind)
{
    struct amp_message values = *message;
    values.bytes += behind;
    values.length -= behind;
    if (message->ncells == 0 && luampC_is_number(values.bytes, values.length)) {
        luampC_decode(L, values.bytes, values.length, 0);
        return LUA_OK;
    }
    lua_pushcfunction(L, luampB_decode_message);
    lua_pushlightuserdata(L, &values);
    return lua_pcall(L, 1, LUA_MULTRET, 0);
}

/* The same of one that has only its header before the values; and ends it. */
static int
receive(lua_State *L, struct amp_message *message)
{
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message->cells, message->ncells);
    int status = decode_behind(L, message, sizeof(struct luampB_task));
    luampO_arrived(&arrival);
    amp_message_done(message);
    return status;
}

/* Puts what the message has in its places, and ends the message: LUA_OK, or a status with the error
   pushed. The list is at `owner`. */
static int
place(lua_State *L, const struct luampB_task *task, struct amp_message *message, int owner)
{
    const struct items *items = lua_touserdata(L, owner);
    lua_Integer chunk = task->number - items->number;
    int status;
    if (task->form == LUAMPB_SCALARS) {
        lua_pushcfunction(L, place_scalars);
        lua_pushvalue(L, owner);
        lua_pushinteger(L, chunk);
        lua_pushlightuserdata(L, message);
        status = lua_pcall(L, 3, 0, 0);
        amp_message_done(message);
    } else {
        status = receive(L, message);
        if (status == LUA_OK)
            place_values(L, items, chunk, owner, (unsigned) task->form);
    }
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
   were settled; and of another kind of result its number and its values, or the number, false and why it
   cannot be received. */
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
        if (result == -EAGAIN || (result != 0 && n > 0)) { /* it fails again when these are seen to */
            lua_pushinteger(L, n);
            return 1;
        }
        if (result != 0)
            return luampB_raise(L, "take from a pool", result);
        memcpy(&task, message.bytes, sizeof task);
        if (task.form == LUAMPB_VALUES) {
            lua_pushinteger(L, n);
            lua_pushinteger(L, task.number);
            if (receive(L, &message) != LUA_OK) {
                lua_pushboolean(L, 0);
                lua_insert(L, -2);
            }
            return lua_gettop(L) - LISTS;
        }
        lua_Integer at;
        struct items *items = push_owner(L, LISTS, task.number, &at);
        if (items == NULL) {
            drop(&message);
            n--;
            continue;
        }
        int owner = lua_gettop(L);
        if (place(L, &task, &message, owner) != LUA_OK) {
            lua_pushinteger(L, n);
            lua_pushinteger(L, task.number);
            lua_pushboolean(L, 0);
            lua_pushvalue(L, owner + 1);
            return 4;
        }
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

static void
push_list(lua_State *L, lua_Integer n)
{
    lua_createtable(L, n > 0 && n < INT32_MAX ? (int) n : 0, 0);
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
    push_list(L, last - first + 1);
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
    struct text *values;
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
        if (lua_gettop(L) != 3 || !add_scalar(L, scalars->values))
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
    const struct text *values = lua_touserdata(L, DONE_VALUES);
    lua_Integer n = lua_tointeger(L, N), done = lua_tointeger(L, DONE);
    bool failed = lua_toboolean(L, FAILED);
    luaL_checkstack(L, 2 * RUN_MORE, "results of a task");
    push_list(L, n);
    spread_scalars(L, items, items + length, lua_gettop(L), 1, n);
    push_list(L, n);
    if (done > 0)
        spread_scalars(L, values->bytes, values->bytes + values->length, lua_gettop(L), 1, done);
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

/* Puts what a run has left as the result of the task: false when it cannot be sent. */
static bool
put_result(lua_State *L, struct amp_cell *results, const struct luampB_task *task,
           enum luampB_form form)
{
    struct luampB_outgoing out;
    struct luampB_task result = {.number = task->number, .form = form};
    int top = lua_gettop(L);
    if (form == LUAMPB_SCALARS) {
        const struct text *text = lua_touserdata(L, TEXT);
        out = (struct luampB_outgoing) {
            .message = {.bytes = text->bytes, .length = text->length},
            .keeps = true,
        };
    } else if (try_to_encode(L, "result", &out) != LUA_OK) {
        lua_settop(L, top);
        return false;
    }
    out.prefix = &result;
    out.prefix_length = sizeof result;
    put(L, results, &out, "send to a pool");
    return true;
}

/* Makes of what a run has left, and cannot be sent, what run_items would give. */
static void
push_as_run(lua_State *L, const struct luampB_task *task, enum luampB_form form)
{
    if (form == LUAMPB_ONE) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
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
        return receive(L, message);
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
        status = decode_behind(L, message, behind);
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
    lua_settop(L, CALL);
    push_text(L);
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
