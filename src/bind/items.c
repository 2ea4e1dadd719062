/*
 * items: the items of a list on their way through a pool, in the process that has the pool. It gives them
 * in chunks (give), the workers run them (worker.c), and the values come back to where they belong
 * (collect). It is the part of lua/pool.lua that runs once for each item or chunk; whatever does not
 * go well there is handed to Lua.
 *
 * The chunks of a list have numbers in a row, so a result needs no more than its number to find its
 * place. A chunk is settled once: a second result of one that was tried again is dropped.
 *
 * Of a list whose values are all waited for (map), what is settled makes room for more. One whose values
 * are taken item by item (imap) keeps what is settled until it is taken (take_item), in the order of the
 * list or in that in which chunks were settled, and only what is taken makes room.
 *
 * The function goes with each chunk, encoded once, as the head of the message.
 */
#include "pool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define AT_ONCE_MAX 256 /* chunks given, or results collected, before Lua looks at the other side */

/* How a list's values are taken. */
enum order {
    TOGETHER,  /* when all are there */
    IN_ORDER,  /* item by item */
    AS_SETTLED /* the same, of the chunk that was settled first */
};

/* What a list's chunks have in common; a userdata. */
struct items {
    lua_Integer number;        /* of the first chunk's task */
    lua_Integer n, size;       /* items, and how many make a chunk */
    lua_Integer most, largest; /* chunks that may be on their way; how many may ever be */
    lua_Integer chunks, given, settled;
    lua_Integer taken;         /* chunks, all items of which were taken; 0 where they are TOGETHER */
    lua_Integer taken_items;   /* of the chunk behind those */
    enum order order;
    uint32_t thread;           /* that made it, */
    pid_t process;             /* and its process */
    bool one_by_one;           /* an item that is a chunk by itself goes as itself, not as a list */
    uint32_t ncells;           /* the objects in the head */
    size_t prefix_length;      /* the header and the head */
    lua_Integer room;          /* in `arrivals`: as many as can be settled and not taken; or 0 */
    lua_Integer *arrivals;     /* the chunk that was settled as the nth, at n % room; lies behind the
                                  struct, as all that follows does */
    uint64_t *cells;           /* the head's, and room for none but those */
    unsigned char *prefix;     /* the header, to be completed, and the head */
    unsigned char *is_settled; /* a bit for each chunk */
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

/* A finalizer that ends the pool while the chunk is given or its values are placed has settled it already. */
static void
settle(struct items *items, lua_Integer chunk)
{
    if (is_settled(items, chunk))
        return;
    items->is_settled[chunk / 8] |= (unsigned char) (1u << chunk % 8);
    if (items->order == AS_SETTLED)
        items->arrivals[items->settled % items->room] = chunk;
    items->settled++;
}

/* How many chunks are on their way, until what they came to makes room for others. */
static lua_Integer
under_way(const struct items *items)
{
    return items->given - (items->order == TOGETHER ? items->settled : items->taken);
}

/* Is it time to give more? Not for each chunk, that more than one go at once. */
static bool
is_hungry(const struct items *items)
{
    return items->given < items->chunks && under_way(items) <= items->most / 2;
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

/* items(number, list, n, size, values, f, spread, most[, order]): the chunks of a plain list of n items, of
   which the first has this number; where the values go; the function, and whether an item is a list of its
   arguments; how many chunks may be on their way; and how the values are taken. Raises when the function
   cannot be sent. */
static int
native_items(lua_State *L)
{
    enum { NUMBER = 1, LIST, N, SIZE, VALUES, F, SPREAD, MOST, ORDER };
    static const char *const orders[] = {"together", "in order", "as settled", NULL};
    lua_settop(L, ORDER);
    luaL_checktype(L, LIST, LUA_TTABLE);
    luaL_checktype(L, VALUES, LUA_TTABLE);
    struct items common = {
        .number = luaL_checkinteger(L, NUMBER),
        .n = luaL_checkinteger(L, N),
        .size = luaL_checkinteger(L, SIZE),
        .most = luaL_checkinteger(L, MOST),
        .largest = luaL_checkinteger(L, MOST),
        .order = (enum order) luaL_checkoption(L, ORDER, orders[TOGETHER], orders),
        .one_by_one = !lua_toboolean(L, SPREAD),
        .thread = amp_self.tid,
        .process = getpid(),
    };
    if (common.size > common.n)
        common.size = common.n > 0 ? common.n : 1;
    common.chunks = (common.n + common.size - 1) / common.size;
    if (common.order == AS_SETTLED)
        common.room = common.most < common.chunks ? common.most : common.chunks;
    struct luampC_message head;
    luampC_encode(L, F, 2, "args", &head);
    luampC_keep(L);
    common.ncells = head.ncells;
    common.prefix_length = sizeof(struct luampB_task) + head.length;
    size_t cells = head.ncells * sizeof *head.cells, bits = (size_t) common.chunks / 8 + 1;
    size_t arrivals = (size_t) common.room * sizeof *common.arrivals;
    struct items *items = lua_newuserdatauv(
        L, sizeof *items + arrivals + cells + common.prefix_length + bits, ITEMS_UPVALUES);
    *items = common;
    items->arrivals = (lua_Integer *) (items + 1);
    items->cells = (uint64_t *) (items->arrivals + common.room);
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

/* allow(items, most): so many chunks may be on their way, but not more than were said when it was made. */
static int
native_allow(lua_State *L)
{
    struct items *items = check_items(L, 1);
    lua_Integer most = luaL_checkinteger(L, 2);
    luaL_argcheck(L, most > 0 && most <= items->largest, 2, "out of range");
    items->most = most;
    return 0;
}

/* give(tasks, items): gives chunks to the workers, until as many are on their way as may be, or some
   hundred are given. Pushes how many; and if the next one cannot be sent, its first item, its length and
   why: the caller notes that, and settles it. */
static int
native_give(lua_State *L)
{
    enum { TASKS = 1, ITEMS, LIST, TEXT };
    struct amp_cell *tasks = luampB_check_queue(L, TASKS);
    struct items *items = check_items(L, ITEMS);
    lua_Integer n = 0;
    lua_settop(L, ITEMS);
    lua_getiuservalue(L, ITEMS, ITEMS_LIST);
    struct luampB_text *text = luampB_push_text(L);
    while (items->given < items->chunks && under_way(items) < items->most && n < AT_ONCE_MAX) {
        lua_Integer chunk = items->given++; /* before: a finalizer may use the pool, and give the next */
        if (give_chunk(L, tasks, items, LIST, chunk, text) != LUA_OK) {
            lua_pushinteger(L, n);
            lua_pushinteger(L, first_of(items, chunk));
            lua_pushinteger(L, length_of(items, chunk));
            lua_pushvalue(L, -4);
            return 4;
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

/* abandon(items, errors, e): gives no more, and settles what is on its way. That each of its items has failed is
   noted in `errors`; of those that are taken together, that the first has. Were there chunks to be
   given? */
static int
native_abandon(lua_State *L)
{
    enum { ITEMS = 1, ERRORS, E };
    struct items *items = check_items(L, ITEMS);
    luaL_checktype(L, ERRORS, LUA_TTABLE);
    lua_settop(L, E);
    bool is_noted = false;
    lua_pushboolean(L, items->given < items->chunks);
    items->chunks = items->given;
    for (lua_Integer chunk = 0; items->settled < items->chunks; chunk++) {
        if (is_settled(items, chunk))
            continue;
        lua_Integer first = first_of(items, chunk), n = length_of(items, chunk);
        for (lua_Integer i = 0; i < n && !(is_noted && items->order == TOGETHER); i++) {
            lua_pushvalue(L, E);
            lua_rawseti(L, ERRORS, first + i);
            is_noted = true;
        }
        settle(items, chunk);
    }
    return 1;
}

/* progress(items): chunks, and how many of them are given, and settled; and whether it is time to give more. */
static int
native_progress(lua_State *L)
{
    const struct items *items = check_items(L, 1);
    lua_pushinteger(L, items->chunks);
    lua_pushinteger(L, items->given);
    lua_pushinteger(L, items->settled);
    lua_pushboolean(L, is_hungry(items));
    return 4;
}

/* The chunk of which the next item is taken, or -1 when it is not there yet, or there is none. */
static lua_Integer
next_chunk(const struct items *items)
{
    if (items->taken == items->settled)
        return -1;
    if (items->order == AS_SETTLED)
        return items->arrivals[items->taken % items->room];
    return is_settled(items, items->taken) ? items->taken : -1;
}

/* is_item_there(items): can the next item be taken? */
static int
native_is_item_there(lua_State *L)
{
    lua_pushboolean(L, next_chunk(check_items(L, 1)) >= 0);
    return 1;
}

/* Is this the process that made it? The thread that did need not ask the kernel, which would cost as much
   as an item. */
static bool
is_own(const struct items *items)
{
    return items->thread == amp_self.tid || items->process == getpid();
}

/* Pushes t[i], and makes that nil. */
static int
take_field(lua_State *L, int table, lua_Integer i)
{
    int type = lua_rawgeti(L, table, i);
    if (type != LUA_TNIL) {
        lua_pushnil(L);
        lua_rawseti(L, table, i);
    }
    return type;
}

/* Puts all values in place of the packed list of them on the top of the stack; how many. */
static int
unpack(lua_State *L)
{
    int packed = lua_gettop(L);
    lua_getfield(L, packed, "n");
    int n = (int) lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n, "results of a task");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, packed, i);
    lua_remove(L, packed);
    return n;
}

enum { TAKE_ITEMS = 1, TAKE_ERRORS, TAKE_MORE, TAKE_WAIT, TAKE_FAILED, TAKE_ITEM, TAKE_VALUE };

/* Takes the item, which is there, of this chunk. */
static int
take_from(lua_State *L, struct items *items, lua_Integer chunk)
{
    lua_Integer item = first_of(items, chunk) + items->taken_items;
    if (++items->taken_items == length_of(items, chunk)) {
        items->taken++;
        items->taken_items = 0;
    }
    lua_pushinteger(L, item);
    lua_getiuservalue(L, TAKE_ITEMS, ITEMS_VALUES);
    take_field(L, TAKE_VALUE, item);
    lua_replace(L, TAKE_VALUE);
    if (take_field(L, TAKE_ERRORS, item) != LUA_TNIL) {
        int e = lua_gettop(L);
        lua_pushvalue(L, TAKE_FAILED);
        lua_pushvalue(L, e);
        lua_pushvalue(L, TAKE_ITEM);
        lua_call(L, 2, LUA_MULTRET);
        return lua_gettop(L) - e;
    }
    lua_pop(L, 1);
    if (take_field(L, TAKE_MORE, item) != LUA_TNIL) {
        lua_replace(L, TAKE_VALUE);
        return 1 + unpack(L);
    }
    lua_settop(L, TAKE_VALUE);
    return 2;
}

static int take(lua_State *L, bool is_waited);

/* Goes on when wait() has come back. */
static int
after_wait(lua_State *L, int status, lua_KContext context)
{
    (void) status;
    (void) context;
    if (!lua_toboolean(L, -1)) {
        lua_pushnil(L);
        return 1;
    }
    lua_settop(L, TAKE_FAILED);
    return take(L, true);
}

static int
take(lua_State *L, bool is_waited)
{
    struct items *items = lua_touserdata(L, TAKE_ITEMS);
    lua_Integer chunk = next_chunk(items);
    if (chunk >= 0 && (is_waited || (!is_hungry(items) && is_own(items))))
        return take_from(L, items, chunk);
    lua_pushvalue(L, TAKE_WAIT);
    lua_callk(L, 0, 1, 0, after_wait);
    return after_wait(L, LUA_OK, 0);
}

/*
 * take_item(items, errors, more, wait, failed): takes the next item. Pushes it and its value; or all values,
 * where `more` has a packed list of them; and of one that has an error what failed(error, item) gives. Where no
 * item is there, or it is time to give more, and in another process, wait() is called first, which may
 * yield; when that gives false, there will be none, and nil is pushed.
 *
 * To take is one step: a handler of a signal, which may take items too, runs in wait(), or afterwards.
 */
static int
native_take_item(lua_State *L)
{
    check_items(L, TAKE_ITEMS);
    luaL_checktype(L, TAKE_ERRORS, LUA_TTABLE);
    luaL_checktype(L, TAKE_MORE, LUA_TTABLE);
    lua_settop(L, TAKE_FAILED);
    return take(L, false);
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
   cannot be received. lists[0], which is there, is made the number of each result that is taken. */
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
        lua_pushinteger(L, task.number);
        lua_rawseti(L, LISTS, 0);
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
    {"allow", native_allow},
    {"give", native_give},
    {"give_again", native_give_again},
    {"owner", native_owner},
    {"settle", native_settle},
    {"abandon", native_abandon},
    {"progress", native_progress},
    {"is_item_there", native_is_item_there},
    {"take_item", native_take_item},
    {"collect", native_collect},
    {NULL, NULL},
};
