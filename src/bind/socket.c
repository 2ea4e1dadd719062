/*
 * socket: ipc.Listener and ipc.Client, and what the methods of Connection do for a connection by a
 * socket.
 *
 * The bytes, the handshake and who shares what are the core's: endpoint.h. Here are addresses,
 * options, and values as messages. An object's `attached` is its entry in the process's table,
 * which stays as long as this state's member holds the object; it is looked for when the object is
 * first used, since one that came as an argument of a thread, or by a fork, has it already.
 *
 * Order in every call: what may raise comes before what is taken. A call that a signal interrupts
 * holds nothing while handlers run; they may close the object, so it is checked anew afterwards. A
 * Client that is under way belongs to no object yet: there the handlers run protected.
 *
 * What a stranger sends is decoded without functions and objects, protected, and a message that is
 * none is a result and no error: a correct program can receive one. The frames around it are whole,
 * so the connection goes on.
 *
 * Death: see endpoint.h. Here nothing outlives a call but userdata.
 */
#include "ipc.h"

#include "codec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 8 /* of one host that are tried */
#define KEY_MAX 65536
#define MESSAGE_MAX ((lua_Integer) 4 << 30)

static const struct luampO_class listener_class;

/* Lends its name to messages about arguments; there are no such objects. */
static const struct luampO_class client_class = {.name = "Client", .module = "ipc"};

/*
 * Addresses.
 */

/* Pushes the text of one, for messages. */
static void
push_address_text(lua_State *L, int address)
{
    if (lua_type(L, address) == LUA_TSTRING) {
        lua_pushfstring(L, "\"%s\"", lua_tostring(L, address));
        return;
    }
    lua_geti(L, address, 1);
    lua_geti(L, address, 2);
    const char *host = lua_tostring(L, -2);
    lua_pushfstring(L, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host,
                    (int) lua_tointeger(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* Pushes the address as a script writes it. */
static void
push_address(lua_State *L, const struct amp_address *address)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->any.sa_family == AF_UNIX) {
        const char *path = address->path.sun_path;
        size_t length = address->length - offsetof(struct sockaddr_un, sun_path);
        if (path[0] == '\0') {
            lua_pushliteral(L, "@");
            lua_pushlstring(L, path + 1, length > 0 ? length - 1 : 0);
            lua_concat(L, 2);
        } else {
            lua_pushlstring(L, path, strnlen(path, length));
        }
        return;
    }
    const struct sockaddr_in *four = (const struct sockaddr_in *) &address->storage;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *) &address->storage;
    bool is_six = address->any.sa_family == AF_INET6;
    inet_ntop(address->any.sa_family,
              is_six ? (const void *) &six->sin6_addr : (const void *) &four->sin_addr, host,
              sizeof host);
    lua_createtable(L, 2, 0);
    lua_pushstring(L, host);
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, ntohs(is_six ? six->sin6_port : four->sin_port));
    lua_rawseti(L, -2, 2);
}

static int
wrong_address(lua_State *L, const struct luampO_class *class, const char *why)
{
    return luaL_error(L, "address of ipc.%s: %s", class->name, why);
}

static void
path_address(lua_State *L, const struct luampO_class *class, int index,
             struct amp_address *address)
{
    size_t length;
    const char *path = lua_tolstring(L, index, &length);
    bool is_abstract = path[0] == '@';
    if (length < (is_abstract ? 2 : 1) || length >= sizeof address->path.sun_path ||
        (!is_abstract && strlen(path) != length))
        wrong_address(L, class, "a path has from 1 to 107 bytes and no zero among them");
    memset(address, 0, sizeof *address);
    address->path.sun_family = AF_UNIX;
    memcpy(address->path.sun_path, path, length);
    address->length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length + 1);
    if (is_abstract) {
        address->path.sun_path[0] = '\0';
        address->length--;
    }
}

/* Looks up a host: how many addresses, or minus the code of what failed. */
static int
look_up(const char *host, int port, bool listens, struct amp_address *addresses)
{
    char service[16];
    struct addrinfo *found;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | (listens ? AI_PASSIVE : 0),
    };
    snprintf(service, sizeof service, "%d", port);
    int failure = getaddrinfo(host[0] ? host : NULL, service, &hints, &found);
    if (failure != 0 && strcmp(host, "localhost") == 0) /* a system without an /etc/hosts (RFC 6761) */
        failure = getaddrinfo("127.0.0.1", service, &hints, &found);
    if (failure != 0)
        return failure < 0 ? failure : -failure;
    int n = 0;
    for (struct addrinfo *a = found; a != NULL && n < ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof addresses[n].storage)
            continue;
        memset(&addresses[n], 0, sizeof addresses[n]);
        memcpy(&addresses[n].storage, a->ai_addr, a->ai_addrlen);
        addresses[n++].length = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return n;
}

/* The addresses that the value at the index stands for: how many. 0, and a message is pushed: the
   host is not known. What is no address raises. */
static int
read_address(lua_State *L, const struct luampO_class *class, int index,
             struct amp_address *addresses)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        path_address(L, class, index, addresses);
        return 1;
    }
    if (!lua_istable(L, index))
        return wrong_address(L, class, "a path, \"@name\" or {host, port} expected");
    bool is_host = lua_geti(L, index, 1) == LUA_TSTRING;
    lua_geti(L, index, 2);
    if (!is_host || !luampB_is_integer(L, -1, 0, 65535) || luaL_len(L, index) != 2)
        wrong_address(L, class, "{host, port} is a string and an integer from 0 to 65535");
    size_t length;
    const char *host = lua_tolstring(L, -2, &length);
    if (strlen(host) != length)
        wrong_address(L, class, "a host's name has no zero byte");
    int n = look_up(host, (int) lua_tointeger(L, -1), class == &listener_class, addresses);
    if (n <= 0) {
        lua_pushfstring(L, "cannot find the host \"%s\": %s", host,
                        n < 0 ? gai_strerror(n) : "it has no address");
        n = 0;
        lua_replace(L, -3);
        lua_pop(L, 1);
        return n;
    }
    lua_pop(L, 2);
    return n;
}

/*
 * Arguments: an address and a table of options, or all in one table.
 */

static bool
has_names(lua_State *L, int table)
{
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            lua_pop(L, 2);
            return true;
        }
    }
    return false;
}

/* Leaves one table, with the address by its name, on an otherwise empty stack. */
static void
gather(lua_State *L, const struct luampO_class *class)
{
    int given = lua_gettop(L);
    bool all_in_one = given == 1 && lua_istable(L, 1) && has_names(L, 1);
    int options = all_in_one ? 1 : 2;
    if (given > 2)
        luaL_error(L, "ipc.%s takes an address and a table of options, not %d arguments",
                   class->name, given);
    lua_settop(L, 2);
    if (!all_in_one && !lua_isnil(L, 2) && !lua_istable(L, 2))
        luaL_error(L, "ipc.%s: the second argument is a table of options, not a %s", class->name,
                   luaL_typename(L, 2));
    lua_newtable(L);
    if (!lua_isnil(L, options)) {
        for (lua_pushnil(L); lua_next(L, options); lua_pop(L, 1)) {
            if (lua_type(L, -2) == LUA_TNUMBER) {
                if (all_in_one && (lua_tonumber(L, -2) == 1 || lua_tonumber(L, -2) == 2))
                    continue;
                luaL_error(L, "an option of ipc.%s has a name, not a number", class->name);
            }
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, 3);
        }
    }
    if (all_in_one) {
        if (lua_getfield(L, 1, "address") == LUA_TNIL) { /* "path", or host and port */
            lua_pop(L, 1);
            lua_geti(L, 1, 1);
            if (lua_geti(L, 1, 2) != LUA_TNIL) {
                lua_createtable(L, 2, 0);
                lua_insert(L, -3);
                lua_rawseti(L, -3, 2);
                lua_rawseti(L, -2, 1);
            } else {
                lua_pop(L, 1);
            }
        }
    } else {
        lua_pushvalue(L, 1);
    }
    lua_setfield(L, 3, "address");
    lua_replace(L, 1);
    lua_settop(L, 1);
}

static int
wrong_option(lua_State *L, const struct luampO_class *class, const char *option,
             const char *expected, int index)
{
    return luaL_error(L, "option '%s' of ipc.%s: %s expected, got %s", option, class->name,
                      expected, luaL_typename(L, index));
}

/* The terms of the options at 2, 3 and 4: authkey, max_message, functions. */
static void
read_terms(lua_State *L, const struct luampO_class *class, struct amp_terms *terms)
{
    *terms = (struct amp_terms) {
        .max_message = AMP_MESSAGE_MAX_DEFAULT,
        .is_listener = class == &listener_class,
    };
    if (!lua_isnil(L, 2)) {
        if (lua_type(L, 2) != LUA_TSTRING || lua_rawlen(L, 2) == 0 || lua_rawlen(L, 2) > KEY_MAX)
            wrong_option(L, class, "authkey", "a string of 1 to 65536 bytes", 2);
        terms->key = (const unsigned char *) lua_tolstring(L, 2, &terms->key_length);
    }
    if (!lua_isnil(L, 3)) {
        if (!luampB_is_integer(L, 3, 1, MESSAGE_MAX))
            wrong_option(L, class, "max_message", "a number of bytes from 1 to 2^32", 3);
        terms->max_message = (uint64_t) lua_tointeger(L, 3);
    }
    if (!lua_isnil(L, 4) && !lua_isboolean(L, 4))
        wrong_option(L, class, "functions", "a boolean", 4);
    terms->functions = lua_toboolean(L, 4);
}

/* Why a handshake failed, or NULL: it was not the handshake. */
static const char *
handshake_failure(int failure)
{
    switch (failure) {
    case -EKEYREJECTED:
        return "authentication failed";
    case -EPROTO:
        return "the other side is no luamp, or one of another version";
    case -EPIPE:
        return "the other side went away during the handshake";
    case -ENOSYS:
        return "an authkey needs the library nettle, which cannot be loaded";
    default:
        return NULL;
    }
}

/*
 * Connections.
 */

static struct amp_endpoint *
endpoint_of(lua_State *L, struct luampO_object *object)
{
    if (object->attached == NULL) {
        object->attached = amp_endpoint_find(object->handle);
        if (object->attached == NULL)
            luampB_endpoint_arrives(L, object->cell, object->class->name);
    }
    return object->attached;
}

void
luampB_endpoint_arrives(lua_State *L, struct amp_cell *cell, const char *class)
{
    if (amp_endpoint_find(amp_cell_handle(cell)) == NULL)
        luaL_error(L, "cannot receive a %s: its socket belongs to process %d; fork shares it: "
                   "start the process that is to have it when the %s is there", class,
                   (int) amp_endpoint_process(cell), class);
}

static struct amp_endpoint *
check_connection(lua_State *L, struct luampO_object **object)
{
    *object = luampO_check(L, 1, &luampB_connection_class);
    return endpoint_of(L, *object);
}

static struct amp_what
what_for(enum amp_kind kind, const struct luampO_object *object)
{
    return (struct amp_what) {.kind = kind, .cell = amp_cell_index(object->cell)};
}

/* Sends bytes that stay whatever Lua code runs, or that `message` keeps. */
static int
send_message(lua_State *L, const void *bytes, size_t length, bool keeps)
{
    bool begun = false;
    for (;;) {
        struct luampO_object *object;
        struct amp_endpoint *endpoint = check_connection(L, &object);
        struct amp_what what = what_for(AMP_SOCKET, object);
        int result = amp_endpoint_send(endpoint, object->cell, bytes, length, &begun, AMP_FOREVER,
                                       &what);
        switch (result) {
        case 0:
            lua_pushboolean(L, 1);
            return 1;
        case -EINTR:
            if (!keeps)
                luampC_keep(L);
            keeps = true;
            luampB_run_handlers(L);
            break;
        case -EPIPE:
            return luampB_refuse(L, "closed");
        case -EMSGSIZE:
            lua_pushinteger(L, (lua_Integer) length);
            lua_pushinteger(L, (lua_Integer) endpoint->stream.max_out);
            return luaL_error(L, "cannot send a message of %s bytes: the other side takes at most "
                              "%s (its option max_message)", lua_tostring(L, -2),
                              lua_tostring(L, -1));
        default:
            return luaL_error(L, "cannot send: %s", strerror(-result));
        }
    }
}

int
luampB_socket_send(lua_State *L)
{
    struct luampO_object *object;
    unsigned flags = check_connection(L, &object)->stream.functions ? LUAMPC_FUNCTIONS : 0;
    struct luampC_message message;
    luampC_encode_for(L, 2, 1, &(struct luampC_told) {.root = "value"}, flags, &message);
    return send_message(L, message.bytes, message.length, false);
}

int
luampB_socket_send_bytes(lua_State *L, const char *bytes, size_t length)
{
    return send_message(L, bytes, length, true);
}

/* A message that has come: its bytes are ours to free. */
struct incoming {
    unsigned char *bytes;
    size_t length;
    unsigned flags;
};

/* 0; or the results of a call that gives up are pushed: their number. */
static int
receive(lua_State *L, uint64_t max, struct incoming *incoming)
{
    for (;;) {
        struct luampO_object *object;
        struct amp_endpoint *endpoint = check_connection(L, &object);
        struct amp_what what = what_for(AMP_SOCKET, object);
        int result = amp_endpoint_receive(endpoint, object->cell, max, &incoming->bytes,
                                          &incoming->length, AMP_FOREVER, &what);
        switch (result) {
        case 0:
            incoming->flags = endpoint->stream.functions ? LUAMPC_FUNCTIONS : 0;
            return 0;
        case -EINTR:
            luampB_run_handlers(L);
            break;
        case -EPIPE:
            return luampB_give_up(L, "closed");
        case -EMSGSIZE:
            return luampB_give_up(L, "too long");
        default:
            return luaL_error(L, "cannot receive: %s", strerror(-result));
        }
    }
}

static int
decode(lua_State *L)
{
    const struct incoming *incoming = lua_touserdata(L, 1);
    lua_settop(L, 0);
    int n = luampC_decode(L, incoming->bytes, incoming->length, incoming->flags | LUAMPC_RECEIVED);
    if (n != 1 || lua_isnil(L, -1))
        return luaL_error(L, "malformed message: it is not one value; what send_bytes sent is read by "
                          "recv_bytes");
    return 1;
}

static int
push_bytes(lua_State *L)
{
    const struct incoming *incoming = lua_touserdata(L, 1);
    lua_pushlstring(L, (const char *) incoming->bytes, incoming->length);
    return 1;
}

/* Calls the function with what has come, and frees that whatever happens. */
static int
convert(lua_State *L, struct incoming *incoming, lua_CFunction function)
{
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, incoming);
    int status = lua_pcall(L, 1, 1, 0);
    free(incoming->bytes);
    if (status == LUA_OK)
        return 1;
    if (status != LUA_ERRRUN || lua_type(L, -1) != LUA_TSTRING)
        return lua_error(L);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

int
luampB_socket_recv(lua_State *L)
{
    struct incoming incoming;
    lua_settop(L, 1);
    int given_up = receive(L, UINT64_MAX, &incoming);
    return given_up ? given_up : convert(L, &incoming, decode);
}

int
luampB_socket_recv_bytes(lua_State *L, uint64_t max)
{
    struct incoming incoming;
    lua_settop(L, 1);
    int given_up = receive(L, max, &incoming);
    return given_up ? given_up : convert(L, &incoming, push_bytes);
}

int
luampB_socket_poll(lua_State *L, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    for (;;) {
        struct luampO_object *object;
        struct amp_endpoint *endpoint = check_connection(L, &object);
        what.cell = amp_cell_index(object->cell);
        if (amp_endpoint_is_over(endpoint, object->cell)) {
            lua_pushboolean(L, 1);
            return 1;
        }
        struct pollfd poll = {.fd = endpoint->stream.descriptor, .events = POLLIN};
        int result = amp_wait_descriptors(&poll, 1, deadline, &what);
        if (result == -EINTR) {
            luampB_run_handlers(L);
        } else if (result > 0 || result == -ETIMEDOUT) {
            lua_pushboolean(L, result > 0);
            return 1;
        } else if (result < 0) {
            return luampB_raise(L, "poll", result);
        }
    }
}

int
luampB_socket_fileno(lua_State *L)
{
    struct luampO_object *object;
    lua_pushinteger(L, check_connection(L, &object)->stream.descriptor);
    return 1;
}

int
luampB_endpoint_descriptor(lua_State *L, struct luampO_object *object)
{
    struct amp_endpoint *endpoint = endpoint_of(L, object);
    if (endpoint->listening == NULL)
        return endpoint->stream.descriptor;
    int descriptor = amp_listener_descriptor(endpoint);
    if (descriptor < 0)
        luampB_raise(L, "make a descriptor of a listener", descriptor);
    return descriptor;
}

bool
luampB_endpoint_is_ready(lua_State *L, struct luampO_object *object)
{
    struct amp_endpoint *endpoint = endpoint_of(L, object);
    if (endpoint->listening)
        return amp_listener_advance(endpoint);
    struct pollfd poll = {.fd = endpoint->stream.descriptor, .events = POLLIN};
    struct amp_what what = {.kind = AMP_SELECTING};
    return amp_endpoint_is_over(endpoint, object->cell) ||
           amp_wait_descriptors(&poll, 1, AMP_AT_ONCE, &what) > 0;
}

/*
 * Clients.
 */

/* Pushes nil and why no connection came about. */
static int
refuse_client(lua_State *L, int failure, int address)
{
    const char *why = handshake_failure(failure);
    if (failure == -EKEYREJECTED || failure == -ETIMEDOUT)
        return luampB_give_up(L, why ? why : "timeout");
    if (why == NULL)
        why = failure == -ECONNREFUSED ? "nobody listens there"
              : failure == -ENOENT     ? "there is no such path"
                                       : strerror(-failure);
    push_address_text(L, address);
    lua_pushfstring(L, "cannot connect to %s: %s", lua_tostring(L, -1), why);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* One attempt. The endpoint, or NULL and why not. What a handler raises goes on from here. */
static struct amp_endpoint *
connect_to(lua_State *L, const struct amp_address *address, const struct amp_terms *terms,
           amp_time deadline, int *failure)
{
    struct amp_connecting connecting = {.address = *address, .terms = *terms};
    struct amp_what what = {.kind = AMP_SOCKET};
    while ((*failure = amp_connect(&connecting, deadline, &what)) == -EINTR) {
        if (luampB_run_handlers_protected(L)) {
            amp_connect_end(&connecting);
            lua_error(L);
        }
    }
    if (*failure == 0)
        return connecting.endpoint;
    amp_connect_end(&connecting);
    return NULL;
}

/* Client(address[, {authkey=, max_message=, functions=, timeout=, name=}]) */
int
luampB_new_client(lua_State *L)
{
    static const char *const options[] = {"address", "authkey:string", "max_message:integer",
                                          "functions:boolean", "timeout:number", NULL};
    enum { ADDRESS = 1, TIMEOUT = 5, NAME };
    struct amp_terms terms;
    struct amp_address addresses[ADDRESSES_MAX];
    gather(L, &client_class);
    luampO_arguments(L, &client_class, options);
    read_terms(L, &client_class, &terms);
    if (!lua_isnil(L, TIMEOUT) && lua_type(L, TIMEOUT) != LUA_TNUMBER)
        wrong_option(L, &client_class, "timeout", "a number of seconds", TIMEOUT);
    amp_time deadline = luampB_timeout(L, TIMEOUT);
    int n = read_address(L, &client_class, ADDRESS, addresses);
    if (n == 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    struct luampO_object *object = luampO_push_new(L, &luampB_connection_class);
    if (lua_isnil(L, NAME)) {
        luampO_push_name(L, 0);
        lua_replace(L, NAME);
    }
    struct amp_endpoint *endpoint = NULL;
    int failure = 0;
    for (int i = 0; i < n && endpoint == NULL; i++) {
        endpoint = connect_to(L, &addresses[i], &terms, deadline, &failure);
        if (endpoint == NULL && (handshake_failure(failure) || failure == -ETIMEDOUT))
            break;
    }
    if (endpoint == NULL)
        return refuse_client(L, failure, ADDRESS);
    struct amp_cell *cell;
    failure = amp_cell_make(AMP_SOCKET, lua_tostring(L, NAME), &cell);
    if (failure != 0) {
        amp_endpoint_discard(endpoint);
        return luampB_raise(L, "make a Connection", failure);
    }
    amp_endpoint_bind(endpoint, amp_cell_handle(cell));
    luampO_made(L, object, cell);
    return 1;
}

/*
 * Listeners.
 */

static struct amp_endpoint *
check_listener(lua_State *L, struct luampO_object **object)
{
    *object = luampO_check(L, 1, &listener_class);
    return endpoint_of(L, *object);
}

/* Waits until there is something to accept: 0, or what amp_listener_wait gives but for -EINTR. */
static int
wait_for_client(lua_State *L, amp_time deadline)
{
    for (;;) {
        struct luampO_object *object;
        struct amp_endpoint *endpoint = check_listener(L, &object);
        struct amp_what what = what_for(AMP_LISTENER, object);
        int result = amp_listener_wait(endpoint, deadline, &what);
        if (result != -EINTR)
            return result;
        luampB_run_handlers(L);
    }
}

/* accept([timeout]): a connection; or nil and a reason. */
static int
listener_accept(lua_State *L)
{
    struct luampO_object *listener;
    check_listener(L, &listener);
    amp_time deadline = luampB_timeout(L, 2);
    int result;
    do {
        lua_settop(L, 2);
        result = wait_for_client(L, deadline);
        if (result == -ETIMEDOUT)
            return luampB_give_up(L, "timeout");
        if (result != 0)
            return luampB_raise(L, "accept", result);
        struct luampO_object *object = luampO_push_new(L, &luampB_connection_class);
        luampO_push_name(L, 0);
        check_listener(L, &listener); /* a finalizer may have closed it */
        struct amp_cell *cell = luampO_new_part(L, AMP_SOCKET, lua_tostring(L, -1));
        lua_pop(L, 1);
        struct amp_endpoint *made;
        result = amp_listener_take(listener->attached, &made);
        if (result == 0) {
            amp_endpoint_bind(made, amp_cell_handle(cell));
            luampO_made(L, object, cell);
            return 1;
        }
        amp_cell_abandon(cell);
    } while (result == -EAGAIN); /* another thread or process was there first */
    const char *why = handshake_failure(result);
    return luampB_give_up(L, why ? why : strerror(-result));
}

/* Closing it again is no mistake. */
static int
listener_close(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL || object->class != &listener_class)
        return luampO_wrong(L, 1, &listener_class);
    luampO_close(L, object);
    return 0;
}

static int
listener_fileno(lua_State *L)
{
    struct luampO_object *object;
    check_listener(L, &object);
    lua_pushinteger(L, luampB_endpoint_descriptor(L, object));
    return 1;
}

/* Notes in the user value where it listens, which is known after a close, too. */
static void
keep_address(lua_State *L, int index, struct amp_endpoint *endpoint)
{
    struct amp_address address;
    index = lua_absindex(L, index);
    if (amp_listener_address(endpoint, &address) != 0)
        return;
    push_address(L, &address);
    lua_setiuservalue(L, index, 1);
}

static int
listener_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL || object->class != &listener_class)
        return luampO_wrong(L, 1, &listener_class);
    const char *field = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(field, "closed") == 0) {
        lua_pushboolean(L, object->cell == NULL);
    } else if (strcmp(field, "address") == 0) {
        struct amp_endpoint *endpoint = object->cell ? amp_endpoint_find(object->handle) : NULL;
        if (endpoint)
            keep_address(L, 1, endpoint);
        lua_getiuservalue(L, 1, 1);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static void
describe_listener(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    struct amp_address address;
    struct amp_endpoint *endpoint = amp_endpoint_find(object->handle);
    if (endpoint == NULL || amp_listener_address(endpoint, &address) != 0) {
        luaL_addstring(text, "of another process");
        return;
    }
    push_address(L, &address);
    push_address_text(L, lua_absindex(L, -1));
    lua_remove(L, -2);
    luaL_addvalue(text);
}

static bool
listener_arrives(lua_State *L, struct amp_cell *cell)
{
    if (amp_cell_kind(cell) != AMP_LISTENER)
        return false;
    luampB_endpoint_arrives(L, cell, "Listener");
    return true;
}

static void
listener_detach(struct luampO_object *object)
{
    (void) object; /* the process's table has it */
}

static const luaL_Reg listener_methods[] = {
    {"accept", listener_accept},
    {"fileno", listener_fileno},
    {"close", listener_close},
    {NULL, NULL},
};
static const luaL_Reg listener_metamethods[] = {{"__close", listener_close}, {NULL, NULL}};
static const struct luampO_class listener_class = {
    .name = "Listener",
    .module = "ipc",
    .id = LUAMPO_LISTENER,
    .kind = AMP_LISTENER,
    .methods = listener_methods,
    .metamethods = listener_metamethods,
    .own_index = listener_index,
    .describe = describe_listener,
    .arrives = listener_arrives,
    .detach = listener_detach,
};

/* Pushes nil and why there is no listener. */
static int
refuse_listener(lua_State *L, int failure, int address)
{
    push_address_text(L, address);
    const char *where = lua_tostring(L, -1);
    if (failure == -EADDRINUSE)
        lua_pushfstring(L, "cannot listen at %s: the address is in use", where);
    else if (failure == -EADDRNOTAVAIL && lua_type(L, address) == LUA_TSTRING)
        lua_pushfstring(L, "cannot listen at %s: the path is in use, but its server is gone; "
                        "remove it first, with os.remove(%s)", where, where);
    else if (failure == -ENOTSOCK)
        lua_pushfstring(L, "cannot listen at %s: there is something else than a socket", where);
    else
        lua_pushfstring(L, "cannot listen at %s: %s", where,
                        handshake_failure(failure) ? handshake_failure(failure)
                                                   : strerror(-failure));
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* Listener(address[, {authkey=, max_message=, functions=, name=}]) */
int
luampB_new_listener(lua_State *L)
{
    static const char *const options[] = {"address", "authkey:string", "max_message:integer",
                                          "functions:boolean", NULL};
    enum { ADDRESS = 1, NAME = 5 };
    struct amp_terms terms;
    struct amp_address addresses[ADDRESSES_MAX];
    gather(L, &listener_class);
    luampO_arguments(L, &listener_class, options);
    read_terms(L, &listener_class, &terms);
    int n = read_address(L, &listener_class, ADDRESS, addresses);
    if (n == 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    struct luampO_object *object = luampO_push_new(L, &listener_class);
    if (lua_isnil(L, NAME)) {
        luampO_push_name(L, 0);
        lua_replace(L, NAME);
    }
    struct amp_cell *cell = luampO_new_cell(L, &listener_class, NAME);
    struct amp_endpoint *endpoint = NULL;
    int failure = 0;
    for (int i = 0; i < n && endpoint == NULL; i++)
        failure = amp_listen(&addresses[i], &terms, &endpoint);
    if (endpoint == NULL) {
        amp_cell_abandon(cell);
        return refuse_listener(L, failure, ADDRESS);
    }
    amp_endpoint_bind(endpoint, amp_cell_handle(cell));
    luampO_made(L, object, cell);
    keep_address(L, -1, endpoint);
    return 1;
}

void
luampB_define_sockets(lua_State *L)
{
    luampO_define(L, &listener_class);
}
