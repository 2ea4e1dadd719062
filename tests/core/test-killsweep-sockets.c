/*
 * The kill sweep of sockets: listeners, connections, and messages between two processes or more. See
 * killsweep.h for how it is done.
 *
 * A connection has two ends: `near` is the victim's side and `far` is its peer's, which is the test.
 * Where the test keeps the near end too it is one that shares it, as a helper does. What must hold
 * after a death (endpoint.h):
 *
 *  - What the peer gets is whole messages in their order, and then -EPIPE when nobody has the near
 *    end any more or the death tore a message. It never waits for ever.
 *  - A death in the middle of a message ends the connection for all who share it: each is told by
 *    -EPIPE. Any other death ends it for nobody.
 *  - A message of which the send has returned comes.
 *  - While a message in a queue or a pipe carries the connection, it is open; with the last who has
 *    it, or with what carries it, it ends.
 *  - Who calls with a key, or is called, has a connection whose other side has proved it, or none.
 *  - Of a listener its path may stay. The next to listen there is then told that nobody does.
 *  - No cell, no descriptor and no entry of the table stays.
 */
#include "killsweep.h"

#include <netinet/in.h>
#include <sys/prctl.h>

#define BUDGET (15 * AMP_SECOND)

#define VICTIMS 100 /* the number of the victim's message */
#define OTHERS 200  /* of another's, after it */
#define SMALL 40
#define LARGE 40000 /* more than SMALL_BUFFER takes, and less than twice that */
#define SMALL_BUFFER 16384

struct end {
    struct amp_cell *cell;
    struct amp_endpoint *endpoint;
};

/* The test's own; a child has a copy. */
static struct {
    struct end listener, near, far;
    struct amp_connecting connecting;
    const char *key; /* of who listens and who calls, or NULL */
    bool is_begun; /* a message that a signal cut in two */
    bool has_received; /* before the victim died */
    bool has_ended;    /* before the victim died */
    int descriptors; /* before the point */
} s;

static unsigned char large[LARGE]; /* the victim's message, filled in before it is watched */
static unsigned char small[2][SMALL];
static char folder[] = "/tmp/luamp-killsweep-XXXXXX";
static struct amp_address by_path, by_tcp;

static struct amp_terms
terms(bool is_listener)
{
    return (struct amp_terms) {
        .key = (const unsigned char *) s.key,
        .key_length = s.key ? strlen(s.key) : 0,
        .max_message = 1 << 20,
        .is_listener = is_listener,
    };
}

/*
 * Ends.
 */

static struct end
open_end(enum amp_kind kind, struct amp_endpoint *endpoint)
{
    struct end end = {.endpoint = endpoint};
    tap_need(amp_cell_make(kind, "end", &end.cell) == 0);
    amp_endpoint_bind(endpoint, amp_cell_handle(end.cell));
    amp_cell_ready(end.cell);
    return end;
}

static void
close_end(struct end *end)
{
    if (end->cell)
        tap_unhold(end->cell);
    end->cell = NULL;
}

static int
send_message(struct end *end, const void *bytes, size_t length, bool *begun, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    return amp_endpoint_send(end->endpoint, end->cell, bytes, length, begun, deadline, &what);
}

static int
send_small(struct end *end, uint64_t number)
{
    bool begun = false;
    return send_message(end, small[number == OTHERS], SMALL, &begun, amp_now() + TAP_PATIENCE);
}

/* The number of the message that comes next, or a failure. */
static int
receive_number(struct end *end, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    unsigned char *bytes;
    size_t length;
    uint64_t number = 0;
    int result = amp_endpoint_receive(end->endpoint, end->cell, 1 << 20, &bytes, &length, deadline,
                                      &what);
    if (result != 0)
        return result;
    memcpy(&number, bytes, length < 8 ? length : 8);
    bool is_whole = (length == SMALL || length == LARGE) && pattern_holds(bytes, length, number);
    free(bytes);
    return is_whole ? (int) number : MESSAGE_IS_TORN;
}

static int
receive_soon(struct end *end)
{
    return receive_number(end, amp_now() + TAP_PATIENCE);
}

static bool
is_torn(void)
{
    return (atomic_load(&s.near.cell->k_over) & AMP_TORN) != 0;
}

/*
 * Before the victim.
 */

static void
prepare_ends(void)
{
    memset(&s, 0, sizeof s);
    s.descriptors = tap_descriptors();
}

static int
listen_at(const struct amp_address *address)
{
    struct amp_endpoint *endpoint;
    struct amp_terms of_listener = terms(true);
    int failure = amp_listen(address, &of_listener, &endpoint);
    if (failure == 0)
        s.listener = open_end(AMP_LISTENER, endpoint);
    return failure;
}

static void
prepare_listener(void)
{
    prepare_ends();
    tap_need(listen_at(&by_path) == 0);
}

static void
prepare_listener_with_key(void)
{
    prepare_ends();
    s.key = "a key that both sides have";
    tap_need(listen_at(&by_path) == 0);
}

/* Both ends of a new connection are the test's. */
static bool
connect_ends(void)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    struct amp_connecting c = {.terms = terms(false)};
    struct amp_endpoint *far = NULL;
    int connected = -ETIMEDOUT, taken = -EAGAIN;
    amp_time end = amp_now() + TAP_PATIENCE;
    tap_need(amp_listener_address(s.listener.endpoint, &c.address) == 0);
    while ((connected != 0 || taken != 0) && amp_now() < end) {
        if (connected == -ETIMEDOUT)
            connected = amp_connect(&c, AMP_AT_ONCE, &what);
        if (taken == -EAGAIN)
            taken = amp_listener_take(s.listener.endpoint, &far);
    }
    if (connected != 0 || taken != 0) {
        amp_connect_end(&c);
        return false;
    }
    s.near = open_end(AMP_SOCKET, c.endpoint);
    s.far = open_end(AMP_SOCKET, far);
    return true;
}

static void
prepare_connection_at(const struct amp_address *address)
{
    prepare_ends();
    tap_need(listen_at(address) == 0);
    tap_need(connect_ends());
    close_end(&s.listener);
}

static void
prepare_connection(void)
{
    prepare_connection_at(&by_path);
}

static void
prepare_tcp_connection(void)
{
    prepare_connection_at(&by_tcp);
}

/* A large message goes in two pieces. */
static void
prepare_narrow_connection(void)
{
    int size = SMALL_BUFFER;
    prepare_connection();
    tap_need(setsockopt(s.near.endpoint->stream.descriptor, SOL_SOCKET, SO_SNDBUF, &size,
                        sizeof size) == 0);
}

static void
prepare_message(void)
{
    prepare_connection();
    tap_need(send_small(&s.far, VICTIMS) == 0);
}

/* Bytes of the victim's message, from one place in its frame to another. */
static void
send_piece(size_t from, size_t to)
{
    unsigned char frame[AMP_FRAME_HEADER + SMALL] = {SMALL};
    memcpy(frame + AMP_FRAME_HEADER, small[0], SMALL);
    tap_need(send(s.far.endpoint->stream.descriptor, frame + from, to - from, 0) ==
             (ssize_t) (to - from));
}

static void
prepare_half_message(void)
{
    prepare_connection();
    send_piece(0, AMP_FRAME_HEADER + SMALL / 2);
}

/*
 * Helpers, who share the near end or connect.
 */

static int
send_beside(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], send_small(&s.near, OTHERS));
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_sends_beside(void)
{
    help_asleep(0, send_beside);
}

static int
receive_beside(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    atomic_store(&board->result[i], receive_number(&s.near, AMP_FOREVER));
    atomic_store(&board->done[i], 1);
    return 0;
}

static int
call_and_receive(void *argument)
{
    int i = *(int *) argument;
    struct amp_what what = {.kind = AMP_SOCKET};
    struct amp_connecting c = {.address = by_path, .terms = terms(false)};
    close_end(&s.listener);
    atomic_store(&board->started[i], 1);
    int result = amp_connect(&c, amp_now() + TAP_PATIENCE, &what);
    if (result == 0) {
        struct end end = open_end(AMP_SOCKET, c.endpoint);
        result = receive_soon(&end);
        close_end(&end);
    }
    atomic_store(&board->result[i], result);
    atomic_store(&board->done[i], 1);
    return 0;
}

static void
one_calls(void)
{
    help_asleep(0, call_and_receive);
}

/*
 * The ends of checks.
 */

/* The last that have the near end are gone. */
static const char *
check_end_comes(void)
{
    int result = receive_soon(&s.far);
    return result == -EPIPE ? NULL : "the other side is not told that all have gone";
}

/* The listener does its work for the next who connects. */
static const char *
check_listener_works(void)
{
    if (!connect_ends())
        return "nobody can connect any more";
    if (send_small(&s.near, OTHERS) != 0 || receive_soon(&s.far) != OTHERS)
        return "a new connection does not work";
    return NULL;
}

static const char *
clean(void)
{
    amp_connect_end(&s.connecting);
    close_end(&s.near);
    close_end(&s.far);
    close_end(&s.listener);
    unlink(by_path.path.sun_path);
    if (amp_endpoints() != 0)
        return "an entry of the table is left";
    return tap_descriptors() == s.descriptors ? NULL : "a descriptor is left";
}

/*
 * Listeners.
 */

static void
make_listener(void)
{
    listen_at(&by_path);
}

static void
drop_listener(void)
{
    close_end(&s.listener);
}

static void
leave_with_listener(void)
{
    amp_member_leave(0);
}

/* The path is free, or the next is told that it was left behind. */
static const char *
check_path(void)
{
    bury_victim();
    bool is_there = access(by_path.path.sun_path, F_OK) == 0;
    int result = listen_at(&by_path);
    if (result != (is_there ? -EADDRNOTAVAIL : 0))
        return "a path is in use, and nobody listens there";
    if (is_there) {
        unlink(by_path.path.sun_path);
        if (listen_at(&by_path) != 0)
            return "nobody can listen at a path that was removed";
    }
    return check_listener_works();
}

static const char *
check_path_is_gone(void)
{
    if (world.is_done && access(by_path.path.sun_path, F_OK) == 0)
        return "the path of a listener that was closed is left";
    return check_path();
}

/*
 * Connections made.
 */

static void
take_connection(void)
{
    struct amp_endpoint *made;
    if (amp_listener_take(s.listener.endpoint, &made) != 0)
        return;
    s.far = open_end(AMP_SOCKET, made);
    send_small(&s.far, VICTIMS);
}

/* One calls; the victim may have answered, or the test does, which has the listener too. */
static const char *
check_taken(void)
{
    bury_victim();
    amp_time end = amp_now() + TAP_PATIENCE;
    while (!atomic_load(&board->done[0])) {
        if (amp_now() > end)
            return "who calls is not answered";
        if (s.far.cell == NULL)
            take_connection();
        tap_nap();
    }
    if (board->result[0] != -EPIPE && board->result[0] != VICTIMS)
        return "who called was told what is not so";
    if ((world.is_done || s.far.cell != NULL) && board->result[0] != VICTIMS)
        return "who called was answered, and has no connection";
    close_end(&s.far);
    tap_join(&world.helper[0]);
    return check_listener_works();
}

/* Goes on with a call: what came of it, or -ETIMEDOUT. */
static int
go_on_calling(amp_time deadline)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    int result = amp_connect(&s.connecting, deadline, &what);
    if (result == 0) {
        s.near = open_end(AMP_SOCKET, s.connecting.endpoint);
        s.connecting.endpoint = NULL;
    }
    return result;
}

static int
begin_call(amp_time deadline)
{
    s.connecting = (struct amp_connecting) {.address = by_path, .terms = terms(false)};
    return go_on_calling(deadline);
}

static void
call(void)
{
    if (begin_call(AMP_FOREVER) == 0)
        send_small(&s.near, VICTIMS);
}

/* The victim called, and may have got as far as to wait for an answer. */
static const char *
check_call(void)
{
    int result;
    bury_victim();
    do {
        struct amp_endpoint *made;
        result = amp_listener_take(s.listener.endpoint, &made);
        if (result == 0) {
            s.far = open_end(AMP_SOCKET, made);
            if (check_end_comes() != NULL)
                return check_end_comes();
            close_end(&s.far);
        } else if (result != -EAGAIN && result != -EPIPE) {
            return "who answers was told what is not so";
        }
    } while (result != -EAGAIN);
    return check_listener_works();
}

static void
answer(void)
{
    struct amp_endpoint *made;
    tap_need(amp_listener_take(s.listener.endpoint, &made) == 0);
    s.far = open_end(AMP_SOCKET, made);
}

/* The victim has been answered. */
static const char *
check_answered(void)
{
    bury_victim();
    int result = receive_soon(&s.far);
    if (result != VICTIMS && result != -EPIPE)
        return "the other side got what nobody sent";
    if (world.is_done && result != VICTIMS)
        return "what was sent did not come";
    const char *problem = check_end_comes();
    close_end(&s.far);
    return problem ? problem : check_listener_works();
}

static const char *check_sent(void);

/*
 * Connections made with a key. Each side says its hello and, when it has the other's, its proof: so each
 * acts twice, and in between the other does. The test is the other.
 */

static int
hold_listener(void *argument)
{
    (void) argument;
    tap_stay();
}

/* While another process has the listener, the test's call does not answer at it. */
static void
prepare_call_with_key(void)
{
    prepare_listener_with_key();
    help(0, hold_listener);
    tap_need(begin_call(AMP_AT_ONCE) == -ETIMEDOUT);
}

/* The victim has answered with its hello and its proof. */
static void
take_nothing(void)
{
    struct amp_endpoint *made;
    if (amp_listener_take(s.listener.endpoint, &made) != -EAGAIN)
        _exit(1);
}

static void
prove_key(void)
{
    tap_need(go_on_calling(AMP_AT_ONCE) == 0);
}

/* The test calls; the victim may have begun to answer, or the test does, which has the listener too. */
static const char *
check_taken_with_key(void)
{
    bury_victim();
    amp_time end = amp_now() + TAP_PATIENCE;
    int result;
    while ((result = go_on_calling(AMP_AT_ONCE)) == -ETIMEDOUT) {
        if (amp_now() > end)
            return "who calls is not answered";
        if (s.far.cell == NULL)
            take_connection();
    }
    while (result == 0 && s.far.cell == NULL) {
        if (amp_now() > end)
            return "who proved its key has no connection";
        take_connection();
    }
    if (result == -EPIPE ? s.far.cell != NULL : result != 0)
        return "who called was told what is not so";
    if (result == 0 && receive_soon(&s.near) != VICTIMS)
        return "a connection with a key does not work";
    close_end(&s.near);
    close_end(&s.far);
    return check_listener_works();
}

/* The test has proved its key, and takes the victim for a side that has. */
static const char *
check_proved(void)
{
    bury_victim();
    int result = receive_soon(&s.near);
    if (result != VICTIMS && result != -EPIPE)
        return "who called got what nobody sent";
    if (world.is_done && result != VICTIMS)
        return "what was sent did not come";
    if (result == VICTIMS && receive_soon(&s.near) != -EPIPE)
        return "who called is not told that the other side has gone";
    close_end(&s.near);
    return check_listener_works();
}

static void
begin_victims_call(void)
{
    begin_call(AMP_AT_ONCE);
}

static void
begin_call_with_wrong_key(void)
{
    s.key = "a key that one side has";
    begin_call(AMP_AT_ONCE);
}

static void
finish_call(void)
{
    int result = go_on_calling(AMP_FOREVER);
    if (result == 0)
        send_small(&s.near, VICTIMS);
    atomic_store(&board->result[0], result);
}

static void
test_takes_nothing(void)
{
    struct amp_endpoint *made;
    tap_need(amp_listener_take(s.listener.endpoint, &made) == -EAGAIN);
}

/* What the listener says of the victim's handshake: 0, and it is connected with s.far. */
static int
result_of_handshake(void)
{
    struct amp_endpoint *made;
    amp_time end = amp_now() + TAP_PATIENCE;
    int result;
    do
        result = amp_listener_take(s.listener.endpoint, &made);
    while (result == -EAGAIN && amp_now() < end);
    if (result == 0)
        s.far = open_end(AMP_SOCKET, made);
    return result;
}

static const char *
check_call_with_key(void)
{
    bury_victim();
    int result = result_of_handshake();
    if (result == 0 ? world.is_done && board->result[0] != 0 : result != -EPIPE || world.is_done)
        return "who answers was told what is not so";
    if (result == 0) {
        const char *problem = check_sent();
        close_end(&s.far);
        if (problem)
            return problem;
    }
    return check_listener_works();
}

static const char *
check_wrong_key(void)
{
    bury_victim();
    int result = result_of_handshake();
    if (result != -EKEYREJECTED && (result != -EPIPE || world.is_done))
        return "who answers a wrong key was told what is not so";
    if (world.is_done && board->result[0] != -EKEYREJECTED)
        return "who has a wrong key was not told";
    return check_listener_works();
}

/*
 * Messages sent.
 */

static void
be_not_near(void)
{
    close_end(&s.near);
}

static void
send_victims(void)
{
    send_small(&s.near, VICTIMS);
}

static void
send_large(void)
{
    tap_without_slices();
    s.is_begun = false;
    send_message(&s.near, large, LARGE, &s.is_begun, AMP_FOREVER);
}

/* The victim alone had the near end. */
static const char *
check_sent(void)
{
    int result = receive_soon(&s.far);
    if (result != VICTIMS && result != -EPIPE)
        return "the other side got what nobody sent";
    if (world.is_done && result != VICTIMS)
        return "what was sent did not come";
    return check_end_comes();
}

/* Another's message, of which the send returned so, comes behind what the victim has sent. */
static const char *
check_far(int of_other)
{
    int result = receive_soon(&s.far);
    bool has_come = result == VICTIMS;
    if (has_come)
        result = receive_soon(&s.far);
    if (world.is_done && !has_come)
        return "what was sent did not come";
    if (result != (of_other == 0 ? OTHERS : -EPIPE))
        return of_other == 0 ? "what another sent did not come" : "the other side got a torn stream";
    return NULL;
}

/* The test shares the near end, and is the first who sees the death. */
static const char *
check_sent_beside(void)
{
    int result = send_small(&s.near, OTHERS);
    if (result != (is_torn() ? -EPIPE : 0))
        return "who shares the connection was told what is not so";
    if (world.is_done && is_torn())
        return "a death after a message has torn it";
    return check_far(result);
}

/* The test shares the near end, and does nothing with it. */
static const char *
check_sent_unseen(void)
{
    bury_victim();
    int result = receive_number(&s.far, is_torn() ? amp_now() + TAP_PATIENCE : AMP_AT_ONCE);
    if (result == VICTIMS)
        result = receive_number(&s.far, is_torn() ? amp_now() + TAP_PATIENCE : AMP_AT_ONCE);
    if (result != (is_torn() ? -EPIPE : -ETIMEDOUT))
        return "the other side was told what is not so";
    return NULL;
}

/* The victim sleeps with a half message, and another behind it; there is room again. */
static void
make_room_for_victim(void)
{
    one_sends_beside();
    tap_need(receive_number(&s.far, AMP_AT_ONCE) == -ETIMEDOUT);
}

static const char *
check_behind_large(void)
{
    amp_time end = amp_now() + TAP_PATIENCE;
    int last;
    bool has_come = false;
    do {
        last = receive_number(&s.far, end);
        has_come |= last == VICTIMS;
    } while (last == VICTIMS);
    if (!served(0))
        return "who waits behind a half message sleeps";
    if (board->result[0] != (is_torn() ? -EPIPE : 0))
        return "who shares the connection was told what is not so";
    if (last != (is_torn() ? -EPIPE : OTHERS))
        return "the other side got what nobody sent, or a torn stream";
    if (!has_come && (world.is_done || !is_torn()))
        return "what was sent did not come";
    return NULL;
}

/* A signal cuts the victim's message in two. It holds nothing then, but its mark. */
static void
send_half(void)
{
    amp_signal_arrived();
    send_large();
    amp_self.signalled = 0;
    if (!s.is_begun)
        _exit(1);
}

static void
wait_behind_half(void)
{
    one_sends_beside();
    tap_need(receive_number(&s.far, AMP_AT_ONCE) == -ETIMEDOUT);
}

static void
send_rest(void)
{
    tap_without_slices();
    send_message(&s.near, large, LARGE, &s.is_begun, AMP_FOREVER);
}

static const char *
check_behind_half(void)
{
    bury_victim();
    return check_behind_large();
}

/*
 * Messages received.
 */

static void
receive_victims(void)
{
    receive_number(&s.near, AMP_FOREVER);
}

static void
send_to_victim(void)
{
    help_asleep(0, receive_beside);
    tap_need(send_small(&s.far, VICTIMS) == 0);
}

/* All is over for the other side, too. */
static const char *
check_over(void)
{
    if (world.is_done)
        return "a death after a message has torn it";
    return send_small(&s.far, OTHERS) == -EPIPE && receive_soon(&s.far) == -EPIPE
               ? NULL : "the other side of a torn connection goes on";
}

/* The victim received the first message, or not; the test shares the end. */
static const char *
check_received(void)
{
    send_small(&s.far, OTHERS);
    int result = receive_soon(&s.near);
    if (result == VICTIMS && !world.is_done)
        result = receive_soon(&s.near);
    if (result != (is_torn() ? -EPIPE : OTHERS))
        return "who shares the connection did not get the next message";
    return is_torn() ? check_over() : NULL;
}

/* The victim was about to get the first message, and a helper waits behind it. */
static const char *
check_received_behind(void)
{
    send_small(&s.far, OTHERS);
    if (!served(0))
        return "a message is there, and who waits for it sleeps";
    int result = board->result[0];
    if (is_torn())
        return result == -EPIPE ? check_over() : "who shares a torn connection was not told";
    if (result != OTHERS && (result != VICTIMS || world.is_done))
        return "who shares the connection did not get the next message";
    return NULL;
}

/* A signal cuts the victim's receive in two. */
static void
receive_half(void)
{
    amp_signal_arrived();
    receive_victims();
    amp_self.signalled = 0;
}

static void
send_second_half(void)
{
    help_asleep(0, receive_beside);
    send_piece(AMP_FRAME_HEADER + SMALL / 2, AMP_FRAME_HEADER + SMALL);
}

static const char *
check_behind_half_received(void)
{
    bury_victim();
    const char *problem = check_received_behind();
    if (problem == NULL && board->result[0] == VICTIMS)
        return "a message of which another has a part came whole";
    return problem;
}

/*
 * Connections let go, and shared.
 */

static void
drop_near(void)
{
    close_end(&s.near);
}

static const char *
check_dropped(void)
{
    bury_victim();
    return check_end_comes();
}

/* It dropped a connection in the middle of a message. */
static const char *
check_dropped_half(void)
{
    bury_victim();
    if (!served(0))
        return "who waits behind a half message sleeps";
    if (!is_torn() || board->result[0] != -EPIPE)
        return "who shares a torn connection was not told";
    return check_end_comes();
}

/* The victim has a child that sends, and lives on. */
static void
beget_heir(void)
{
    struct amp_child child;
    if (amp_spawn("heir", 0, NULL, NULL, &child) == AMP_IN_CHILD) {
        close_end(&s.far);
        send_small(&s.near, VICTIMS);
        amp_member_leave(0);
        _exit(0);
    }
}

static bool
has_no_child(void)
{
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static const char *
check_heir(void)
{
    bury_victim();
    const char *problem = check_sent();
    if (!tap_until(has_no_child()))
        return "the child of the dead does not end";
    return problem;
}

/*
 * Two threads of the victim on one connection. A death takes both.
 */

static void (*beside)(void); /* what the second does */

static void *
second_thread(void *argument)
{
    (void) argument;
    amp_thread_enter();
    tap_need(amp_family_join("second") == 0);
    amp_hold(amp_cell_handle(s.near.cell));
    atomic_store(&board->seen[2], (int) amp_self.tid);
    atomic_store(&board->started[1], 1);
    beside();
    atomic_store(&board->done[1], 1);
    tap_stay();
    return NULL;
}

static void
begin_second(void (*function)(void))
{
    pthread_t thread;
    beside = function;
    tap_need(pthread_create(&thread, NULL, second_thread, NULL) == 0);
    tap_need(tap_until(atomic_load(&board->started[1])));
}

/* Waits until the second thread, which has said that it is about to, sleeps. */
static void
second_sleeps(void)
{
    pid_t thread = atomic_load(&board->seen[2]);
    tap_need(tap_until(tap_state(thread) == 'S'));
}

static void
bury_both(void)
{
    bury_victim();
    amp_roster_sweep();
}

static void
begin_receiver(void)
{
    begin_second(receive_victims);
}

static void
be_not_near_second(void)
{
    second_sleeps();
    be_not_near();
}

static void
begin_large_sender(void)
{
    begin_second(send_large);
}

static void
send_others(void)
{
    tap_without_slices();
    send_small(&s.near, OTHERS);
}

/* The second has sent half of its message, and the first waits behind it. */
static void
make_room_for_second(void)
{
    int result = receive_number(&s.far, AMP_AT_ONCE);
    tap_need(result == -ETIMEDOUT || result == VICTIMS);
    s.has_received = result == VICTIMS;
}

static const char *
check_sent_by_both(void)
{
    bury_both();
    if (!s.has_received && receive_soon(&s.far) != VICTIMS)
        return "the first thread's message was sent, and did not come";
    int result = receive_soon(&s.far);
    if (result != OTHERS && (result != -EPIPE || world.is_done))
        return "the second thread's message did not come, or torn";
    return result == -EPIPE ? NULL : check_end_comes();
}

static void
send_others_when_told(void)
{
    while (!atomic_load(&board->seen[0]))
        tap_nap();
    atomic_store(&board->seen[1], 1);
    send_others();
}

static void
begin_small_sender(void)
{
    begin_second(send_others_when_told);
}

/* The first has sent half of its message; now the second comes, and then there is room. */
static void
second_comes_behind(void)
{
    atomic_store(&board->seen[0], 1);
    tap_need(tap_until(atomic_load(&board->seen[1])));
    second_sleeps();
    tap_need(receive_number(&s.far, AMP_AT_ONCE) == -ETIMEDOUT);
}

/* The test shares the near end. The second thread's message may have been the one that was torn. */
static const char *
check_both_beside(void)
{
    bury_both();
    int sent = send_small(&s.near, OTHERS);
    if (sent != (is_torn() ? -EPIPE : 0))
        return "who shares the connection was told what is not so";
    int result = receive_soon(&s.far);
    if (result == VICTIMS)
        result = receive_soon(&s.far);
    else if (world.is_done)
        return "what was sent did not come";
    if (result == OTHERS && (is_torn() || atomic_load(&board->done[1])))
        result = is_torn() ? receive_soon(&s.far) : receive_number(&s.far, AMP_AT_ONCE);
    if (result != (is_torn() ? -EPIPE : OTHERS))
        return "the other side got what nobody sent, or a torn stream";
    return NULL;
}

/* The second thread still has what the first lets go of. */
static void
see_whether_open(void)
{
    s.has_ended = send_small(&s.far, VICTIMS) != 0 ||
                  receive_number(&s.far, AMP_AT_ONCE) != -ETIMEDOUT;
}

static const char *
check_dropped_by_one(void)
{
    bury_both();
    return s.has_ended ? "one thread let go, and the other has no connection any more"
                       : check_end_comes();
}

/*
 * Connections and listeners that a message carries. Who takes it out must have had the descriptor: it
 * does not travel.
 */

static void
put_and_drop(struct amp_cell *queue, struct end *end)
{
    uint64_t handle = amp_cell_handle(end->cell);
    queue_put_objects(queue, VICTIMS, SMALL, &handle, 1, AMP_AT_ONCE);
    close_end(end);
}

/* The end that the only message has; the caller holds it then. */
static struct end
get_end(struct amp_cell *queue)
{
    uint64_t handle = 0, number;
    size_t length;
    uint32_t n = 0;
    if (queue_get_objects(queue, &number, &length, &handle, &n, AMP_AT_ONCE) != 0 || n != 1)
        return (struct end) {NULL, NULL};
    return (struct end) {amp_cell_of(handle), amp_endpoint_find(handle)};
}

static void
prepare_connection_and_queue(void)
{
    prepare_connection();
    world.cell = queue_make(0, 0);
}

static void
put_near(void)
{
    put_and_drop(world.cell, &s.near);
}

static void
prepare_carried_connection(void)
{
    uint64_t handle;
    prepare_connection_and_queue();
    handle = amp_cell_handle(s.near.cell);
    queue_put_objects(world.cell, VICTIMS, SMALL, &handle, 1, AMP_AT_ONCE);
}

static void
get_near_and_drop(void)
{
    close_end(&s.near);
    struct end end = get_end(world.cell);
    close_end(&end);
}

/* The test drops what it has itself: the message has it, or nobody. */
static const char *
check_carried(void)
{
    bury_victim();
    close_end(&s.near);
    amp_endpoints(); /* what it would come to at the end of a slice */
    if (amp_ring_size(world.cell) == 0)
        return check_end_comes();
    if (receive_number(&s.far, AMP_AT_ONCE) != -ETIMEDOUT)
        return "a connection has ended that a message carries";
    s.near = get_end(world.cell);
    if (s.near.cell == NULL || s.near.endpoint == NULL)
        return "the connection in a message is not there";
    if (send_small(&s.near, OTHERS) != 0 || receive_soon(&s.far) != OTHERS)
        return "a connection that was in a message does not work";
    close_end(&s.near);
    return check_end_comes();
}

static const char *
check_put_connection(void)
{
    if (world.is_done && amp_ring_size(world.cell) != 1)
        return "what was put is lost";
    return check_carried();
}

static const char *
check_got_connection(void)
{
    if (world.is_done && amp_ring_size(world.cell) != 0)
        return "what was got is still there";
    return check_carried();
}

/* Only the victim has the queue, and in it the connection. */
static void
be_without_queue(void)
{
    be_not_near();
    tap_unhold(world.cell);
}

static void
prepare_queue_to_drop(void)
{
    prepare_carried_connection();
    world.other = world.cell;
}

static void
drop_queue(void)
{
    close_end(&s.near);
    tap_unhold(world.cell);
}

static const char *
check_all_dropped(void)
{
    world.cell = world.other = NULL;
    bury_victim();
    amp_endpoints();
    return check_end_comes();
}

/* A pipe: world.cell is the end into which the connection was sent, world.other the other end. */
static void
prepare_carried_by_pipe(void)
{
    struct amp_cell *queues[2] = {queue_make(0, 0), queue_make(0, 0)}, *ends[2];
    uint64_t handle;
    prepare_connection();
    for (int i = 0; i < 2; i++) {
        tap_need(amp_cell_make(AMP_PIPE_END, "pipe", &ends[i]) == 0);
        amp_pipe_end_init(ends[i], amp_cell_handle(queues[i]), amp_cell_handle(queues[1 - i]));
        amp_cell_ready(ends[i]);
    }
    handle = amp_cell_handle(s.near.cell);
    queue_put_objects(queues[1], VICTIMS, SMALL, &handle, 1, AMP_AT_ONCE);
    tap_unhold(queues[0]);
    tap_unhold(queues[1]);
    world.cell = ends[0];
    world.other = ends[1];
}

static void
be_without_pipe(void)
{
    be_not_near();
    tap_unhold(world.cell);
    tap_unhold(world.other);
}

static void
drop_pipe(void)
{
    close_end(&s.near);
    tap_unhold(world.cell);
    tap_unhold(world.other);
}

static void
prepare_listener_and_queue(void)
{
    prepare_listener();
    world.cell = queue_make(0, 0);
}

static void
put_listener(void)
{
    put_and_drop(world.cell, &s.listener);
}

static const char *
check_put_listener(void)
{
    bury_victim();
    bool is_there = amp_ring_size(world.cell) == 1;
    close_end(&s.listener);
    if (is_there)
        s.listener = get_end(world.cell);
    else if (world.is_done)
        return "what was put is lost";
    else
        return access(by_path.path.sun_path, F_OK) != 0 ? NULL : "the path of a listener is left";
    return s.listener.endpoint ? check_listener_works()
                               : "a listener has ended that a message carries";
}

/*
 * The operations.
 */

static const struct scenario scenarios[] = {
    {"a listener at a path, made", prepare_ends, NULL, NULL, make_listener, NULL, NULL, check_path,
     false},
    {"a listener, closed", prepare_ends, make_listener, NULL, drop_listener, NULL, NULL,
     check_path_is_gone, false},
    {"a member that leaves with a listener", prepare_ends, make_listener, NULL, leave_with_listener,
     NULL, NULL, check_path_is_gone, false},

    {"a connection accepted", prepare_listener, NULL, one_calls, take_connection, NULL, NULL,
     check_taken, false},
    {"a call, until it waits for an answer", prepare_listener, NULL, NULL, call, NULL, NULL,
     check_call, false},
    {"a call that was answered", prepare_listener, NULL, NULL, call, answer, NULL, check_answered,
     false},

    {"a call with a key accepted, until it waits for the proof", prepare_call_with_key, NULL, NULL,
     take_connection, NULL, NULL, check_taken_with_key, false},
    {"a call with a key accepted, when its proof is there", prepare_call_with_key, take_nothing,
     prove_key, take_connection, NULL, NULL, check_proved, false},
    {"a call with a key, until it waits for an answer", prepare_listener_with_key, NULL, NULL, call,
     NULL, NULL, check_call, false},
    {"a call with a key that was answered", prepare_listener_with_key, begin_victims_call,
     test_takes_nothing, finish_call, NULL, NULL, check_call_with_key, false},
    {"a call with a wrong key", prepare_listener_with_key, begin_call_with_wrong_key,
     test_takes_nothing, finish_call, NULL, NULL, check_wrong_key, false},

    {"a message sent by the only holder", prepare_connection, NULL, be_not_near, send_victims, NULL,
     NULL, check_sent, false},
    {"a message sent by TCP", prepare_tcp_connection, NULL, be_not_near, send_victims, NULL, NULL,
     check_sent, false},
    {"a message sent by one of two holders", prepare_connection, NULL, NULL, send_victims, NULL,
     NULL, check_sent_beside, false},
    {"the first part of a message, sent by the only holder", prepare_narrow_connection, NULL,
     be_not_near, send_large, NULL, NULL, check_sent, false},
    {"the first part of a message, sent by one of two holders", prepare_narrow_connection, NULL,
     NULL, send_large, NULL, NULL, check_sent_unseen, false},
    {"the second part of a message, with another sender behind", prepare_narrow_connection, NULL,
     NULL, send_large, make_room_for_victim, NULL, check_behind_large, false},
    {"the rest of a message that a signal had cut", prepare_narrow_connection, send_half,
     wait_behind_half, send_rest, NULL, NULL, check_behind_half, false},

    {"a message received by one of two holders", prepare_message, NULL, NULL, receive_victims, NULL,
     NULL, check_received, false},
    {"a receiver that was woken, with another behind", prepare_connection, NULL, NULL,
     receive_victims, send_to_victim, NULL, check_received_behind, false},
    {"the second part of a message, with another receiver behind", prepare_half_message, NULL, NULL,
     receive_victims, send_second_half, NULL, check_received_behind, false},
    {"the rest of a message whose receiver a signal had cut", prepare_half_message, receive_half,
     send_second_half, receive_victims, NULL, NULL, check_behind_half_received, false},

    {"a connection let go by its last holder", prepare_connection, NULL, be_not_near, drop_near,
     NULL, NULL, check_dropped, false},
    {"a connection let go in the middle of a message", prepare_narrow_connection, send_half,
     one_sends_beside, drop_near, NULL, NULL, check_dropped_half, false},
    {"a connection inherited by a child", prepare_connection, NULL, be_not_near, beget_heir, NULL,
     NULL, check_heir, false},

    {"a message sent while another thread receives", prepare_connection, begin_receiver,
     be_not_near_second, send_victims, NULL, NULL, check_sent, false},
    {"a message sent behind another thread's half message", prepare_narrow_connection,
     begin_large_sender, be_not_near_second, send_others, make_room_for_second, NULL,
     check_sent_by_both, false},
    {"the second part of a message, with another thread's behind", prepare_narrow_connection,
     begin_small_sender, NULL, send_large, second_comes_behind, NULL, check_both_beside, false},
    {"a connection let go by one of two threads", prepare_connection, begin_receiver,
     be_not_near_second, drop_near, NULL, see_whether_open, check_dropped_by_one, false},

    {"a connection put into a queue, and let go", prepare_connection_and_queue, NULL, NULL,
     put_near, NULL, NULL, check_put_connection, false},
    {"a connection got out of a queue, and let go", prepare_carried_connection, NULL, be_not_near,
     get_near_and_drop, NULL, NULL, check_got_connection, false},
    {"a queue with a connection in it, let go by its last holder", prepare_queue_to_drop, NULL,
     be_without_queue, drop_queue, NULL, NULL, check_all_dropped, false},
    {"a pipe with a connection in it, let go by its last holder", prepare_carried_by_pipe, NULL,
     be_without_pipe, drop_pipe, NULL, NULL, check_all_dropped, false},
    {"a listener put into a queue, and let go", prepare_listener_and_queue, NULL, NULL,
     put_listener, NULL, NULL, check_put_listener, false},
};

static void
begin(void)
{
    struct amp_shake shake;
    s.key = "any";
    struct amp_terms with_key = terms(false);
    amp_shake_begin(&shake, &with_key); /* what proves keys is there, to be inherited */
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* the children of the dead are ours to wait for */
    tap_need(mkdtemp(folder) != NULL);
    by_path.length = sizeof by_path.path;
    by_path.path.sun_family = AF_UNIX;
    snprintf(by_path.path.sun_path, sizeof by_path.path.sun_path, "%s/socket", folder);
    struct sockaddr_in *local = (struct sockaddr_in *) &by_tcp.storage;
    local->sin_family = AF_INET;
    local->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    by_tcp.length = sizeof *local;
}

int
main(int argc, char **argv)
{
    pattern_fill(large, LARGE, VICTIMS);
    pattern_fill(small[0], SMALL, VICTIMS);
    pattern_fill(small[1], SMALL, OTHERS);
    sweep_begin = begin;
    sweep_clean = clean;
    int failed = sweep_main(scenarios, sizeof scenarios / sizeof *scenarios, BUDGET, argc, argv);
    rmdir(folder);
    return failed;
}
