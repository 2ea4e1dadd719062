/*
 * ipc.h: what the files of the ipc module, and the pool, share: values as messages.
 */
#ifndef LUAMP_IPC_H
#define LUAMP_IPC_H

#include "codec.h"
#include "object.h"

/* A value on its way out. */
struct luampB_outgoing {
    struct luampC_message message;
    int scalar; /* stack index of a value that is written without being encoded first, or 0 */
    bool keeps; /* the bytes stay whatever Lua code runs */
    const void *prefix; /* bytes that go before it, the caller's; NULL: none */
    size_t prefix_length;
};

/* Encodes the value at the index; raises for what cannot be sent, with a path that begins with
   root. */
void luampB_encode(lua_State *L, int index, const char *root, struct luampB_outgoing *out);

/* Puts it into a queue: the results of amp_ring_reserve, but for -EINTR. */
int luampB_send(lua_State *L, struct amp_cell *queue, struct luampB_outgoing *out,
                amp_time deadline, struct amp_what *what);

/* Pushes the values of a message that was taken, and ends it; how many. Raises for a malformed
   one. */
int luampB_decode(lua_State *L, struct amp_message *message);

/* The same of a message that a connection received. */
int luampB_decode_received(lua_State *L, struct amp_message *message);

/* A function for a protected call, with a struct amp_message as a light userdata: its values. */
int luampB_decode_message(lua_State *L);

/* Pushes a new Queue of any size with this name, and so many leases (ring.h). */
struct amp_cell *luampB_push_queue(lua_State *L, const char *name, uint32_t leases);

/* The cell of the queue, of whichever class, at the index; raises. */
struct amp_cell *luampB_check_queue(lua_State *L, int index);

/* Why a call did not get or put: "timeout", "closed", or at_once; raises for other failures. */
const char *luampB_reason(lua_State *L, int result, const char *at_once, const char *what);

static inline struct amp_what
luampB_what_for(const struct luampO_object *object)
{
    return (struct amp_what) {.kind = AMP_QUEUE, .cell = amp_cell_index(object->cell)};
}

/* The queue that the open end of a pipe reads; raises when it can only send. */
struct amp_cell *luampB_incoming(lua_State *L, const struct luampO_object *object);

/* All connections are of this class; those by sockets have a cell of the kind AMP_SOCKET. */
extern const struct luampO_class luampB_connection_class;

/* The connection's methods, for one by a socket that stands at index 1, open. */
int luampB_socket_send(lua_State *L);
int luampB_socket_send_bytes(lua_State *L, const char *bytes, size_t length);
int luampB_socket_recv(lua_State *L);
int luampB_socket_recv_bytes(lua_State *L, uint64_t max);
int luampB_socket_poll(lua_State *L, amp_time deadline);
int luampB_socket_fileno(lua_State *L);

/* For ipc.wait, of an open connection by a socket or a listener: what to poll; and whether it is
   ready, which for the connection the descriptor says as well. */
int luampB_endpoint_descriptor(lua_State *L, struct luampO_object *object);
bool luampB_endpoint_is_ready(lua_State *L, struct luampO_object *object);

/* Raises when the descriptor of the object is not to be had in this process. */
void luampB_endpoint_arrives(lua_State *L, struct amp_cell *cell, const char *class);

/* The lock of a value or an array is a view of this class: sync.c. */
extern const struct luampO_class luampB_rlock_class;

int luampB_new_pipe(lua_State *L);
int luampB_new_listener(lua_State *L);
int luampB_new_client(lua_State *L);
int luampB_new_value(lua_State *L);
int luampB_new_array(lua_State *L);
int luampB_new_dict(lua_State *L);
int luampB_new_list(lua_State *L);
int luampB_new_shared_memory(lua_State *L);
void luampB_define_connections(lua_State *L);
void luampB_define_sockets(lua_State *L);
void luampB_define_values(lua_State *L);
void luampB_define_tables(lua_State *L);
void luampB_define_shared_memory(lua_State *L);

#endif
