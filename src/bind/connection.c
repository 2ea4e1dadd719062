/*
 * connection: ipc.Pipe and its ends, and the class of all connections.
 *
 * A connection by a socket has the same methods; what they do for it is in socket.c.
 *
 * A pipe is two queues, or one, and an end holds the queue that it reads and the one that it
 * writes. Order in every call as in ipc.c. Beside that there is the sentry: a connection as a
 * descriptor.
 */
#include "ipc.h"

#include "core/word.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool
is_socket(const struct luampO_object *object)
{
    return amp_cell_kind(object->cell) == AMP_SOCKET;
}

#define PIPE_SEGMENTS 4 /* of a direction: what is sent beyond waits for the reader */

static struct amp_cell *
queue_of(amp_handle handle)
{
    return handle ? amp_cell_at(amp_handle_index(handle)) : NULL;
}

/* The queue that the connection reads, or writes. */
struct amp_cell *
luampB_incoming(lua_State *L, const struct luampO_object *object)
{
    if (object->cell->p_in == 0)
        luaL_error(L, "connection \"%s\" can only send", object->cell->c_name);
    return queue_of(object->cell->p_in);
}

static struct amp_cell *
outgoing(lua_State *L, const struct luampO_object *object)
{
    if (object->cell->p_out == 0)
        luaL_error(L, "connection \"%s\" can only receive", object->cell->c_name);
    return queue_of(object->cell->p_out);
}

static int
sent(lua_State *L, int result)
{
    if (result != 0)
        return luampB_refuse(L, luampB_reason(L, result, "full", "send"));
    lua_pushboolean(L, 1);
    return 1;
}

static int
connection_send(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_connection_class);
    struct amp_cell *queue = is_socket(object) ? NULL : outgoing(L, object);
    if (lua_isnoneornil(L, 2))
        return luaL_error(L, "nil is not a message; to say that no more will come, close the "
                          "connection");
    if (queue == NULL)
        return luampB_socket_send(L);
    struct luampB_outgoing out;
    luampB_encode(L, 2, "value", &out);
    struct amp_what what = luampB_what_for(object);
    return sent(L, luampB_send(L, queue, &out, AMP_FOREVER, &what));
}

/* send_bytes(s[, i[, j]]): the bytes from i to j, as string.sub counts. */
static int
connection_send_bytes(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_connection_class);
    struct amp_cell *queue = is_socket(object) ? NULL : outgoing(L, object);
    size_t length;
    const char *bytes = luaL_checklstring(L, 2, &length);
    lua_Integer from = luampB_opt_integer(L, 3, 1);
    lua_Integer to = luampB_opt_integer(L, 4, -1);
    if (from < 0)
        from += (lua_Integer) length + 1;
    if (to < 0)
        to += (lua_Integer) length + 1;
    if (from < 1)
        from = 1;
    if (to > (lua_Integer) length)
        to = (lua_Integer) length;
    if (from > to)
        from = 1, to = 0;
    if (queue == NULL)
        return luampB_socket_send_bytes(L, bytes + from - 1, (size_t) (to - from + 1));
    struct luampB_outgoing out = {
        .keeps = true,
        .message = {
            .bytes = (const unsigned char *) bytes + from - 1,
            .length = (size_t) (to - from + 1),
        },
    };
    struct amp_what what = luampB_what_for(object);
    return sent(L, luampB_send(L, queue, &out, AMP_FOREVER, &what));
}

/*
 * A connection as a descriptor. Those who send know nothing of descriptors: they change a word. A
 * thread of this process sleeps on the word and makes a descriptor readable, and unreadable again
 * when somebody has taken the last message; it is there from the first fileno() until the
 * connection is closed or garbage. It is plain C with all signals blocked, takes no lock of the
 * arena and allocates nothing, so a fork beside it is harmless. The child has no such thread: what
 * it inherited it drops, and its own fileno() makes another descriptor of the same number.
 *
 * What is shown is always decided under the mutex, from the queue as it is then. So a receive,
 * which shows anew behind itself, leaves no message of the past to be polled.
 */
struct sentry {
    pid_t process;         /* whose it is */
    int descriptor;        /* an eventfd: 1 while a receive would not wait */
    bool is_shown;         /* under the mutex */
    amp_handle handle;     /* of the queue; the connection keeps it alive */
    struct amp_cell *queue;
    amp_word has_begun;
    amp_word stop;
    pthread_mutex_t mutex;
    pthread_t thread;
};

/* Shows whether a receive would not wait. */
static bool
show_readiness(struct sentry *sentry)
{
    pthread_mutex_lock(&sentry->mutex);
    bool is_ready = amp_ring_is_ready(sentry->queue);
    uint64_t count = 1;
    ssize_t done = 0;
    if (is_ready && !sentry->is_shown)
        done = write(sentry->descriptor, &count, sizeof count);
    else if (!is_ready && sentry->is_shown)
        done = read(sentry->descriptor, &count, sizeof count);
    (void) done; /* neither can fail but by what the script did to the descriptor */
    sentry->is_shown = is_ready;
    pthread_mutex_unlock(&sentry->mutex);
    return is_ready;
}

/* Sets the flag on the word of which the next change may matter. False: look again. */
static bool
prepare_sentry(struct sentry *sentry, amp_word **word, uint32_t *value)
{
    uint32_t taken = atomic_load(&sentry->queue->q_taken);
    if (!show_readiness(sentry)) {
        *word = &sentry->queue->q_published;
        return amp_ring_prepare_wait(sentry->queue, value);
    }
    *word = &sentry->queue->q_taken;
    *value = taken | AMP_SLEEPER;
    return taken == *value || atomic_compare_exchange_strong(*word, &taken, *value);
}

static void *
stand_sentry(void *argument)
{
    struct sentry *sentry = argument;
    struct amp_what what = {.uninterruptible = true};
    amp_thread_enter();
    atomic_store(&sentry->has_begun, 1);
    amp_futex.wake(&sentry->has_begun, 1);
    /* At the end of the process the object may be gone before this thread: then touch nothing. */
    while (!atomic_load(&sentry->stop) && amp_cell_of(sentry->handle) == sentry->queue) {
        amp_word *words[2] = {NULL, &sentry->stop};
        uint32_t values[2] = {0, 0};
        if (prepare_sentry(sentry, &words[0], &values[0]))
            amp_wait_many(words, values, 2, AMP_FOREVER, &what);
    }
    return NULL;
}

/* Starts the thread: 0 or a negative errno. It runs our code when this returns: until then it may
   be inside the C library or a sanitizer, with a lock of theirs that a child would inherit. */
static int
post_sentry(struct sentry *sentry)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failure = pthread_create(&sentry->thread, NULL, stand_sentry, sentry);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    struct amp_what what = {.uninterruptible = true};
    while (failure == 0 && atomic_load(&sentry->has_begun) == 0)
        amp_wait(&sentry->has_begun, 0, 0, AMP_FOREVER, &what);
    return -failure;
}

/* A descriptor that the sentry can show by, with the number of the parent's if there was one. */
static int
open_sentry(int inherited)
{
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0)
        return -errno;
    if (inherited < 0)
        return descriptor;
    dup3(descriptor, inherited, O_CLOEXEC);
    close(descriptor);
    return inherited;
}

static void
connection_detach(struct luampO_object *object)
{
    if (is_socket(object))
        return; /* the process's table has it */
    struct sentry *sentry = object->attached;
    if (sentry->process == getpid()) {
        atomic_store(&sentry->stop, 1);
        amp_futex.wake(&sentry->stop, AMP_WAKE_ALL);
        pthread_join(sentry->thread, NULL);
        pthread_mutex_destroy(&sentry->mutex);
    }
    close(sentry->descriptor);
    free(sentry);
}

/* The connection's sentry, which may be made now: 0 or a negative errno. */
static int
get_sentry(struct luampO_object *object, struct sentry **result)
{
    struct sentry *old = object->attached;
    if (old && old->process == getpid()) {
        *result = old;
        return 0;
    }
    struct sentry *sentry = calloc(1, sizeof *sentry);
    if (sentry == NULL)
        return -ENOMEM;
    sentry->process = getpid();
    sentry->handle = object->cell->p_in;
    sentry->queue = queue_of(sentry->handle);
    pthread_mutex_init(&sentry->mutex, NULL);
    int failure = sentry->descriptor = open_sentry(old ? old->descriptor : -1);
    if (failure >= 0)
        failure = post_sentry(sentry);
    if (failure < 0) {
        if (sentry->descriptor >= 0 && old == NULL)
            close(sentry->descriptor);
        free(sentry);
        return failure;
    }
    free(old);
    object->attached = sentry;
    *result = sentry;
    return 0;
}

/* fileno(): a descriptor to poll, never to read. */
static int
connection_fileno(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_connection_class);
    struct sentry *sentry;
    if (is_socket(object))
        return luampB_socket_fileno(L);
    luampB_incoming(L, object);
    int failure = get_sentry(object, &sentry);
    if (failure != 0)
        return luampB_raise(L, "make a descriptor of a connection", failure);
    show_readiness(sentry);
    lua_pushinteger(L, sentry->descriptor);
    return 1;
}

static int
take(lua_State *L, struct luampO_object *object, struct amp_message *message)
{
    struct amp_cell *queue = luampB_incoming(L, object);
    struct amp_what what = luampB_what_for(object);
    int result;
    LUAMPB_BLOCKING(L, result, amp_ring_take(queue, AMP_FOREVER, &what, message));
    struct sentry *sentry = object->attached;
    if (sentry && sentry->process == getpid())
        show_readiness(sentry);
    return result;
}

/* Raises for an argument that is there: it would be taken for the timeout that there is none of. */
static void
check_no_timeout(lua_State *L, int index, const char *method)
{
    if (__builtin_expect(lua_gettop(L) >= index && !lua_isnil(L, index), 0))
        luaL_error(L, "%s takes no timeout; wait with c:poll(%s) first", method,
                   lua_type(L, index) == LUA_TNUMBER ? luaL_tolstring(L, index, NULL) : "seconds");
}

static int
connection_recv(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_connection_class);
    struct amp_message message;
    check_no_timeout(L, 2, "recv");
    if (is_socket(object))
        return luampB_socket_recv(L);
    int result = take(L, object, &message);
    if (result != 0)
        return luampB_give_up(L, luampB_reason(L, result, "empty", "receive"));
    return luampB_decode_received(L, &message);
}

static int
push_bytes(lua_State *L)
{
    const struct amp_message *message = lua_touserdata(L, 1);
    lua_pushlstring(L, (const char *) message->bytes, message->length);
    return 1;
}

/* recv_bytes([max]): a longer message ends the reading. */
static int
connection_recv_bytes(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_connection_class);
    if (lua_type(L, 2) == LUA_TNUMBER && !luampB_is_integer(L, 2, LUA_MININTEGER, LUA_MAXINTEGER))
        check_no_timeout(L, 2, "recv_bytes");
    check_no_timeout(L, 3, "recv_bytes");
    lua_Integer max = luampB_opt_integer(L, 2, LUA_MAXINTEGER);
    luaL_argcheck(L, max >= 0, 2, "a number of bytes expected");
    struct amp_message message;
    if (is_socket(object))
        return luampB_socket_recv_bytes(L, (uint64_t) max);
    int result = take(L, object, &message);
    if (result != 0)
        return luampB_give_up(L, luampB_reason(L, result, "empty", "receive"));
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message.cells, message.ncells);
    bool is_too_long = (lua_Unsigned) message.length > (lua_Unsigned) max;
    int status = LUA_OK;
    if (!is_too_long) {
        lua_pushcfunction(L, push_bytes);
        lua_pushlightuserdata(L, &message);
        status = lua_pcall(L, 1, 1, 0);
    }
    luampO_arrived(&arrival);
    amp_message_done(&message);
    if (status != LUA_OK)
        return lua_error(L);
    if (is_too_long) {
        amp_ring_close(queue_of(object->cell->p_in), AMP_RING_NO_GETS);
        while (amp_ring_take(queue_of(object->cell->p_in), AMP_AT_ONCE,
                             &(struct amp_what) {.kind = AMP_QUEUE}, &message) == 0) {
            luampO_arriving(&arrival, message.cells, message.ncells);
            luampO_arrived(&arrival);
            amp_message_done(&message);
        }
        return luampB_give_up(L, "too long");
    }
    return 1;
}

/* poll([timeout=0]): would a receive not wait? */
static int
connection_poll(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &luampB_connection_class);
    amp_time deadline = lua_isnoneornil(L, 2) ? AMP_AT_ONCE : luampB_timeout(L, 2);
    if (is_socket(object))
        return luampB_socket_poll(L, deadline);
    struct amp_cell *queue = luampB_incoming(L, object);
    struct amp_what what = luampB_what_for(object);
    for (;;) {
        uint32_t word;
        if (!amp_ring_prepare_wait(queue, &word)) {
            if (!amp_ring_is_ready(queue))
                continue; /* a message came, and another reader has taken it */
            lua_pushboolean(L, 1);
            return 1;
        }
        int result;
        LUAMPB_BLOCKING(L, result,
                        amp_wait(&queue->q_published, word, AMP_SLEEPER, deadline, &what));
        if (result == -ETIMEDOUT) {
            lua_pushboolean(L, 0);
            return 1;
        }
        if (result < 0)
            return luampB_raise(L, "poll", result);
    }
}

/* Closing one's own closed end again is no mistake. */
static int
connection_close(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL || object->class != &luampB_connection_class)
        return luampO_wrong(L, 1, &luampB_connection_class);
    luampO_close(L, object);
    return 0;
}

static int
connection_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL || object->class != &luampB_connection_class)
        return luampO_wrong(L, 1, &luampB_connection_class);
    const char *field = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(field, "closed") == 0)
        lua_pushboolean(L, object->cell == NULL);
    else if (strcmp(field, "readable") == 0)
        lua_pushboolean(L, object->cell != NULL && (is_socket(object) || object->cell->p_in != 0));
    else if (strcmp(field, "writable") == 0)
        lua_pushboolean(L, object->cell != NULL && (is_socket(object) || object->cell->p_out != 0));
    else
        lua_pushnil(L);
    return 1;
}

static void
describe_connection(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    (void) L;
    bool in = is_socket(object) || object->cell->p_in != 0;
    bool out = is_socket(object) || object->cell->p_out != 0;
    luaL_addstring(text, in && out ? "duplex" : in ? "receives" : "sends");
}

static bool
connection_arrives(lua_State *L, struct amp_cell *cell)
{
    if (amp_cell_kind(cell) == AMP_SOCKET)
        luampB_endpoint_arrives(L, cell, "Connection");
    return amp_cell_kind(cell) == AMP_SOCKET || amp_cell_kind(cell) == AMP_PIPE_END;
}

static const luaL_Reg connection_methods[] = {
    {"send", connection_send},
    {"recv", connection_recv},
    {"send_bytes", connection_send_bytes},
    {"recv_bytes", connection_recv_bytes},
    {"poll", connection_poll},
    {"fileno", connection_fileno},
    {"close", connection_close},
    {NULL, NULL},
};
static const luaL_Reg connection_metamethods[] = {{"__close", connection_close}, {NULL, NULL}};
const struct luampO_class luampB_connection_class = {
    .name = "Connection",
    .module = "ipc",
    .maker = "Pipe",
    .id = LUAMPO_CONNECTION,
    .kind = AMP_PIPE_END,
    .methods = connection_methods,
    .metamethods = connection_metamethods,
    .own_index = connection_index,
    .describe = describe_connection,
    .arrives = connection_arrives,
    .detach = connection_detach,
};

/* A queue that belongs to the ends: the maker holds it until they do. */
static amp_handle
make_direction(lua_State *L)
{
    struct amp_cell *queue = luampO_new_part(L, AMP_QUEUE, "pipe");
    amp_ring_init(queue, 0, PIPE_SEGMENTS);
    return amp_cell_ready(queue);
}

/* Pipe([duplex=true]): two connections; with false the first receives and the second sends. */
int
luampB_new_pipe(lua_State *L)
{
    static const char *const options[] = {"duplex:boolean", NULL};
    luampO_arguments(L, &luampB_connection_class, options);
    if (!lua_isnil(L, 1))
        luaL_checktype(L, 1, LUA_TBOOLEAN);
    bool duplex = lua_isnil(L, 1) || lua_toboolean(L, 1);
    struct luampO_object *first = luampO_push_new(L, &luampB_connection_class);
    struct luampO_object *second = luampO_push_new(L, &luampB_connection_class);
    for (int i = 0; i < 2; i++) {
        if (lua_isnil(L, 2))
            luampO_push_name(L, i);
        else
            lua_pushvalue(L, 2);
    }
    amp_handle to_first = make_direction(L);
    amp_handle to_second = duplex ? make_direction(L) : 0;
    struct amp_cell *one = luampO_new_cell(L, &luampB_connection_class, 5);
    amp_pipe_end_init(one, to_first, to_second);
    lua_pushvalue(L, 3);
    luampO_made(L, first, one);
    struct amp_cell *other = luampO_new_cell(L, &luampB_connection_class, 6);
    amp_pipe_end_init(other, to_second, to_first);
    lua_pushvalue(L, 4);
    luampO_made(L, second, other);
    lua_settop(L, 4);
    amp_unhold(to_first);
    if (to_second)
        amp_unhold(to_second);
    return 2;
}

void
luampB_define_connections(lua_State *L)
{
    luampO_define(L, &luampB_connection_class);
}
