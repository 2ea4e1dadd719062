/*
 * items: the items of a list on their way through a pool, in the process that has the pool. It gives them
 * in chunks (give), the workers run them (worker.c), and the values come back to where they belong
 * (collect). It is the part of lua/pool.lua that runs once for each item or chunk; whatever does not
 * go well there is handed to Lua.
 *
 * The chunks of a list have numbers in a row, so a result needs no more than its number to find its
 * place. A chunk is settled once: a second result of one that was tried again is dropped.
 *
 * The function goes with each chunk, encoded once, as the head of the message.
 */
#include "pool.h"

#include <errno.h>
#include <string.h>

#define AT_ONCE_MAX 256 /* chunks given, or results collected, before Lua looks at the other side */

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
    luampB_push_list(L, n);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, list, first + i - 1);
        lua_rawseti(L, -2, i);
    }
}

/* Writes the chunk as scalars: false when there is something else in it. */
static bool
write_chunk(lua_State *L, const struct items *items, int list, lua_Integer chunk, struct luampB_text *text)
{
    lua_Integer first = first_of(items, chunk), n = length_of(items, chunk);
    text->length = 0;
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, list, first + i);
        bool is_added = luampB_add_scalar(L, text);
        lua_pop(L, 1);
        if (!is_added)
            return false;
    }
    return true;
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
    luampB_put_encoded(L, tasks, out);
}

/* Gives a chunk: LUA_OK, or a status with the error pushed when it cannot be sent. */
static int
give_chunk(lua_State *L, struct amp_cell *tasks, struct items *items, int list, lua_Integer chunk,
           struct luampB_text *text)
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
    int status = luampB_try_to_encode(L, is_one ? "list[]" : "list", &out);
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
    struct luampB_text *text = luampB_push_text(L);
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
    if (give_chunk(L, tasks, items, LIST, chunk, luampB_push_text(L)) != LUA_OK)
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
    luampB_spread_scalars(L, message->bytes + sizeof(struct luampB_task), message->bytes + message->length,
                   VALUES, first_of(items, chunk), length_of(items, chunk));
    return 0;
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
        status = luampB_receive(L, message);
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
            if (luampB_receive(L, &message) != LUA_OK) {
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

const luaL_Reg luampB_items_natives[] = {
    {"items", native_items},
    {"give", native_give},
    {"give_again", native_give_again},
    {"owner", native_owner},
    {"settle", native_settle},
    {"abandon", native_abandon},
    {"progress", native_progress},
    {"collect", native_collect},
    {NULL, NULL},
};
