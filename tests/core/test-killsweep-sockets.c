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
    bool is_begun; /* a message that a signal cut in two */
    int descriptors; /* before the point */
} s;

static unsigned char large[LARGE]; /* the victim's message, filled in before it is watched */
static unsigned char small[2][SMALL];
static char folder[] = "/tmp/luamp-killsweep-XXXXXX";
static struct amp_address by_path, by_tcp;

static const struct amp_terms of_listener = {.max_message = 1 << 20, .is_listener = true};
static const struct amp_terms of_client = {.max_message = 1 << 20};

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

/* Both ends of a new connection are the test's. */
static bool
connect_ends(void)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    struct amp_connecting c = {.terms = of_client};
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
    struct amp_connecting c = {.address = by_path, .terms = of_client};
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

static void
call(void)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    s.connecting = (struct amp_connecting) {.address = by_path, .terms = of_client};
    if (amp_connect(&s.connecting, AMP_FOREVER, &what) != 0)
        return;
    s.near = open_end(AMP_SOCKET, s.connecting.endpoint);
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
};

static void
begin(void)
{
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
