/*
 * endpoint: connections and listeners by sockets, as a process has them.
 *
 * A connection by a socket is an object like any other: a cell, so that it is known who holds it.
 * Its descriptor is the process's own. So each process has a table, in private memory, of the
 * endpoints whose descriptors it has: those that its members made, and those that it inherited by
 * a fork. The threads of a process share an entry.
 *
 * An entry stays as long as a member of this process holds the object, or a message carries it;
 * whoever holds the object may therefore use the entry without asking. It is looked at when a
 * member lets go (amp_kind_operations.left) and, if something keeps it then, again in later waits.
 * In a forked child those that the forking thread did not hold are closed at once.
 *
 * Sharing. Messages are whole for all holders in all processes: the cell's c_lock0 is held to
 * send one and c_lock1 to receive one. A signal may interrupt that in the middle of a message;
 * then the lock is released, because handlers run with nothing held, and the cell's k_sending or
 * k_receiving says whose half message it is. What is left of it lies in that process's entry. It
 * goes on there, and others wait.
 *
 * Death. Who dies with a half message leaves its mark in the cell; the burial finds it and marks
 * the connection as over: nobody could tell where the next message begins. So do a leave and a
 * close with a half message. The other side sees it when one who shares the connection shuts it
 * down, which each does at the end of a slice, whatever it waits for. Who dies with a lock but without a mark leaves nothing to repair.
 * Descriptors and handshakes are the process's, and the kernel closes them. What stays is the path
 * of a listener that was killed: the next one is told that nobody listens there.
 */
#ifndef AMP_ENDPOINT_H
#define AMP_ENDPOINT_H

#include "handle.h"
#include "stream.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

enum amp_over { /* of a connection, for all its holders */
    AMP_NO_READING = 1,
    AMP_NO_WRITING = 2,
    AMP_TORN = 4, /* in the middle of a message; with both others */
};

struct amp_address {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_un path;
        struct sockaddr_storage storage;
    };
};

struct amp_listening;

/* Private to the process. The table's mutex guards `next` and the flags; a stream is its holders',
   under the cell's locks. */
struct amp_endpoint {
    struct amp_endpoint *next;
    amp_handle handle;        /* 0: not an object yet */
    struct amp_stream stream; /* of a connection */
    struct amp_listening *listening; /* of a listener; its descriptor is the stream's */
    bool is_kept;             /* by the child of the fork that is under way */
    bool is_doubtful;         /* something but a userdata of ours keeps it */
};

/* The entry of an object, or NULL: this process does not have it. */
struct amp_endpoint *amp_endpoint_find(amp_handle handle);

/* The entry, just made, belongs to this object from here on. */
void amp_endpoint_bind(struct amp_endpoint *endpoint, amp_handle handle);

/* Closes one that never was an object. */
void amp_endpoint_discard(struct amp_endpoint *endpoint);

/* The process that made the object. */
static inline pid_t
amp_endpoint_process(const struct amp_cell *cell)
{
    return (pid_t) cell->k_process;
}

/*
 * Connecting.
 */

/* Resumed after -EINTR with the same state, which begins as zeroes but for address and terms. */
struct amp_connecting {
    struct amp_address address;
    struct amp_terms terms;
    struct amp_endpoint *endpoint;
    struct amp_shake shake;
    int phase;
};

/* 0: the endpoint is there, the caller's. Failures to connect are the system's; of the handshake,
   -EKEYREJECTED, -EPROTO, -EPIPE and -ENOSYS (amp_shake_step). -EINTR, -ETIMEDOUT: not yet. While it waits it
   answers at the listeners that are this process's alone, so that a process can connect to
   itself. */
int amp_connect(struct amp_connecting *connecting, amp_time deadline, struct amp_what *what);

/* Gives up. */
void amp_connect_end(struct amp_connecting *connecting);

/*
 * Listening.
 */

#define AMP_PENDING_MAX 64 /* handshakes that a listener has at a time */

/* How long a handshake may take: 10 seconds. May be changed by tests, before there is one. */
extern amp_time amp_handshake_time;

/* 0 or a negative errno; -EADDRINUSE for a path that a server which is gone has left is
   -EADDRNOTAVAIL, and for one that is no socket -ENOTSOCK. The key is copied. */
int amp_listen(const struct amp_address *address, const struct amp_terms *terms,
               struct amp_endpoint **listener);

/* Where it listens in fact. */
int amp_listener_address(struct amp_endpoint *listener, struct amp_address *address);

/* A descriptor that is readable when there may be something to do; or a negative errno. */
int amp_listener_descriptor(struct amp_endpoint *listener);

/* Goes on with all handshakes. True when a take would not give -EAGAIN. */
bool amp_listener_advance(struct amp_endpoint *listener);

/* 0: a connection, whose handshake is done. Or why the next one failed: -EKEYREJECTED, -EPROTO, -EPIPE,
   or what the system says of accept. -EAGAIN: there is none. */
int amp_listener_take(struct amp_endpoint *listener, struct amp_endpoint **made);

/* Waits until there is something to take: 0, or as amp_wait_descriptors. */
int amp_listener_wait(struct amp_endpoint *listener, amp_time deadline, struct amp_what *what);

/*
 * Messages. `cell` is the endpoint's.
 */

/* As amp_stream_read, but it waits: also -ETIMEDOUT, -EINTR. */
int amp_endpoint_receive(struct amp_endpoint *endpoint, struct amp_cell *cell, uint64_t max,
                         unsigned char **bytes, size_t *length, amp_time deadline,
                         struct amp_what *what);

/* Sends a message. *begun is false at first; once true, a part of it is sent and the rest kept:
   after -EINTR a call with it true sends what is left, and does not look at the bytes. 0; -EPIPE;
   -EMSGSIZE: longer than stream.max_out; -EINTR, -ETIMEDOUT, -ENOMEM. */
int amp_endpoint_send(struct amp_endpoint *endpoint, struct amp_cell *cell, const void *bytes,
                      size_t length, bool *begun, amp_time deadline, struct amp_what *what);

/* True when there is nothing to wait for before a receive, whatever the descriptor says. */
bool amp_endpoint_is_over(struct amp_endpoint *endpoint, struct amp_cell *cell);

/* At the end of each slice of a wait, for whatever it is: another side may be waiting for us to close, or to
   shut down what a death has torn. Once a slice for the whole process, however many threads wait: who
   holds what is looked for far and wide. */
void amp_endpoints_settle(void);

/* For tests: entries of this process. */
unsigned amp_endpoints(void);

extern const struct amp_kind_operations amp_socket_operations, amp_listener_operations;

#endif
