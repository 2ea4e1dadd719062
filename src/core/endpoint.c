/*
 * endpoint: see endpoint.h.
 */
#include "endpoint.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SLEEPER 1u /* flag of k_sending and k_receiving */

amp_time amp_handshake_time = 10 * AMP_SECOND;

#define COURTESY AMP_SECOND /* that a stranger has before it must make room for another */

/* A handshake of a listener's, or what became of one. */
struct pending {
    struct pending *next;
    int descriptor;
    int result; /* -EAGAIN: under way. 0: done. Else why it failed; then there is no descriptor */
    short events;
    amp_time since;
    struct amp_shake shake;
};

/* All under the table's mutex. */
struct amp_listening {
    struct amp_terms terms; /* the key is a copy */
    pid_t process;          /* that made it, and unlinks its path */
    bool has_path;
    char path[sizeof(struct sockaddr_un)];
    dev_t device;
    ino_t inode;
    int poll;               /* an epoll: of the socket, the handshakes and `ready`; -1: not yet */
    int ready;              /* an eventfd: 1 while there is something to take */
    bool is_shown;
    bool is_deaf;           /* the socket is not looked at: there is no room */
    int lost;               /* why a connection that came was closed: there was no memory for it; or 0 */
    struct pending *first;  /* the oldest */
    unsigned n;
};

/*
 * The table.
 */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct amp_endpoint *table; /* under the mutex */

static void drop_pending(struct amp_listening *listening);
static void close_polls(struct amp_listening *listening);

static void
before_fork(void)
{
    pthread_mutex_lock(&mutex);
    for (struct amp_endpoint *e = table; e != NULL; e = e->next)
        e->is_kept = e->handle != 0 && amp_holds(amp_self.member, e->handle);
}

static void
in_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The child has the thread that forked only. Half messages are the parent's, which goes on with
   them, and another thread may be about to change their memory: here they are forgotten as they
   are. So are handshakes. */
static void
in_child(void)
{
    for (struct amp_endpoint *e = table; e != NULL; e = e->next) {
        memset(&e->stream.in, 0, sizeof e->stream.in);
        memset(&e->stream.out, 0, sizeof e->stream.out);
        if (e->listening) {
            drop_pending(e->listening);
            close_polls(e->listening);
        }
        if (!e->is_kept && e->stream.descriptor >= 0) {
            close(e->stream.descriptor);
            e->stream.descriptor = -1;
        }
    }
    pthread_mutex_unlock(&mutex);
}

/* Removes the path of a listener, if it is still its own: another may have come to its place. */
static void
unlink_path(struct amp_listening *listening)
{
    struct stat status;
    if (listening->has_path && listening->process == getpid() &&
        lstat(listening->path, &status) == 0 && status.st_dev == listening->device &&
        status.st_ino == listening->inode)
        unlink(listening->path);
    listening->has_path = false;
}

/* At the end of a process that ends by exit, whatever is still open. */
static void
unlink_paths(void)
{
    pthread_mutex_lock(&mutex);
    for (struct amp_endpoint *e = table; e != NULL; e = e->next) {
        if (e->listening)
            unlink_path(e->listening);
    }
    pthread_mutex_unlock(&mutex);
}

/* Before the process has its first entry: false when there is no memory for it. */
static bool
watch_process(void)
{
    static bool is_watching;
    pthread_mutex_lock(&mutex);
    if (!is_watching)
        is_watching = atexit(unlink_paths) == 0 &&
                      pthread_atfork(before_fork, in_parent, in_child) == 0;
    bool is_watched = is_watching;
    pthread_mutex_unlock(&mutex);
    return is_watched;
}

/* A new entry, which has the descriptor from here on; or NULL, and it is closed. */
static struct amp_endpoint *
new_endpoint(int descriptor)
{
    struct amp_endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (endpoint == NULL) {
        close(descriptor);
        return NULL;
    }
    endpoint->stream.descriptor = descriptor;
    return endpoint;
}

static void
enter_table(struct amp_endpoint *endpoint)
{
    endpoint->next = table;
    table = endpoint;
}

static void
free_endpoint(struct amp_endpoint *endpoint)
{
    struct amp_listening *listening = endpoint->listening;
    if (listening) {
        drop_pending(listening);
        close_polls(listening);
        if (listening->terms.key) {
            explicit_bzero((void *) listening->terms.key, listening->terms.key_length);
            free((void *) listening->terms.key);
        }
        free(listening);
    }
    amp_stream_end(&endpoint->stream);
    free(endpoint);
}

/* Under the mutex. */
static void
leave_table(struct amp_endpoint *endpoint)
{
    struct amp_endpoint **at = &table;
    while (*at != endpoint)
        at = &(*at)->next;
    *at = endpoint->next;
}

/* Closes what nobody here needs any more: the entry of `handle`, and those in doubt. Tells the other
   side of those that a death has torn. Under the mutex. */
static void
settle(amp_handle handle)
{
    struct amp_endpoint *next;
    for (struct amp_endpoint *e = table; e != NULL; e = next) {
        next = e->next;
        struct amp_cell *cell = e->listening ? NULL : amp_cell_of(e->handle);
        if (cell)
            amp_endpoint_is_over(e, cell);
        if (e->handle == 0 || (e->handle != handle && !e->is_doubtful))
            continue;
        unsigned holders = amp_holders(e->handle);
        e->is_doubtful = (holders & (AMP_HELD_HERE | AMP_CARRIED)) != 0;
        if (!e->is_doubtful) {
            leave_table(e);
            if (e->listening)
                unlink_path(e->listening);
            free_endpoint(e);
        }
    }
}

/* The cell has been let go of by one of us. */
static void
left(amp_handle handle)
{
    pthread_mutex_lock(&mutex);
    settle(handle);
    pthread_mutex_unlock(&mutex);
}

static struct amp_endpoint *
find(amp_handle handle)
{
    struct amp_endpoint *e = table;
    while (e != NULL && e->handle != handle)
        e = e->next;
    return e && e->stream.descriptor >= 0 ? e : NULL;
}

struct amp_endpoint *
amp_endpoint_find(amp_handle handle)
{
    pthread_mutex_lock(&mutex);
    struct amp_endpoint *endpoint = find(handle);
    pthread_mutex_unlock(&mutex);
    return endpoint;
}

void
amp_endpoint_bind(struct amp_endpoint *endpoint, amp_handle handle)
{
    struct amp_cell *cell = amp_cell_at(amp_handle_index(handle));
    cell->k_process = (uint32_t) getpid();
    pthread_mutex_lock(&mutex);
    endpoint->handle = handle;
    settle(0);
    pthread_mutex_unlock(&mutex);
}

void
amp_endpoint_discard(struct amp_endpoint *endpoint)
{
    pthread_mutex_lock(&mutex);
    leave_table(endpoint);
    if (endpoint->listening)
        unlink_path(endpoint->listening);
    free_endpoint(endpoint);
    pthread_mutex_unlock(&mutex);
}

unsigned
amp_endpoints(void)
{
    unsigned n = 0;
    pthread_mutex_lock(&mutex);
    settle(0);
    for (struct amp_endpoint *e = table; e != NULL; e = e->next)
        n += e->stream.descriptor >= 0;
    pthread_mutex_unlock(&mutex);
    return n;
}

/*
 * Listening.
 */

static void
drop_pending(struct amp_listening *listening)
{
    struct pending *next;
    for (struct pending *p = listening->first; p != NULL; p = next) {
        next = p->next;
        if (p->descriptor >= 0)
            close(p->descriptor);
        free(p);
    }
    listening->first = NULL;
    listening->n = 0;
    listening->lost = 0;
}

static void
close_polls(struct amp_listening *listening)
{
    if (listening->poll >= 0)
        close(listening->poll);
    if (listening->ready >= 0)
        close(listening->ready);
    listening->poll = listening->ready = -1;
    listening->is_shown = listening->is_deaf = false;
}

static int
control(int poll, int operation, int descriptor, uint32_t events)
{
    struct epoll_event event = {.events = events};
    return epoll_ctl(poll, operation, descriptor, &event) == 0 ? 0 : -errno;
}

/* Makes what a listener is polled by, anew in a forked child. */
static int
make_polls(struct amp_endpoint *endpoint)
{
    struct amp_listening *listening = endpoint->listening;
    if (listening->poll >= 0)
        return 0;
    int failure = 0;
    listening->poll = epoll_create1(EPOLL_CLOEXEC);
    listening->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listening->poll < 0 || listening->ready < 0)
        failure = -errno;
    if (failure == 0)
        failure = control(listening->poll, EPOLL_CTL_ADD, endpoint->stream.descriptor, EPOLLIN);
    if (failure == 0)
        failure = control(listening->poll, EPOLL_CTL_ADD, listening->ready, EPOLLIN);
    if (failure != 0)
        close_polls(listening);
    return failure;
}

/* The first whose handshake is over, and where the pointer to it is. */
static struct pending **
first_result(struct amp_listening *listening)
{
    struct pending **at = &listening->first;
    while (*at != NULL && (*at)->result == -EAGAIN)
        at = &(*at)->next;
    return *at ? at : NULL;
}

static bool
has_result(struct amp_listening *listening)
{
    return first_result(listening) != NULL || listening->lost != 0;
}

static void
show_readiness(struct amp_listening *listening)
{
    bool is_ready = has_result(listening);
    uint64_t count = 1;
    ssize_t done = 0;
    if (is_ready && !listening->is_shown)
        done = write(listening->ready, &count, sizeof count);
    else if (!is_ready && listening->is_shown)
        done = read(listening->ready, &count, sizeof count);
    (void) done; /* it does not block, and cannot overflow */
    listening->is_shown = is_ready;
}

static void
remove_pending(struct amp_listening *listening, struct pending **at)
{
    struct pending *p = *at;
    *at = p->next;
    listening->n--;
    if (p->descriptor >= 0)
        close(p->descriptor);
    free(p);
}

/* Goes on with a handshake. One that fails stays only as the reason; one that ends before it has
   said anything was no client's, and goes. */
static void
step(struct amp_listening *listening, struct pending **at)
{
    struct pending *p = *at;
    short events = p->events;
    p->result = amp_shake_step(&p->shake, p->descriptor, &p->events);
    if (p->result == -EAGAIN && amp_now() < p->since + amp_handshake_time) {
        if (events != p->events)
            control(listening->poll, EPOLL_CTL_MOD, p->descriptor, (uint32_t) p->events);
        return;
    }
    if (p->result == -EAGAIN || (p->result == -EPIPE && p->shake.in_done == 0)) {
        remove_pending(listening, at);
        return;
    }
    if (p->result == 0) {
        control(listening->poll, EPOLL_CTL_DEL, p->descriptor, 0);
    } else {
        close(p->descriptor);
        p->descriptor = -1;
    }
}

static void
begin_pending(struct amp_listening *listening, int descriptor)
{
    struct pending *p = calloc(1, sizeof *p);
    int failure = p ? amp_shake_begin(&p->shake, &listening->terms) : -ENOMEM;
    if (failure == 0)
        failure = control(listening->poll, EPOLL_CTL_ADD, descriptor, EPOLLIN);
    if (failure != 0) {
        close(descriptor);
        free(p);
        listening->lost = failure;
        return;
    }
    int yes = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* fails for paths */
    p->descriptor = descriptor;
    p->result = -EAGAIN;
    p->events = POLLIN;
    p->since = amp_now();
    struct pending **at = &listening->first;
    while (*at != NULL)
        at = &(*at)->next;
    *at = p;
    listening->n++;
    step(listening, at);
}

/* Makes room for another: the oldest that is under way goes, if it has had time to say who it is. Of
   many that come at once, the others wait in the system's queue. */
static bool
make_room(struct amp_listening *listening)
{
    if (listening->n < AMP_PENDING_MAX)
        return true;
    struct pending **at = &listening->first;
    while (*at != NULL && (*at)->result != -EAGAIN)
        at = &(*at)->next;
    if (*at == NULL || amp_now() < (*at)->since + COURTESY)
        return false;
    remove_pending(listening, at);
    return true;
}

/* While there is no room, a connection that waits must not wake who waits for one. */
static void
listen_if_room(struct amp_endpoint *endpoint)
{
    struct amp_listening *listening = endpoint->listening;
    bool is_deaf = listening->n >= AMP_PENDING_MAX;
    if (is_deaf != listening->is_deaf)
        control(listening->poll, EPOLL_CTL_MOD, endpoint->stream.descriptor, is_deaf ? 0 : EPOLLIN);
    listening->is_deaf = is_deaf;
}

/* Under the mutex. 0, or why the system gives no connection. */
static int
advance(struct amp_endpoint *endpoint)
{
    struct amp_listening *listening = endpoint->listening;
    int failure = make_polls(endpoint);
    if (failure != 0)
        return failure;
    for (struct pending **at = &listening->first; *at != NULL;) {
        struct pending *p = *at;
        if (p->result == -EAGAIN)
            step(listening, at);
        if (*at == p)
            at = &p->next;
    }
    for (unsigned i = 0; i < AMP_PENDING_MAX && make_room(listening); i++) {
        int descriptor = accept4(endpoint->stream.descriptor, NULL, NULL, SOCK_CLOEXEC);
        if (descriptor >= 0)
            begin_pending(listening, descriptor);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            failure = -errno, i = AMP_PENDING_MAX;
        /* else it was that connection's failure */
    }
    listen_if_room(endpoint);
    show_readiness(listening);
    return failure;
}

bool
amp_listener_advance(struct amp_endpoint *listener)
{
    amp_endpoints_settle();
    pthread_mutex_lock(&mutex);
    bool is_ready = advance(listener) != 0 || has_result(listener->listening);
    pthread_mutex_unlock(&mutex);
    return is_ready;
}

int
amp_listener_descriptor(struct amp_endpoint *listener)
{
    pthread_mutex_lock(&mutex);
    int result = make_polls(listener);
    if (result == 0)
        result = listener->listening->poll;
    pthread_mutex_unlock(&mutex);
    return result;
}

/* The result that is to be taken next; under the mutex. */
static int
take(struct amp_endpoint *listener, struct amp_endpoint **made)
{
    struct amp_listening *listening = listener->listening;
    int failure = advance(listener);
    struct pending **at = first_result(listening);
    if (at == NULL) {
        if (failure == 0) {
            failure = listening->lost;
            listening->lost = 0;
            show_readiness(listening);
        }
        return failure != 0 ? failure : -EAGAIN;
    }
    struct pending *p = *at;
    int result = p->result;
    if (result == 0) {
        *made = new_endpoint(p->descriptor);
        if (*made) {
            amp_stream_begin(&(*made)->stream, p->descriptor, &p->shake);
            enter_table(*made);
        } else {
            result = -ENOMEM;
        }
        p->descriptor = -1;
    }
    remove_pending(listening, at);
    listen_if_room(listener);
    show_readiness(listening);
    return result;
}

int
amp_listener_take(struct amp_endpoint *listener, struct amp_endpoint **made)
{
    pthread_mutex_lock(&mutex);
    int result = take(listener, made);
    pthread_mutex_unlock(&mutex);
    return result;
}

int
amp_listener_wait(struct amp_endpoint *listener, amp_time deadline, struct amp_what *what)
{
    while (!amp_listener_advance(listener)) {
        int descriptor = amp_listener_descriptor(listener);
        if (descriptor < 0)
            return descriptor;
        int result = amp_stream_wait(descriptor, POLLIN, deadline, what);
        if (result != 0)
            return result;
    }
    return 0;
}

/* Why a path is in use: somebody listens there, or nobody does any more, or it is no socket. */
static int
explain_in_use(const struct amp_address *address)
{
    struct stat status;
    if (address->any.sa_family != AF_UNIX || address->path.sun_path[0] == '\0')
        return -EADDRINUSE;
    if (stat(address->path.sun_path, &status) == 0 && !S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return -EADDRINUSE;
    bool is_refused = connect(descriptor, &address->any, address->length) != 0 &&
                      errno == ECONNREFUSED;
    close(descriptor);
    return is_refused ? -EADDRNOTAVAIL : -EADDRINUSE;
}

static int
bind_socket(int descriptor, const struct amp_address *address)
{
    int yes = 1;
    if (address->any.sa_family != AF_UNIX)
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(descriptor, &address->any, address->length) != 0)
        return errno == EADDRINUSE ? explain_in_use(address) : -errno;
    return 0;
}

static int
fill_in(struct amp_listening *listening, const struct amp_terms *terms)
{
    struct amp_shake trial;
    listening->poll = listening->ready = -1;
    listening->process = getpid();
    listening->terms = *terms;
    listening->terms.key = NULL;
    if (terms->key) {
        unsigned char *key = malloc(terms->key_length);
        if (key == NULL)
            return -ENOMEM;
        memcpy(key, terms->key, terms->key_length);
        listening->terms.key = key;
    }
    return amp_shake_begin(&trial, &listening->terms); /* what every one would fail for */
}

/* The path that the socket has just been bound to is this listener's. */
static void
note_path(struct amp_listening *listening, const struct amp_address *address)
{
    struct stat status;
    if (address->any.sa_family == AF_UNIX && address->path.sun_path[0] != '\0' &&
        lstat(address->path.sun_path, &status) == 0) {
        strcpy(listening->path, address->path.sun_path);
        listening->has_path = true;
        listening->device = status.st_dev;
        listening->inode = status.st_ino;
    }
}

int
amp_listen(const struct amp_address *address, const struct amp_terms *terms,
           struct amp_endpoint **listener)
{
    if (!watch_process())
        return -ENOMEM;
    int descriptor = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return -errno;
    struct amp_endpoint *endpoint = new_endpoint(descriptor);
    if (endpoint == NULL)
        return -ENOMEM;
    endpoint->listening = calloc(1, sizeof *endpoint->listening);
    int failure = endpoint->listening ? fill_in(endpoint->listening, terms) : -ENOMEM;
    if (failure == 0)
        failure = bind_socket(descriptor, address); /* no earlier: from here on it has a path */
    if (failure == 0)
        note_path(endpoint->listening, address);
    if (failure == 0 && listen(descriptor, SOMAXCONN) != 0)
        failure = errno == EADDRINUSE ? explain_in_use(address) : -errno;
    pthread_mutex_lock(&mutex);
    if (failure == 0)
        failure = make_polls(endpoint);
    enter_table(endpoint);
    pthread_mutex_unlock(&mutex);
    if (failure != 0) {
        amp_endpoint_discard(endpoint);
        return failure;
    }
    *listener = endpoint;
    return 0;
}

int
amp_listener_address(struct amp_endpoint *listener, struct amp_address *address)
{
    address->length = sizeof address->storage;
    memset(&address->storage, 0, sizeof address->storage);
    return getsockname(listener->stream.descriptor, &address->any, &address->length) == 0 ? 0
                                                                                          : -errno;
}

/*
 * Connecting.
 */

enum { NOT_BEGUN, CALLING, SHAKING, DONE };

#define OWN_LISTENERS 16 /* that are answered at while we wait */

/* Answers at the listeners that no other process holds, and so nobody else would: their
   descriptors, for the wait. */
static unsigned
serve_own_listeners(struct pollfd *polls)
{
    unsigned n = 0;
    pthread_mutex_lock(&mutex);
    settle(0);
    for (struct amp_endpoint *e = table; e != NULL && n < OWN_LISTENERS; e = e->next) {
        if (e->listening == NULL || e->handle == 0 || e->listening->process != getpid() ||
            (amp_holders(e->handle) & (AMP_HELD_ELSEWHERE | AMP_CARRIED)) != 0)
            continue;
        /* One with something to take stays readable: that is nothing to wait for here. */
        if (advance(e) == 0 && !has_result(e->listening))
            polls[n++] = (struct pollfd) {.fd = e->listening->poll, .events = POLLIN};
    }
    pthread_mutex_unlock(&mutex);
    return n;
}

/* Waits for the events, and for something to do at a listener of ours. */
static int
wait_and_serve(int descriptor, short events, amp_time deadline, struct amp_what *what)
{
    struct pollfd polls[1 + OWN_LISTENERS] = {{.fd = descriptor, .events = events}};
    unsigned n = 1 + serve_own_listeners(polls + 1);
    int result = amp_wait_descriptors(polls, n, deadline, what);
    return result > 0 ? 0 : result;
}

static int
begin_call(struct amp_connecting *c)
{
    if (!watch_process())
        return -ENOMEM;
    int descriptor = socket(c->address.any.sa_family,
                            SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return -errno;
    c->endpoint = new_endpoint(descriptor);
    if (c->endpoint == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&mutex);
    enter_table(c->endpoint);
    pthread_mutex_unlock(&mutex);
    return amp_shake_begin(&c->shake, &c->terms);
}

/* One attempt: 0, -EINPROGRESS, -EAGAIN (a path's queue is full), or why not. */
static int
call(struct amp_connecting *c)
{
    int descriptor = c->endpoint->stream.descriptor;
    if (connect(descriptor, &c->address.any, c->address.length) == 0 || errno == EISCONN)
        return 0;
    return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

static int
connect_step(struct amp_connecting *c, amp_time deadline, struct amp_what *what)
{
    int descriptor = c->endpoint ? c->endpoint->stream.descriptor : -1;
    int result, error = 0, yes = 1;
    socklen_t size = sizeof error;
    short events;
    switch (c->phase) {
    case NOT_BEGUN:
        result = begin_call(c);
        c->phase = CALLING;
        return result;
    case CALLING:
        result = call(c);
        if (result == -EAGAIN) {
            /* Nothing tells when there is room. */
            amp_time soon = amp_now() + 5 * AMP_MILLISECOND;
            result = wait_and_serve(-1, 0, deadline < soon ? deadline : soon, what);
            return result == -ETIMEDOUT && deadline > amp_now() ? 0 : result;
        }
        if (result == -EINPROGRESS) {
            result = wait_and_serve(descriptor, POLLOUT, deadline, what);
            if (result == 0 && getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
                result = -error;
            return result;
        }
        if (result == 0) {
            setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            c->phase = SHAKING;
        }
        return result;
    case SHAKING:
        result = amp_shake_step(&c->shake, descriptor, &events);
        if (result == -EAGAIN)
            return wait_and_serve(descriptor, events, deadline, what);
        if (result == 0) {
            amp_stream_begin(&c->endpoint->stream, descriptor, &c->shake);
            c->phase = DONE;
        }
        return result;
    }
    return 0;
}

int
amp_connect(struct amp_connecting *c, amp_time deadline, struct amp_what *what)
{
    int result = 0;
    while (result == 0 && c->phase != DONE)
        result = connect_step(c, deadline, what);
    return result;
}

void
amp_connect_end(struct amp_connecting *c)
{
    if (c->endpoint)
        amp_endpoint_discard(c->endpoint);
    c->endpoint = NULL;
    c->phase = NOT_BEGUN;
}

/*
 * Messages.
 */

static uint32_t
my_mark(void)
{
    return (amp_self.member + 1) << 1;
}

/* A message is under way, and its rest is ours. The caller has the direction's lock. */
static void
mark(amp_word *word)
{
    uint32_t old = atomic_load_explicit(word, memory_order_relaxed);
    /* Another thread's mark, whose message goes on here, may get a sleeper at any time. */
    while ((old & ~SLEEPER) != my_mark() &&
           !atomic_compare_exchange_weak(word, &old, my_mark() | (old & SLEEPER)))
        continue;
    AMP_COMPILER_BARRIER(); /* before the first byte */
}

/* It is no more. Wakes those who waited for that. */
static void
unmark(amp_word *word)
{
    uint32_t old = atomic_load_explicit(word, memory_order_relaxed);
    AMP_COMPILER_BARRIER();
    if (old == 0 || (!(old & SLEEPER) && atomic_compare_exchange_strong(word, &old, 0)))
        return;
    amp_futex.set_and_wake(word, 0, AMP_WAKE_ALL);
}

static void
set_over(struct amp_endpoint *endpoint, struct amp_cell *cell, uint32_t over)
{
    atomic_fetch_or(&cell->k_over, over);
    shutdown(endpoint->stream.descriptor,
             over & AMP_NO_WRITING ? (over & AMP_NO_READING ? SHUT_RDWR : SHUT_WR) : SHUT_RD);
}

/* The table's lock of objects is taken behind a connection's: nobody who has it wants a connection's. */
void
amp_endpoints_settle(void)
{
    static _Atomic amp_time last;
    amp_time now = amp_now(), before = last;
    if (now - before < AMP_SLICE || !atomic_compare_exchange_strong(&last, &before, now))
        return;
    pthread_mutex_lock(&mutex);
    settle(0);
    pthread_mutex_unlock(&mutex);
}

bool
amp_endpoint_is_over(struct amp_endpoint *endpoint, struct amp_cell *cell)
{
    uint32_t over = atomic_load(&cell->k_over);
    if (over & AMP_TORN)
        shutdown(endpoint->stream.descriptor, SHUT_RDWR); /* so that the other side sees it */
    return (over & AMP_NO_READING) != 0;
}

/* Sleeps until the message is done that another is in the middle of, or until that one is dead: its burial
   says that all is over. To look for the dead once, when its lock has come to us, would be too early: the
   kernel gives a dead thread's locks away one by one, its life last. */
static int
wait_for_mark(amp_word *word, uint32_t seen, amp_time deadline, struct amp_what *what)
{
    uint32_t member = (seen >> 1) - 1;
    uint32_t generation = amp_member_generation(amp_member_at(member));
    uint32_t expected[2] = {seen | SLEEPER};
    if (deadline == AMP_AT_ONCE)
        return -ETIMEDOUT;
    if (seen != expected[0] && !atomic_compare_exchange_strong(word, &seen, expected[0]))
        return 0;
    /* The mark still stood, so the slot was still that member's. */
    amp_word *words[2] = {word, amp_member_life(member, generation, &expected[1])};
    if (words[1] != NULL)
        return amp_wait_many(words, expected, 2, deadline, what);
    amp_member_bury(member, generation, false);
    return 0;
}

/* Takes the lock of a direction, when no other process is in the middle of a message. */
static int
enter(struct amp_endpoint *endpoint, struct amp_cell *cell, uint32_t over, amp_time deadline,
      struct amp_what *what)
{
    bool reads = over == AMP_NO_READING;
    struct amp_lock *lock = reads ? &cell->c_lock1 : &cell->c_lock0;
    amp_word *word = reads ? &cell->k_receiving : &cell->k_sending;
    for (;;) {
        int result = amp_lock_acquire(lock, deadline, what);
        if (result < 0)
            return result;
        bool is_ours = reads ? amp_stream_is_reading(&endpoint->stream)
                             : endpoint->stream.out.rest != NULL;
        uint32_t seen = atomic_load(word);
        amp_endpoint_is_over(endpoint, cell);
        if (atomic_load(&cell->k_over) & over) {
            amp_lock_leave(lock);
            return -EPIPE;
        }
        if ((seen & ~SLEEPER) == 0 || is_ours)
            return 0;
        amp_lock_leave(lock);
        result = wait_for_mark(word, seen, deadline, what);
        if (result < 0)
            return result;
    }
}

/* It pays to look for a moment before one sleeps if the other side can act meanwhile, which it cannot when it
   shares a processor with us, as where other work has the rest of them. So who has looked in vain some times in a row looks
   in the first eighth of every two milliseconds only. These times are the same for all, so two who answer
   each other find each other awake again as soon as both can be. */
#define VAIN_LOOKS 4
#define LOOKING_PERIOD (1 << 21) /* nanoseconds; a power of two */
#define LOOKING_TIME (LOOKING_PERIOD / 8)

static __thread unsigned vain_looks; /* since one found something */

/* Looks for as long as amp_spin does: each look is a system call, which lasts some ten pauses. No look reads, so
   none needs a mark, with which who is killed would tear the connection. */
static int
look_for_bytes(const struct amp_stream *stream, struct amp_what *what)
{
    int result = -ETIMEDOUT;
    if (vain_looks >= VAIN_LOOKS && amp_now() % LOOKING_PERIOD >= LOOKING_TIME)
        return result;
    for (int looks = amp_spins / 10; result == -ETIMEDOUT && looks > 0; looks--)
        result = amp_stream_wait(stream->descriptor, POLLIN, AMP_AT_ONCE, what);
    vain_looks = result == -ETIMEDOUT ? vain_looks + 1 : 0;
    return result;
}

static int
wait_for_bytes(const struct amp_stream *stream, amp_time deadline, struct amp_what *what)
{
    int result = -ETIMEDOUT;
    if (what->since == 0 && deadline != AMP_AT_ONCE)
        result = look_for_bytes(stream, what);
    return result == -ETIMEDOUT ? amp_stream_wait(stream->descriptor, POLLIN, deadline, what)
                                : result;
}

int
amp_endpoint_receive(struct amp_endpoint *endpoint, struct amp_cell *cell, uint64_t max,
                     unsigned char **bytes, size_t *length, amp_time deadline,
                     struct amp_what *what)
{
    int result = enter(endpoint, cell, AMP_NO_READING, deadline, what);
    if (result != 0)
        return result;
    do {
        mark(&cell->k_receiving);
        result = amp_stream_read(&endpoint->stream, max, bytes, length);
        if (!amp_stream_is_reading(&endpoint->stream))
            unmark(&cell->k_receiving);
        if (result != -EAGAIN)
            break;
        result = wait_for_bytes(&endpoint->stream, deadline, what);
        amp_endpoint_is_over(endpoint, cell); /* by the death of one who sent */
        amp_endpoints_settle();
    } while (result == 0);
    if (result == -EMSGSIZE)
        set_over(endpoint, cell, AMP_NO_READING);
    amp_lock_leave(&cell->c_lock1);
    return result;
}

/* TCP takes what is sent to one that has closed, and only then learns of it. A luamp that has
   ended its side for good reads no more. */
static bool
has_hung_up(const struct amp_stream *stream)
{
    struct pollfd poll = {.fd = stream->descriptor, .events = POLLRDHUP};
    struct amp_what what = {.uninterruptible = true};
    return stream->is_inet && amp_wait_descriptors(&poll, 1, AMP_AT_ONCE, &what) > 0 &&
           (poll.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* The other processes' holders may not send into the middle of what was begun. */
static void
tear(struct amp_endpoint *endpoint, struct amp_cell *cell)
{
    set_over(endpoint, cell, AMP_TORN | AMP_NO_READING | AMP_NO_WRITING);
}

/* The lock is held. Sends what was kept, then the message: `done` bytes of it are sent. */
static int
send_locked(struct amp_endpoint *endpoint, struct amp_cell *cell, const void *bytes, size_t length,
            bool *begun, amp_time deadline, struct amp_what *what)
{
    struct amp_stream *stream = &endpoint->stream;
    size_t done = 0;
    for (;;) {
        mark(&cell->k_sending);
        int result = stream->out.rest ? amp_stream_flush(stream) : 0;
        if (result == 0 && !*begun)
            result = amp_stream_write(stream, bytes, length, &done);
        if (result != -EAGAIN)
            return result;
        if (stream->out.rest == NULL && done == 0)
            unmark(&cell->k_sending);
        result = amp_stream_wait(stream->descriptor, POLLOUT, deadline, what);
        if (result == 0)
            continue;
        if (done > 0) {
            if (amp_stream_keep(stream, bytes, length, done) != 0) {
                tear(endpoint, cell);
                return -ENOMEM;
            }
            *begun = true;
        }
        return result;
    }
}

int
amp_endpoint_send(struct amp_endpoint *endpoint, struct amp_cell *cell, const void *bytes,
                  size_t length, bool *begun, amp_time deadline, struct amp_what *what)
{
    if (!*begun && length > endpoint->stream.max_out)
        return -EMSGSIZE;
    int result = enter(endpoint, cell, AMP_NO_WRITING, deadline, what);
    if (result != 0)
        return result;
    if (!*begun && has_hung_up(&endpoint->stream))
        result = -EPIPE;
    else
        result = send_locked(endpoint, cell, bytes, length, begun, deadline, what);
    if (result == -EPIPE)
        set_over(endpoint, cell, AMP_NO_WRITING);
    if (endpoint->stream.out.rest == NULL)
        unmark(&cell->k_sending);
    amp_lock_leave(&cell->c_lock0);
    return result;
}

/*
 * Kinds.
 */

/* Who goes with a half message tears the stream. Where this process has it, the other side is told at
   once; those who share it tell it at the end of a slice. */
static void
socket_bury(struct amp_cell *cell, uint32_t member)
{
    amp_word *const words[2] = {&cell->k_sending, &cell->k_receiving};
    for (int i = 0; i < 2; i++) {
        uint32_t seen = atomic_load(words[i]);
        if (seen >> 1 != member + 1)
            continue;
        atomic_fetch_or(&cell->k_over, AMP_TORN | AMP_NO_READING | AMP_NO_WRITING);
        amp_futex.set_and_wake(words[i], 0, AMP_WAKE_ALL);
        pthread_mutex_lock(&mutex);
        struct amp_endpoint *endpoint = find(amp_cell_handle(cell));
        if (endpoint)
            amp_endpoint_is_over(endpoint, cell);
        pthread_mutex_unlock(&mutex);
    }
}

const struct amp_kind_operations amp_socket_operations = {.bury = socket_bury, .left = left};

/* A child ends by _exit, after it has buried itself: the paths of its listeners go with it. */
static void
listener_bury(struct amp_cell *cell, uint32_t member)
{
    if (amp_self.member != AMP_NOBODY ||
        atomic_load(&amp_member_at(member)->m_pid) != (uint32_t) getpid())
        return;
    pthread_mutex_lock(&mutex);
    struct amp_endpoint *endpoint = find(amp_cell_handle(cell));
    if (endpoint && endpoint->listening && getpid() == (pid_t) amp_self.tid)
        unlink_path(endpoint->listening);
    pthread_mutex_unlock(&mutex);
}

const struct amp_kind_operations amp_listener_operations = {.bury = listener_bury, .left = left};
