/*
 * Streams and endpoints: handshakes, frames in pieces, and who shares a connection.
 */
#include "tap.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#define LARGE (4 << 20) /* more than a socket's buffers take */

static struct amp_terms
terms(const char *key, bool is_listener)
{
    return (struct amp_terms) {
        .key = (const unsigned char *) key,
        .key_length = key ? strlen(key) : 0,
        .max_message = 2 * LARGE,
        .is_listener = is_listener,
    };
}

static void
make_pair(int pair[2])
{
    tap_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
}

/*
 * Handshakes.
 */

struct shaken {
    struct amp_shake client, listener;
    int of_client, of_listener;
};

static void
shake(const char *client_key, const char *listener_key, struct shaken *s, int pair[2])
{
    short events;
    struct amp_terms client = terms(client_key, false), listener = terms(listener_key, true);
    make_pair(pair);
    tap_need(amp_shake_begin(&s->client, &client) == 0);
    tap_need(amp_shake_begin(&s->listener, &listener) == 0);
    s->of_client = s->of_listener = -EAGAIN;
    for (int i = 0; i < 10; i++) {
        if (s->of_client == -EAGAIN)
            s->of_client = amp_shake_step(&s->client, pair[0], &events);
        if (s->of_listener == -EAGAIN)
            s->of_listener = amp_shake_step(&s->listener, pair[1], &events);
    }
}

static void
close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static void
test_handshakes(void)
{
    static struct shaken s;
    int pair[2];
    static const struct {
        const char *client, *listener, *name;
        int result;
    } cases[] = {
        {NULL, NULL, "no key", 0},
        {"key", "key", "the same key", 0},
        {"key", "kez", "another key", -EKEYREJECTED},
        {"key", "key2", "a longer one", -EKEYREJECTED},
        {"key", NULL, "the client's alone", -EKEYREJECTED},
        {NULL, "key", "the listener's alone", -EKEYREJECTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        shake(cases[i].client, cases[i].listener, &s, pair);
        is(s.of_client, cases[i].result, "%s: the client", cases[i].name);
        is(s.of_listener, cases[i].result, "%s: the listener", cases[i].name);
        close_pair(pair);
    }
}

/* Whoever sends back what it gets proves nothing, and nor does a proof of another connection. */
static void
test_replays(void)
{
    static struct shaken s;
    static struct amp_shake again;
    unsigned char bytes[AMP_HELLO_SIZE + AMP_PROOF_SIZE];
    struct amp_terms listener = terms("key", true);
    int pair[2];
    short events;

    make_pair(pair);
    tap_need(amp_shake_begin(&again, &listener) == 0);
    is(amp_shake_step(&again, pair[1], &events), -EAGAIN, "a listener begins");
    tap_need(recv(pair[0], bytes, AMP_HELLO_SIZE, 0) == AMP_HELLO_SIZE);
    tap_need(send(pair[0], bytes, AMP_HELLO_SIZE, 0) == AMP_HELLO_SIZE);
    is(amp_shake_step(&again, pair[1], &events), -EAGAIN, "it gets its own hello");
    tap_need(recv(pair[0], bytes, AMP_PROOF_SIZE, 0) == AMP_PROOF_SIZE);
    tap_need(send(pair[0], bytes, AMP_PROOF_SIZE, 0) == AMP_PROOF_SIZE);
    is(amp_shake_step(&again, pair[1], &events), -EKEYREJECTED, "its own proof is none");
    close_pair(pair);

    shake("key", "key", &s, pair);
    close_pair(pair);
    make_pair(pair);
    tap_need(amp_shake_begin(&again, &listener) == 0);
    tap_need(send(pair[0], s.client.out, sizeof s.client.out, 0) == sizeof s.client.out);
    is(amp_shake_step(&again, pair[1], &events), -EKEYREJECTED, "an overheard one is none");
    close_pair(pair);

    make_pair(pair);
    tap_need(amp_shake_begin(&again, &listener) == 0);
    tap_need(send(pair[0], "luamq", 5, 0) == 5);
    is(amp_shake_step(&again, pair[1], &events), -EPROTO, "the first wrong byte ends it");
    close_pair(pair);

    make_pair(pair);
    tap_need(amp_shake_begin(&again, &listener) == 0);
    tap_need(send(pair[0], s.client.out, 20, 0) == 20);
    close(pair[0]);
    is(amp_shake_step(&again, pair[1], &events), -EPIPE, "half a hello and the end");
    close(pair[1]);
}

/*
 * Frames.
 */

static void
make_streams(struct amp_stream streams[2])
{
    static struct shaken s;
    int pair[2];
    shake(NULL, NULL, &s, pair);
    tap_need(s.of_client == 0 && s.of_listener == 0);
    amp_stream_begin(&streams[0], pair[0], &s.client);
    amp_stream_begin(&streams[1], pair[1], &s.listener);
}

static unsigned char *
large(void)
{
    unsigned char *bytes = malloc(LARGE);
    tap_need(bytes != NULL);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (unsigned char) (i * 31 >> 3);
    return bytes;
}

static void
test_frames(void)
{
    struct amp_stream s[2];
    unsigned char *bytes, *got, *sent = large();
    size_t length, done = 0;
    make_streams(s);
    is(amp_stream_read(&s[1], UINT64_MAX, &got, &length), -EAGAIN, "nothing came");
    is(amp_stream_write(&s[0], "", 0, &done), 0, "an empty frame");
    done = 0;
    is(amp_stream_write(&s[0], "hello", 5, &done), 0, "a short one");
    is(amp_stream_read(&s[1], UINT64_MAX, &got, &length), 0, "the empty one comes");
    is(length, 0, "empty");
    free(got);
    is(amp_stream_read(&s[1], UINT64_MAX, &bytes, &length), 0, "the short one comes");
    ok(length == 5 && memcmp(bytes, "hello", 5) == 0, "as it was");
    free(bytes);

    int writes = 0, result;
    bool is_bounded = true;
    done = 0;
    do {
        result = amp_stream_write(&s[0], sent, LARGE, &done);
        writes++;
        if (amp_stream_read(&s[1], UINT64_MAX, &got, &length) == 0)
            break;
        is_bounded = is_bounded && s[1].in.room <= 2 * s[1].in.done + 4096;
    } while (result == -EAGAIN || result == 0);
    ok(writes > 1, "a long one goes in pieces");
    ok(is_bounded, "memory grows with what has come");
    ok(length == LARGE && memcmp(got, sent, LARGE) == 0, "it comes whole");
    free(got);

    done = 0;
    is(amp_stream_write(&s[0], sent, LARGE, &done), -EAGAIN, "one stops in the middle");
    is(amp_stream_keep(&s[0], sent, LARGE, done), 0, "the rest is kept");
    while (amp_stream_read(&s[1], UINT64_MAX, &got, &length) == -EAGAIN)
        amp_stream_flush(&s[0]);
    ok(length == LARGE && memcmp(got, sent, LARGE) == 0, "and goes on");
    free(got);

    done = 0;
    amp_stream_write(&s[0], "123456", 6, &done);
    is(amp_stream_read(&s[1], 5, &got, &length), -EMSGSIZE, "longer than asked for");
    amp_stream_end(&s[0]);
    amp_stream_end(&s[1]);

    make_streams(s);
    for (int header = 0; header < 2; header++) {
        static const unsigned char huge[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
        uint64_t allowed = 2 * LARGE;
        tap_need(send(s[0].descriptor, header ? huge : (void *) &allowed, 8, 0) == 8);
        is(amp_stream_read(&s[1], UINT64_MAX, &got, &length), header ? -EMSGSIZE : -EAGAIN,
           header ? "a huge length" : "a length that is allowed");
        ok(s[1].in.room <= 4096, "reserves nothing");
        amp_stream_drop_frame(&s[1]);
    }
    tap_need(send(s[0].descriptor, "\5\0\0\0\0\0\0\0ab", 10, 0) == 10);
    close(s[0].descriptor);
    is(amp_stream_read(&s[1], UINT64_MAX, &got, &length), -EPIPE, "the end in the middle");
    done = 0;
    is(amp_stream_write(&s[1], "x", 1, &done), -EPIPE, "and no SIGPIPE");
    amp_stream_end(&s[1]);
    free(sent);
}

/*
 * Endpoints.
 */

static struct amp_address
address(void)
{
    static int number;
    struct amp_address a;
    memset(&a, 0, sizeof a);
    a.path.sun_family = AF_UNIX;
    int n = snprintf(a.path.sun_path + 1, sizeof a.path.sun_path - 1, "luamp-test-stream-%d-%d",
                     (int) getpid(), ++number);
    a.length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) n);
    return a;
}

static struct amp_cell *
bound(struct amp_endpoint *endpoint, enum amp_kind kind)
{
    struct amp_cell *cell;
    tap_need(amp_cell_make(kind, "test", &cell) == 0);
    amp_endpoint_bind(endpoint, amp_cell_handle(cell));
    amp_cell_ready(cell);
    return cell;
}

struct connection {
    struct amp_endpoint *endpoint[2];
    struct amp_cell *cell[2];
};

/* Both ends in this process. */
static struct connection
connect_here(void)
{
    struct connection c;
    struct amp_address a = address();
    struct amp_terms listener_terms = terms(NULL, true);
    struct amp_endpoint *listener;
    struct amp_what what = {.kind = AMP_SOCKET};
    tap_need(amp_listen(&a, &listener_terms, &listener) == 0);
    struct amp_cell *listener_cell = bound(listener, AMP_LISTENER);
    struct amp_connecting connecting = {.address = a, .terms = terms(NULL, false)};
    tap_need(amp_connect(&connecting, amp_now() + TAP_PATIENCE, &what) == 0);
    c.endpoint[0] = connecting.endpoint;
    tap_need(amp_listener_wait(listener, amp_now() + TAP_PATIENCE, &what) == 0);
    tap_need(amp_listener_take(listener, &c.endpoint[1]) == 0);
    c.cell[0] = bound(c.endpoint[0], AMP_SOCKET);
    c.cell[1] = bound(c.endpoint[1], AMP_SOCKET);
    tap_unhold(listener_cell);
    return c;
}

static void
disconnect(struct connection *c)
{
    tap_unhold(c->cell[0]);
    tap_unhold(c->cell[1]);
}

static int
send_all(struct connection *c, int i, const void *bytes, size_t length, amp_time deadline)
{
    bool begun = false;
    struct amp_what what = {.kind = AMP_SOCKET};
    return amp_endpoint_send(c->endpoint[i], c->cell[i], bytes, length, &begun, deadline, &what);
}

/* The length of what came, or a failure. */
static long long
receive(struct connection *c, int i, amp_time deadline)
{
    unsigned char *bytes;
    size_t length;
    struct amp_what what = {.kind = AMP_SOCKET};
    int result = amp_endpoint_receive(c->endpoint[i], c->cell[i], UINT64_MAX, &bytes, &length,
                                      deadline, &what);
    if (result != 0)
        return result;
    free(bytes);
    return (long long) length;
}

static amp_time
soon(void)
{
    return amp_now() + 20 * AMP_MILLISECOND;
}

static void
test_table(void)
{
    struct tap_account before = tap_account();
    int open = tap_descriptors();
    struct connection c = connect_here();
    is(amp_endpoints(), 2, "two ends, and no listener any more");
    is(send_all(&c, 0, "hello", 5, AMP_FOREVER), 0, "sent");
    is(receive(&c, 1, AMP_FOREVER), 5, "received");
    is(receive(&c, 1, soon()), -ETIMEDOUT, "a receive waits no longer than it is told");
    is(receive(&c, 1, AMP_AT_ONCE), -ETIMEDOUT, "or not at all");
    tap_unhold(c.cell[0]);
    is(amp_endpoints(), 1, "one is let go of");
    is(receive(&c, 1, AMP_FOREVER), -EPIPE, "and closed");
    is(send_all(&c, 1, "x", 1, AMP_FOREVER), -EPIPE, "no SIGPIPE");
    tap_unhold(c.cell[1]);
    is(amp_endpoints(), 0, "no entry is left");
    is(tap_descriptors(), open, "no descriptor is left");
    tap_is_settled(before, "no object is left");
}

/* A handshake that says nothing ends by its time. */
static void
test_silence(void)
{
    struct amp_address a = address();
    struct amp_terms listener_terms = terms("key", true);
    struct amp_endpoint *listener, *made;
    tap_need(amp_listen(&a, &listener_terms, &listener) == 0);
    struct amp_cell *cell = bound(listener, AMP_LISTENER);
    amp_handshake_time = 20 * AMP_MILLISECOND;
    int stranger = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tap_need(connect(stranger, &a.any, a.length) == 0);
    ok(!amp_listener_advance(listener), "a stranger is nothing to accept");
    int open = tap_descriptors();
    tap_need(tap_until((amp_listener_advance(listener), tap_descriptors() == open - 1)));
    ok(true, "after its time it is dropped");
    is(amp_listener_take(listener, &made), -EAGAIN, "and not told");
    amp_handshake_time = 10 * AMP_SECOND;
    close(stranger);
    tap_unhold(cell);
}

static struct connection shared;
static _Atomic int *board;

static int
child_sends_half(void *argument)
{
    (void) argument;
    unsigned char *bytes = large();
    atomic_store(board, 1);
    send_all(&shared, 0, bytes, LARGE, AMP_FOREVER);
    return 0;
}

static int
child_looks(void *argument)
{
    (void) argument;
    return (int) amp_endpoints();
}

static void
test_forks(void)
{
    struct connection c = connect_here();
    struct connection dropped = connect_here();
    amp_handle handle = amp_cell_handle(dropped.cell[0]);
    /* As if another thread of this process held it: the forking one does not. */
    struct amp_endpoint *endpoint = dropped.endpoint[0];
    endpoint->handle = 0;
    struct amp_child child = tap_child(child_looks, NULL);
    is(tap_join(&child), 3, "the child has what the forking thread holds");
    endpoint->handle = handle;
    disconnect(&dropped);
    disconnect(&c);

    shared = connect_here();
    atomic_store(board, 0);
    child = tap_child(child_sends_half, NULL);
    tap_sleeps(&child, board);
    tap_need(tap_until(atomic_load(&shared.cell[0]->k_sending) != 0));
    is(send_all(&shared, 0, "x", 1, soon()), -ETIMEDOUT, "others wait for a message's end");
    tap_kill(&child);
    is(send_all(&shared, 0, "x", 1, amp_now() + TAP_PATIENCE), -EPIPE,
       "its death in the middle is the end of the stream");
    is(receive(&shared, 1, amp_now() + TAP_PATIENCE), -EPIPE, "for the other side as well");
    disconnect(&shared);
    amp_roster_sweep();
}

static struct amp_cell *event;

static int
child_waits_for_event(void *argument)
{
    (void) argument;
    struct amp_what what = {.kind = AMP_EVENT};
    struct amp_event e = amp_event_of(event);
    atomic_store(board, 1);
    return -amp_event_wait(&e, amp_now() + TAP_PATIENCE, &what);
}

/* Who shares a connection waits for something else, and who buries the dead has not got it. */
static void
test_torn_beside_an_idler(void)
{
    shared = connect_here();
    event = tap_object(AMP_EVENT, "event");
    atomic_store(board, 0);
    struct amp_child idler = tap_child(child_waits_for_event, NULL);
    tap_sleeps(&idler, board);
    atomic_store(board, 0);
    struct amp_child child = tap_child(child_sends_half, NULL);
    tap_sleeps(&child, board);
    tap_need(tap_until(atomic_load(&shared.cell[0]->k_sending) != 0));
    amp_handle handle = amp_cell_handle(shared.cell[0]);
    tap_unhold(shared.cell[0]);
    tap_need(amp_endpoint_find(handle) == NULL);
    tap_kill(&child);
    amp_roster_sweep();
    is(receive(&shared, 1, amp_now() + TAP_PATIENCE), -EPIPE,
       "a torn stream ends for the other side, though who shares it does not use it");
    struct amp_event e = amp_event_of(event);
    amp_event_set(&e);
    is(tap_join(&idler), 0, "who shares it goes on");
    tap_unhold(event);
    tap_unhold(shared.cell[1]);
}

static void
arrived(int signal)
{
    (void) signal;
    amp_signal_arrived();
}

static int
child_receives(void *argument)
{
    (void) argument;
    atomic_store(board, 1);
    long long first = receive(&shared, 1, AMP_FOREVER), second = receive(&shared, 1, AMP_FOREVER);
    return first == LARGE ? second == 4 ? 0 : 2 : 1;
}

/* A signal in the middle: the message belongs to the stream, and the next send goes on with it. */
static void
test_signals(void)
{
    unsigned char *bytes = large();
    struct amp_what what = {.kind = AMP_SOCKET};
    bool begun = false;
    struct sigaction action = {.sa_handler = arrived};
    struct itimerval timer = {.it_value = {.tv_usec = 50000}};
    sigaction(SIGALRM, &action, NULL);
    shared = connect_here();
    setitimer(ITIMER_REAL, &timer, NULL);
    is(amp_endpoint_send(shared.endpoint[0], shared.cell[0], bytes, LARGE, &begun, AMP_FOREVER,
                         &what), -EINTR, "a signal ends the wait");
    ok(begun, "a part is sent");
    amp_self.signalled = 0;
    is(amp_lock_owner(&shared.cell[0]->c_lock0), 0, "no lock is held");
    free(bytes);
    atomic_store(board, 0);
    struct amp_child child = tap_child(child_receives, NULL);
    is(send_all(&shared, 0, "next", 4, AMP_FOREVER), 0, "the next message");
    is(tap_join(&child), 0, "comes behind the whole of the first");
    is(atomic_load(&shared.cell[0]->k_sending), 0, "nothing is under way");
    disconnect(&shared);

    /* Half of a frame is received, and the deadline comes. */
    shared = connect_here();
    tap_need(send(shared.endpoint[0]->stream.descriptor, "\5\0\0\0\0\0\0\0ab", 10, 0) == 10);
    is(receive(&shared, 1, soon()), -ETIMEDOUT, "half a message");
    ok(atomic_load(&shared.cell[1]->k_receiving) != 0, "is this process's");
    tap_need(send(shared.endpoint[0]->stream.descriptor, "cde", 3, 0) == 3);
    is(receive(&shared, 1, AMP_FOREVER), 5, "and gone on with");
    is(atomic_load(&shared.cell[1]->k_receiving), 0, "then nobody's");
    disconnect(&shared);
}

int
main(void)
{
    tap_family(0);
    board = tap_shared(sizeof *board);
    test_handshakes();
    test_replays();
    test_frames();
    test_table();
    test_silence();
    if (tap_forks()) {
        test_forks();
        test_torn_beside_an_idler();
        test_signals();
    }
    is(amp_endpoints(), 0, "nothing is left");
    return tap_done();
}
