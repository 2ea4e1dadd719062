/*
 * ipc: Queue, JoinableQueue, SimpleQueue, wait, and the module's table. Pipes are in connection.c,
 * values and arrays in values.c, shared tables in tables.c, named memory in sharedmemory.c; what a
 * call gets and sends goes through codec.c.
 *
 * Order in every call that sends: first the value is encoded, which may raise; then room is
 * found, which may wait; then the bytes are copied and published, which can do neither. In every
 * call that receives: the message is taken, then decoded, protected where an error would leave
 * something behind.
 */
#include "ipc.h"

#include "codec.h"
#include "core/watch.h"
#include "core/word.h"
#include "process.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static const struct luampO_class queue_class, joinable_class, simple_class;

/*
 * Messages.
 */

static void
encode(lua_State *L, int index, const struct luampC_told *told, struct luampB_outgoing *out)
{
    out->keeps = false;
    out->prefix = NULL;
    out->prefix_length = 0;
    out->message.ncells = 0;
    out->message.length = luampC_scalar_size(L, index);
    out->scalar = out->message.length > 0 ? index : 0;
    if (!out->scalar)
        luampC_encode_for(L, index, 1, told, LUAMPC_FUNCTIONS | LUAMPC_OBJECTS, &out->message);
}

void
luampB_encode(lua_State *L, int index, const char *root, struct luampB_outgoing *out)
{
    encode(L, index, &(struct luampC_told) {.root = root}, out);
}

/* Handlers of signals may encode messages of their own. */
static void
run_handlers_and_keep(lua_State *L, struct luampB_outgoing *out)
{
    if (!out->scalar && !out->keeps) {
        luampC_keep(L);
        out->keeps = true;
    }
    luampB_run_handlers(L);
}

/* The message is written, and has to be published. Failures of amp_ring_reserve, but -EINTR. */
static int
reserve(lua_State *L, struct amp_cell *queue, struct luampB_outgoing *out, amp_time deadline,
        struct amp_what *what)
{
    unsigned char *where;
    int result;
    while ((result = amp_ring_reserve(queue, out->prefix_length + out->message.length,
                                      out->message.cells, out->message.ncells, deadline, what,
                                      &where)) == -EINTR)
        run_handlers_and_keep(L, out);
    if (result != 0)
        return result;
    if (out->prefix_length > 0)
        memcpy(where, out->prefix, out->prefix_length);
    where += out->prefix_length;
    if (out->scalar)
        luampC_write_scalar(L, out->scalar, where);
    else
        memcpy(where, out->message.bytes, out->message.length);
    return 0;
}

int
luampB_send(lua_State *L, struct amp_cell *queue, struct luampB_outgoing *out, amp_time deadline,
            struct amp_what *what)
{
    int result = reserve(L, queue, out, deadline, what);
    if (result == 0)
        amp_ring_publish(queue);
    return result;
}

int
luampB_decode_message(lua_State *L)
{
    const struct amp_message *message = lua_touserdata(L, 1);
    lua_settop(L, 0);
    return luampC_decode(L, message->bytes, message->length, LUAMPC_FUNCTIONS | LUAMPC_OBJECTS);
}

static int
decode_received(lua_State *L)
{
    const struct amp_message *message = lua_touserdata(L, 1);
    lua_settop(L, 0);
    return luampC_decode(L, message->bytes, message->length,
                         LUAMPC_FUNCTIONS | LUAMPC_OBJECTS | LUAMPC_RECEIVED);
}

static inline int
decode(lua_State *L, struct amp_message *message, lua_CFunction function, unsigned flags)
{
    int top = lua_gettop(L);
    if (message->ncells == 0 && !message->pinned && message->heap == NULL &&
        luampC_is_plain(message->bytes, message->length)) {
        amp_message_done(message); /* its bytes are read before anything else can run */
        luaL_checkstack(L, 2, NULL);
        return luampC_decode(L, message->bytes, message->length, flags);
    }
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message->cells, message->ncells);
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, message);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    luampO_arrived(&arrival);
    amp_message_done(message);
    if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    if (status != LUA_OK)
        lua_error(L);
    return lua_gettop(L) - top;
}

int
luampB_decode(lua_State *L, struct amp_message *message)
{
    return decode(L, message, luampB_decode_message, 0);
}

int
luampB_decode_received(lua_State *L, struct amp_message *message)
{
    return decode(L, message, decode_received, LUAMPC_RECEIVED);
}

/* Why a put or get did not happen. */
const char *
luampB_reason(lua_State *L, int result, const char *at_once, const char *what)
{
    switch (result) {
    case -EAGAIN:
        return at_once;
    case -ETIMEDOUT:
        return "timeout";
    case -EPIPE:
        return "closed";
    default:
        luampB_raise(L, what, result);
        return NULL;
    }
}

/*
 * Queues. One core object; the classes differ in their methods.
 */

static struct luampO_object *
check_queue(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TUSERDATA && lua_rawlen(L, 1) >= sizeof(struct luampO_object)) {
        struct luampO_object *object = lua_touserdata(L, 1);
        if (object->cell && (object->class == &queue_class || object->class == &joinable_class ||
                             object->class == &simple_class))
            return object;
    }
    return luampO_check(L, 1, &queue_class);
}

static int
no_message(lua_State *L, int index)
{
    if (lua_isnone(L, index))
        return luaL_error(L, "put wants a value");
    return luaL_error(L, "nil is not a message; to say that no more will come, close the queue");
}

static int
put(lua_State *L, amp_time deadline)
{
    struct luampO_object *object = check_queue(L);
    if (lua_isnoneornil(L, 2))
        return no_message(L, 2);
    struct luampB_outgoing out;
    luampB_encode(L, 2, "value", &out);
    struct amp_what what = luampB_what_for(object);
    int result = luampB_send(L, object->cell, &out, deadline, &what);
    if (result != 0)
        return luampB_refuse(L, luampB_reason(L, result, "full", "put"));
    lua_pushboolean(L, 1);
    return 1;
}

static int
queue_put(lua_State *L)
{
    return put(L, luampB_deadline(L, 3));
}

static int
queue_put_nowait(lua_State *L)
{
    return put(L, AMP_AT_ONCE);
}

/* Raises the error of a message that get_many took and could not decode. */
static int
raise_owed(lua_State *L, struct luampO_object *object)
{
    object->owes_error = false;
    luaL_where(L, 1);
    lua_getiuservalue(L, 1, 1);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    if (lua_type(L, -1) == LUA_TSTRING)
        lua_concat(L, 2);
    return lua_error(L);
}

static int
get(lua_State *L, amp_time deadline)
{
    struct luampO_object *object = check_queue(L);
    if (__builtin_expect(object->owes_error, 0))
        return raise_owed(L, object);
    struct amp_what what = luampB_what_for(object);
    struct amp_message message;
    int result;
    LUAMPB_BLOCKING(L, result, amp_ring_take(object->cell, deadline, &what, &message));
    if (result != 0)
        return luampB_give_up(L, luampB_reason(L, result, "empty", "get"));
    return luampB_decode(L, &message);
}

static int
queue_get(lua_State *L)
{
    return get(L, luampB_deadline(L, 2));
}

static int
queue_get_nowait(lua_State *L)
{
    return get(L, AMP_AT_ONCE);
}

/* Puts what follows place `from` of the list at index 2, as long as it is booleans and numbers, in
   the same step as the message that has been reserved. How many. */
static unsigned
add_numbers(lua_State *L, struct amp_cell *queue, lua_Integer from, lua_Integer n)
{
    struct amp_small small[AMP_BATCH - 1];
    unsigned count = 0;
    while (count < AMP_BATCH - 1 && from + count < n) {
        int type = lua_rawgeti(L, 2, from + count + 1);
        bool is_number = type == LUA_TNUMBER || type == LUA_TBOOLEAN;
        if (is_number) {
            unsigned char *end = luampC_write_scalar(L, -1, small[count].bytes);
            small[count].length = (uint8_t) (end - small[count].bytes);
            count++;
        }
        lua_pop(L, 1);
        if (!is_number)
            break;
    }
    return amp_ring_add(queue, small, count);
}

static void
push_was_put(lua_State *L, int index)
{
    (void) index;
    lua_pushliteral(L, "what stands before it was put");
}

/* put_many(list[, timeout]): how many were put, and the reason where not all. */
static int
queue_put_many(lua_State *L)
{
    struct luampO_object *object = check_queue(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    amp_time deadline = luampB_timeout(L, 3);
    lua_Integer n = luaL_len(L, 2);
    bool is_plain = !lua_getmetatable(L, 2); /* its elements are what rawgeti says */
    struct amp_what what = luampB_what_for(object);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_settop(L, 3);
        int type = lua_geti(L, 2, i);
        if (type == LUA_TNIL)
            return luaL_error(L, "list[%I] is nil, which is not a message; what stands before it "
                              "was put", (LUAI_UACINT) i);
        const char *root = "list";
        if (type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TSTRING)
            root = lua_pushfstring(L, "list[%I]", (LUAI_UACINT) i);
        struct luampB_outgoing out;
        encode(L, 4, &(struct luampC_told) {.root = root, .push_rest = push_was_put}, &out);
        int result = reserve(L, object->cell, &out, deadline, &what);
        if (result != 0) {
            lua_pushinteger(L, i - 1);
            lua_pushstring(L, luampB_reason(L, result, "full", "put"));
            return 2;
        }
        unsigned more = is_plain ? add_numbers(L, object->cell, i, n) : 0;
        amp_ring_publish_many(object->cell, 1 + more);
        i += more;
    }
    lua_pushinteger(L, n);
    return 1;
}

struct gathering {
    struct amp_cell *queue;
    struct amp_what *what;
    lua_Integer max;
    lua_Integer room; /* places that the list has already */
};

/* Adds the numbers and booleans that come next to the list at index 2, from place n on; how many.
   Nothing that has been taken may get lost, so only as many are taken as there is room for. */
static lua_Integer
gather_numbers(lua_State *L, const struct gathering *gathering, lua_Integer n)
{
    struct amp_small small[AMP_BATCH];
    lua_Integer from = n;
    while (n <= gathering->room) {
        lua_Integer left = gathering->room - n + 1;
        unsigned count = amp_ring_take_small(gathering->queue, small,
                                             left < AMP_BATCH ? (unsigned) left : AMP_BATCH,
                                             luampC_is_number);
        if (count == 0)
            break;
        for (unsigned i = 0; i < count; i++) {
            luampC_decode(L, small[i].bytes, small[i].length, 0);
            lua_rawseti(L, 2, n++);
        }
    }
    return n - from;
}

/* gather(gathering, list): adds the messages that are there; up to max in the list. */
static int
gather(lua_State *L)
{
    const struct gathering *gathering = lua_touserdata(L, 1);
    struct amp_message message;
    for (lua_Integer n = 2; n <= gathering->max; n++) {
        n += gather_numbers(L, gathering, n);
        if (n > gathering->max)
            break;
        if (amp_ring_take(gathering->queue, AMP_AT_ONCE, gathering->what, &message) != 0)
            break;
        if (luampB_decode(L, &message) != 1) /* not a queue's own message: only its first value */
            lua_settop(L, 3);
        lua_seti(L, 2, n);
    }
    return 0;
}

/* get_many(max[, timeout]): a list of at least one. A message that cannot be decoded is an error of
   this get if it is the first; otherwise of the next, so that those before it are not lost. */
static int
queue_get_many(lua_State *L)
{
    struct luampO_object *object = check_queue(L);
    lua_Integer max = luampB_check_integer(L, 2);
    luaL_argcheck(L, max >= 1, 2, "at least 1 expected");
    amp_time deadline = luampB_timeout(L, 3);
    if (object->owes_error)
        return raise_owed(L, object);
    uint32_t ready = amp_ring_size(object->cell);
    lua_settop(L, 3);
    lua_Integer room = ready > AMP_BATCH ? ready : AMP_BATCH; /* more may come meanwhile */
    if (room > max)
        room = max;
    lua_createtable(L, (int) room, 0);
    struct amp_what what = luampB_what_for(object);
    struct amp_message message;
    int result;
    LUAMPB_BLOCKING(L, result, amp_ring_take(object->cell, deadline, &what, &message));
    if (result != 0)
        return luampB_give_up(L, luampB_reason(L, result, "empty", "get"));
    if (luampB_decode(L, &message) != 1)
        lua_settop(L, 5);
    lua_seti(L, 4, 1);
    struct gathering gathering = {object->cell, &what, max, room};
    lua_pushcfunction(L, gather);
    lua_pushlightuserdata(L, &gathering);
    lua_pushvalue(L, 4);
    luampB_defer_handlers(true); /* what a handler raises is not the message's error */
    int status = lua_pcall(L, 2, 0, 0);
    if (status != LUA_OK) {
        lua_setiuservalue(L, 1, 1);
        object->owes_error = true;
    }
    luampB_defer_handlers(false);
    return 1;
}

static int
queue_qsize(lua_State *L)
{
    lua_pushinteger(L, amp_ring_size(check_queue(L)->cell));
    return 1;
}

static int
queue_empty(lua_State *L)
{
    lua_pushboolean(L, amp_ring_size(check_queue(L)->cell) == 0);
    return 1;
}

static int
queue_full(lua_State *L)
{
    lua_pushboolean(L, amp_ring_is_full(check_queue(L)->cell));
    return 1;
}

static int
queue_close(lua_State *L)
{
    amp_ring_close(check_queue(L)->cell, AMP_RING_NO_PUTS);
    return 0;
}

static int
next_of_queue(lua_State *L)
{
    lua_settop(L, 1);
    return get(L, AMP_FOREVER);
}

static int
queue_iter(lua_State *L)
{
    check_queue(L);
    if (!lua_isnoneornil(L, 2))
        return luaL_error(L, "iter takes no timeout: it waits until the queue is closed; get takes one");
    lua_pushcfunction(L, next_of_queue);
    lua_pushvalue(L, 1);
    return 2;
}

static int
queue_task_done(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &joinable_class);
    if (amp_ring_task_done(object->cell) != 0)
        return luaL_error(L, "task_done of JoinableQueue \"%s\": called more often than there were "
                          "puts", object->cell->c_name);
    return 0;
}

static int
queue_join(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &joinable_class);
    amp_time deadline = luampB_timeout(L, 2);
    struct amp_what what = luampB_what_for(object);
    int result;
    LUAMPB_BLOCKING(L, result, amp_ring_join(object->cell, deadline, &what));
    if (result == -ETIMEDOUT)
        return luampB_refuse(L, "timeout");
    if (result != 0)
        return luampB_raise(L, "join a queue", result);
    lua_pushboolean(L, 1);
    return 1;
}

static void
describe_queue(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    if (object->cell->q_limit)
        lua_pushfstring(L, "%d/%d", (int) amp_ring_size(object->cell), (int) object->cell->q_limit);
    else
        lua_pushfstring(L, "%d", (int) amp_ring_size(object->cell));
    luaL_addvalue(text);
    uint32_t unfinished = object->class == &joinable_class ? amp_ring_unfinished(object->cell) : 0;
    if (unfinished > 0) {
        lua_pushfstring(L, ", %d not done", (int) unfinished);
        luaL_addvalue(text);
    }
    if (atomic_load(&object->cell->q_closed))
        luaL_addstring(text, ", closed");
}

static int
make_queue(lua_State *L, const struct luampO_class *class)
{
    static const char *const options[] = {"maxsize:integer", NULL};
    luampO_arguments(L, class, options);
    lua_Integer limit = luampB_opt_integer(L, 1, 0);
    luaL_argcheck(L, limit <= (lua_Integer) AMP_PERMITS_MAX, 1, "a smaller maxsize expected");
    struct luampO_object *object = luampO_push_new(L, class);
    struct amp_cell *cell = luampO_new_cell(L, class, 2);
    amp_ring_init(cell, limit < 0 ? 0 : (uint32_t) limit, 0);
    luampO_made(L, object, cell);
    return 1;
}

static int
new_queue(lua_State *L)
{
    return make_queue(L, &queue_class);
}

static int
new_joinable_queue(lua_State *L)
{
    return make_queue(L, &joinable_class);
}

static int
new_simple_queue(lua_State *L)
{
    return make_queue(L, &simple_class);
}

#define QUEUE_METHODS                                                                      \
    {"put", queue_put}, {"get", queue_get}, {"put_nowait", queue_put_nowait},              \
    {"get_nowait", queue_get_nowait}, {"put_many", queue_put_many},                        \
    {"get_many", queue_get_many}, {"qsize", queue_qsize}, {"empty", queue_empty},          \
    {"full", queue_full}, {"close", queue_close}, {"iter", queue_iter}

static const luaL_Reg queue_methods[] = {QUEUE_METHODS, {NULL, NULL}};
static const luaL_Reg joinable_methods[] = {
    QUEUE_METHODS, {"task_done", queue_task_done}, {"join", queue_join}, {NULL, NULL},
};
static const struct luampO_class queue_class = {
    .name = "Queue",
    .module = "ipc",
    .id = LUAMPO_QUEUE,
    .kind = AMP_QUEUE,
    .methods = queue_methods,
    .describe = describe_queue,
};
static const struct luampO_class joinable_class = {
    .name = "JoinableQueue",
    .module = "ipc",
    .id = LUAMPO_JOINABLE_QUEUE,
    .kind = AMP_QUEUE,
    .methods = joinable_methods,
    .describe = describe_queue,
};
static const struct luampO_class simple_class = {
    .name = "SimpleQueue",
    .module = "ipc",
    .id = LUAMPO_SIMPLE_QUEUE,
    .kind = AMP_QUEUE,
    .methods = queue_methods,
    .describe = describe_queue,
};

struct amp_cell *
luampB_push_queue(lua_State *L, const char *name, uint32_t leases)
{
    struct luampO_object *object = luampO_push_new(L, &queue_class);
    struct amp_cell *cell = luampO_new_part(L, AMP_QUEUE, name);
    amp_ring_init(cell, 0, 0);
    int failure = leases ? amp_ring_init_leases(cell, leases) : 0; /* half made, should we die here */
    if (failure != 0)
        luampO_failed(L, &queue_class, cell, failure);
    luampO_made(L, object, cell);
    return cell;
}

struct amp_cell *
luampB_check_queue(lua_State *L, int index)
{
    struct luampO_object *object = luampO_peek(L, index);
    if (object == NULL || object->class->kind != AMP_QUEUE)
        luampO_wrong(L, index, &queue_class);
    if (object->cell == NULL)
        luampO_closed(L, object);
    return object->cell;
}

/*
 * Waiting for several.
 */

/* One of the things waited for: a word, or a descriptor. */
struct awaited {
    struct amp_cell *queue;
    struct amp_cell *event;
    struct luampO_object *endpoint; /* with its descriptor */
    int descriptor; /* -1: none */
    bool is_ready;  /* whatever those say: a queue whose next get raises */
};

static void
add_awaited(lua_State *L, int index, struct awaited *awaited)
{
    *awaited = (struct awaited) {.descriptor = -1};
    struct luampO_object *object = luampO_peek(L, index);
    if (object) {
        if (object->cell == NULL)
            luampO_closed(L, object);
        if (object->class->kind == AMP_QUEUE)
            awaited->queue = object->cell, awaited->is_ready = object->owes_error;
        else if (amp_cell_kind(object->cell) == AMP_SOCKET ||
                 amp_cell_kind(object->cell) == AMP_LISTENER) {
            awaited->endpoint = object;
            awaited->descriptor = luampB_endpoint_descriptor(L, object);
        } else if (object->class->kind == AMP_PIPE_END)
            awaited->queue = luampB_incoming(L, object);
        else if (object->class->kind == AMP_EVENT)
            awaited->event = object->cell;
        else
            luaL_error(L, "ipc.wait cannot wait for a %s", object->class->name);
        return;
    }
    if (luampB_is_integer(L, index, 0, INT_MAX)) {
        awaited->descriptor = (int) lua_tointeger(L, index);
        return;
    }
    if (lua_istable(L, index)) { /* a process */
        lua_pushliteral(L, "sentinel");
        int type = lua_gettable(L, index);
        if (type == LUA_TNUMBER) {
            awaited->descriptor = (int) lua_tointeger(L, -1);
            lua_pop(L, 1);
            return;
        }
        if (lua_getfield(L, index, "_process") == LUA_TTABLE)
            luaL_error(L, "ipc.wait cannot wait for %s", luaL_tolstring(L, index, NULL));
    }
    luaL_error(L, "ipc.wait waits for connections, queues, events, listeners, started "
               "processes and descriptors, not for a %s", luaL_typename(L, index));
}

static bool
is_word_ready(const struct awaited *awaited)
{
    if (awaited->queue)
        return amp_ring_is_ready(awaited->queue);
    struct amp_event event = amp_event_of(awaited->event);
    return amp_event_is_set(&event);
}

/* Sets the flag on the word of an object that is not ready. False when it is by now. */
static bool
prepare_word(const struct awaited *awaited, amp_word **word, uint32_t *value)
{
    if (awaited->queue) {
        *word = &awaited->queue->q_published;
        return amp_ring_prepare_wait(awaited->queue, value);
    }
    struct amp_event event = amp_event_of(awaited->event);
    *word = event.word;
    return amp_event_prepare_wait(&event, value);
}

/*
 * Sleeps once, until something may be ready. Words alone, and descriptors alone, are one system
 * call. Both together: a thread of the watcher's turns the words into a descriptor.
 */
static int
sleep_once(const struct awaited *all, int n, struct pollfd *polls, amp_time deadline,
           struct amp_what *what)
{
    amp_word *words[AMP_WAIT_MANY_MAX];
    uint32_t values[AMP_WAIT_MANY_MAX];
    unsigned n_words = 0, n_polls = 0;
    for (int i = 0; i < n; i++) {
        if (all[i].descriptor >= 0) {
            polls[n_polls++] = (struct pollfd) {.fd = all[i].descriptor, .events = POLLIN};
        } else if (prepare_word(&all[i], &words[n_words], &values[n_words])) {
            n_words++;
        } else {
            return 0;
        }
    }
    int result = 0;
    if (n_polls == 0) {
        result = amp_wait_many(words, values, n_words, deadline, what);
    } else if (n_words == 0) {
        result = amp_wait_descriptors(polls, n_polls, deadline, what);
    } else {
        struct amp_watch watch;
        result = amp_watch_begin(&watch, words, values, n_words);
        if (result != 0)
            return result;
        polls[n_polls] = (struct pollfd) {.fd = watch.descriptor, .events = POLLIN};
        result = amp_wait_descriptors(polls, n_polls + 1, deadline, what);
        amp_watch_end(&watch);
    }
    return result > 0 ? 0 : result;
}

static bool
look_at(lua_State *L, const struct awaited *all, int n, bool *is_ready)
{
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (all[i].endpoint) {
            if (all[i].endpoint->cell == NULL)
                luampO_closed(L, all[i].endpoint); /* by a handler */
            is_ready[i] = luampB_endpoint_is_ready(L, all[i].endpoint);
        } else if (all[i].descriptor >= 0) {
            struct pollfd poll = {.fd = all[i].descriptor, .events = POLLIN};
            struct amp_what what = {.kind = AMP_SELECTING};
            is_ready[i] = amp_wait_descriptors(&poll, 1, AMP_AT_ONCE, &what) > 0;
            if (poll.revents & POLLNVAL)
                luaL_error(L, "ipc.wait: descriptor %d is not open", all[i].descriptor);
        } else {
            is_ready[i] = all[i].is_ready || is_word_ready(&all[i]);
        }
        any = any || is_ready[i];
    }
    return any;
}

static int
ipc_wait(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    amp_time deadline = luampB_timeout(L, 2);
    luampB_join_family(L);
    lua_Integer n = luaL_len(L, 1);
    if (n > AMP_WAIT_MANY_MAX - 2)
        return luaL_error(L, "ipc.wait waits for at most %d at once", AMP_WAIT_MANY_MAX - 2);
    struct awaited all[AMP_WAIT_MANY_MAX];
    struct pollfd polls[AMP_WAIT_MANY_MAX];
    bool is_ready[AMP_WAIT_MANY_MAX];
    lua_settop(L, 2);
    luaL_checkstack(L, AMP_WAIT_MANY_MAX + 8, NULL);
    for (lua_Integer i = 0; i < n; i++) { /* they stay on the stack: a handler may change the list */
        lua_geti(L, 1, i + 1);
        add_awaited(L, 3 + (int) i, &all[i]);
    }
    struct amp_what what = {.kind = AMP_SELECTING};
    while (!look_at(L, all, (int) n, is_ready)) {
        int result = -ETIMEDOUT;
        if (deadline != AMP_AT_ONCE && n > 0)
            LUAMPB_BLOCKING(L, result, sleep_once(all, (int) n, polls, deadline, &what));
        else if (n == 0)
            LUAMPB_BLOCKING(L, result, amp_sleep(deadline));
        if (result == -ETIMEDOUT)
            break;
        if (result < 0)
            return luampB_raise(L, "wait", result);
    }
    lua_newtable(L);
    lua_Integer found = 0;
    for (lua_Integer i = 0; i < n; i++) {
        if (is_ready[i]) {
            lua_pushvalue(L, 3 + (int) i);
            lua_seti(L, -2, ++found);
        }
    }
    return 1;
}

/*
 * The module.
 */

static int
ipc_register_class(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    luampC_register_class(L, name, 2);
    lua_settop(L, 2);
    return 1;
}

static const luaL_Reg functions[] = {
    {"Queue", new_queue},
    {"JoinableQueue", new_joinable_queue},
    {"SimpleQueue", new_simple_queue},
    {"Pipe", luampB_new_pipe},
    {"Listener", luampB_new_listener},
    {"Client", luampB_new_client},
    {"SharedMemory", luampB_new_shared_memory},
    {"Value", luampB_new_value},
    {"Array", luampB_new_array},
    {"Dict", luampB_new_dict},
    {"List", luampB_new_list},
    {"wait", ipc_wait},
    {"register_class", ipc_register_class},
    {NULL, NULL},
};

int
luampB_open_ipc(lua_State *L)
{
    luampO_define(L, &queue_class);
    luampO_define(L, &joinable_class);
    luampO_define(L, &simple_class);
    luampB_define_connections(L);
    luampB_define_sockets(L);
    luampB_define_values(L);
    luampB_define_tables(L);
    luampB_define_shared_memory(L);
    luaL_newlib(L, functions);
    return 1;
}
