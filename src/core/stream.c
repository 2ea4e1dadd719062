/*
 * stream: see stream.h.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "stream.h"

#include <dlfcn.h>
#include <errno.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Numbers on the wire: the lowest byte first.
 */

static void
put_number(unsigned char *at, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char) (number >> 8 * i);
}

static uint64_t
get_number(const unsigned char *at, int bytes)
{
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++)
        number |= (uint64_t) at[i] << 8 * i;
    return number;
}

/*
 * The proof. nettle is loaded when a key is first used: to link it would cost every start.
 */

static struct {
    void (*set_key)(struct hmac_sha256_ctx *, size_t, const uint8_t *);
    void (*update)(struct hmac_sha256_ctx *, size_t, const uint8_t *);
    void (*digest)(struct hmac_sha256_ctx *, size_t, uint8_t *);
    int (*equal)(const void *, const void *, size_t);
    bool is_there;
} nettle; /* written once, by load_nettle */

#define AS_TEXT(x) #x
#define NAME_OF(x) AS_TEXT(x) /* nettle's header gives its functions other names */

static void
load_nettle(void)
{
    void *library = dlopen(NETTLE_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    *(void **) &nettle.set_key = dlsym(library, NAME_OF(hmac_sha256_set_key));
    *(void **) &nettle.update = dlsym(library, NAME_OF(hmac_sha256_update));
    *(void **) &nettle.digest = dlsym(library, NAME_OF(hmac_sha256_digest));
    *(void **) &nettle.equal = dlsym(library, NAME_OF(memeql_sec));
    nettle.is_there = nettle.set_key && nettle.update && nettle.digest && nettle.equal;
}

static bool
has_nettle(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_nettle);
    return nettle.is_there;
}

/* The proof of the side that listens, or of the other. */
static void
prove(const struct amp_shake *shake, bool of_listener, unsigned char proof[AMP_PROOF_SIZE])
{
    const unsigned char *hellos[2] = {shake->out, shake->in}; /* the client's first */
    if (shake->terms.is_listener)
        hellos[0] = shake->in, hellos[1] = shake->out;
    const uint8_t *role = (const uint8_t *) (of_listener ? "listener" : "client..");
    struct hmac_sha256_ctx context;
    nettle.set_key(&context, shake->terms.key_length, shake->terms.key);
    nettle.update(&context, 8, role);
    nettle.update(&context, AMP_HELLO_SIZE, hellos[0]);
    nettle.update(&context, AMP_HELLO_SIZE, hellos[1]);
    nettle.digest(&context, AMP_PROOF_SIZE, proof);
    explicit_bzero(&context, sizeof context);
}

/*
 * The handshake. A hello:
 *
 *     0   8   "luamp\r\n" and a zero: no text begins so
 *     8   4   the version, of the frames and of what is in them
 *     12  4   flags
 *     16  8   the longest message that this side takes
 *     24  32  random
 */

static const unsigned char magic[8] = "luamp\r\n";
#define PROTOCOL 1
#define HAS_KEY 1u
#define WANTS_FUNCTIONS 2u
#define IS_BIG_ENDIAN 4u /* values keep the order of bytes of who encoded them */
#define KNOWN_FLAGS (HAS_KEY | WANTS_FUNCTIONS | IS_BIG_ENDIAN)
#define OUR_ORDER (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? IS_BIG_ENDIAN : 0u)

static uint32_t
flags_of(const unsigned char *hello)
{
    return (uint32_t) get_number(hello + 12, 4);
}

int
amp_shake_begin(struct amp_shake *shake, const struct amp_terms *terms)
{
    memset(shake, 0, sizeof *shake);
    shake->terms = *terms;
    if (terms->key && !has_nettle())
        return -ENOSYS;
    memcpy(shake->out, magic, sizeof magic);
    put_number(shake->out + 8, PROTOCOL, 4);
    put_number(shake->out + 12, (terms->key ? HAS_KEY : 0) |
                                    (terms->functions ? WANTS_FUNCTIONS : 0) | OUR_ORDER, 4);
    put_number(shake->out + 16, terms->max_message, 8);
    unsigned char *random = shake->out + 24;
    for (size_t done = 0; done < 32;) {
        ssize_t n = getrandom(random + done, 32 - done, 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t) n : 0;
    }
    shake->out_length = AMP_HELLO_SIZE;
    return 0;
}

static int
check_hello(const struct amp_shake *shake)
{
    uint32_t flags = flags_of(shake->in);
    if (get_number(shake->in + 8, 4) != PROTOCOL || (flags & ~KNOWN_FLAGS) != 0 ||
        (flags & IS_BIG_ENDIAN) != OUR_ORDER)
        return -EPROTO;
    return !!(flags & HAS_KEY) != (shake->terms.key != NULL) ? -EKEYREJECTED : 0;
}

static int
check_proof(const struct amp_shake *shake)
{
    unsigned char expected[AMP_PROOF_SIZE];
    prove(shake, !shake->terms.is_listener, expected);
    return nettle.equal(expected, shake->in + AMP_HELLO_SIZE, AMP_PROOF_SIZE) ? 0 : -EKEYREJECTED;
}

static bool
is_retry(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

/* Sends what there is to be sent: 0, -EAGAIN, -EPIPE. */
static int
shake_send(struct amp_shake *shake, int descriptor)
{
    while (shake->out_done < shake->out_length) {
        ssize_t n = send(descriptor, shake->out + shake->out_done,
                         shake->out_length - shake->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return is_retry(errno) ? -EAGAIN : -EPIPE;
        shake->out_done += (size_t) n;
    }
    return 0;
}

/* Looks at what has come now: what is to be read next, 0 when all is there. */
static size_t
shake_look(struct amp_shake *shake)
{
    size_t n = shake->in_done < sizeof magic ? shake->in_done : sizeof magic;
    if (memcmp(shake->in, magic, n) != 0) {
        shake->failure = -EPROTO;
        return 0;
    }
    if (shake->in_done < AMP_HELLO_SIZE)
        return AMP_HELLO_SIZE;
    if (shake->in_done == AMP_HELLO_SIZE && shake->out_length == AMP_HELLO_SIZE) {
        shake->failure = check_hello(shake);
        if (shake->failure != 0 || shake->terms.key == NULL)
            return 0;
        prove(shake, shake->terms.is_listener, shake->out + AMP_HELLO_SIZE);
        shake->out_length += AMP_PROOF_SIZE;
    }
    if (shake->in_done < shake->out_length)
        return shake->out_length;
    if (shake->terms.key && shake->failure == 0)
        shake->failure = check_proof(shake);
    return 0;
}

int
amp_shake_step(struct amp_shake *shake, int descriptor, short *events)
{
    for (;;) {
        size_t length = shake_look(shake);
        int sent = shake_send(shake, descriptor);
        if (length == 0) {
            /* What we have to say goes out before a failure is told: the other side learns from it. */
            *events = POLLOUT;
            if (sent == -EAGAIN && shake->failure != -EPROTO)
                return -EAGAIN;
            return shake->failure != 0 ? shake->failure : sent;
        }
        ssize_t n = recv(descriptor, shake->in + shake->in_done, length - shake->in_done,
                         MSG_DONTWAIT);
        if (n > 0) {
            shake->in_done += (size_t) n;
        } else if (n < 0 && is_retry(errno)) {
            *events = (short) (POLLIN | (shake->out_done < shake->out_length ? POLLOUT : 0));
            return sent == -EPIPE ? -EPIPE : -EAGAIN;
        } else if (n == 0 || errno != EINTR) {
            return -EPIPE;
        }
    }
}

/*
 * Frames.
 */

void
amp_stream_begin(struct amp_stream *stream, int descriptor, const struct amp_shake *shake)
{
    *stream = (struct amp_stream) {
        .descriptor = descriptor,
        .functions = shake->terms.functions && (flags_of(shake->in) & WANTS_FUNCTIONS),
        .max_in = shake->terms.max_message,
        .max_out = get_number(shake->in + 16, 8),
    };
    struct sockaddr address = {.sa_family = AF_UNSPEC};
    socklen_t length = sizeof address;
    if (getsockname(descriptor, &address, &length) == 0)
        stream->is_inet = address.sa_family == AF_INET || address.sa_family == AF_INET6;
}

void
amp_stream_drop_frame(struct amp_stream *stream)
{
    free(stream->in.bytes);
    memset(&stream->in, 0, sizeof stream->in);
}

static void
drop_rest(struct amp_stream *stream)
{
    free(stream->out.rest);
    memset(&stream->out, 0, sizeof stream->out);
}

void
amp_stream_end(struct amp_stream *stream)
{
    amp_stream_drop_frame(stream);
    drop_rest(stream);
    if (stream->descriptor >= 0)
        close(stream->descriptor);
    stream->descriptor = -1;
}

/* The number of bytes that came, or -EAGAIN or -EPIPE. */
static ssize_t
receive(int descriptor, void *bytes, size_t length)
{
    for (;;) {
        ssize_t n = recv(descriptor, bytes, length, MSG_DONTWAIT);
        if (n > 0)
            return n;
        if (n == 0 || (errno != EINTR && !is_retry(errno)))
            return -EPIPE;
        if (errno != EINTR)
            return -EAGAIN;
    }
}

/* Memory for what comes next: never more than twice what has come, but for a little. */
static int
make_room(struct amp_stream *stream)
{
    enum { AT_FIRST = 4096 };
    size_t room = stream->in.room ? 2 * stream->in.room : AT_FIRST;
    if (room > stream->in.length)
        room = stream->in.length > 0 ? (size_t) stream->in.length : 1;
    unsigned char *bytes = realloc(stream->in.bytes, room);
    if (bytes == NULL)
        return -ENOMEM;
    stream->in.bytes = bytes;
    stream->in.room = room;
    return 0;
}

int
amp_stream_read(struct amp_stream *stream, uint64_t max, unsigned char **bytes, size_t *length)
{
    ssize_t n;
    while (stream->in.header_done < AMP_FRAME_HEADER) {
        n = receive(stream->descriptor, stream->in.header + stream->in.header_done,
                    AMP_FRAME_HEADER - stream->in.header_done);
        if (n < 0)
            goto failed;
        stream->in.header_done += (size_t) n;
        stream->in.length = get_number(stream->in.header, AMP_FRAME_HEADER);
    }
    n = -EMSGSIZE;
    if (stream->in.length > max || stream->in.length > stream->max_in)
        goto failed;
    while (stream->in.bytes == NULL || stream->in.done < stream->in.length) {
        if (stream->in.done == stream->in.room && make_room(stream) != 0)
            return -ENOMEM; /* what has come stays */
        if (stream->in.length == 0)
            break;
        n = receive(stream->descriptor, stream->in.bytes + stream->in.done,
                    stream->in.room - stream->in.done);
        if (n < 0)
            goto failed;
        stream->in.done += (size_t) n;
    }
    *bytes = stream->in.bytes;
    *length = (size_t) stream->in.length;
    memset(&stream->in, 0, sizeof stream->in);
    return 0;

failed:
    if (n != -EAGAIN)
        amp_stream_drop_frame(stream);
    return (int) n;
}

int
amp_stream_write(struct amp_stream *stream, const void *bytes, size_t length, size_t *done)
{
    unsigned char header[AMP_FRAME_HEADER];
    put_number(header, length, AMP_FRAME_HEADER);
    while (*done < AMP_FRAME_HEADER + length) {
        size_t in_header = *done < AMP_FRAME_HEADER ? AMP_FRAME_HEADER - *done : 0;
        size_t in_bytes = in_header ? 0 : *done - AMP_FRAME_HEADER;
        struct iovec parts[2] = {
            {.iov_base = header + AMP_FRAME_HEADER - in_header, .iov_len = in_header},
            {.iov_base = (unsigned char *) bytes + in_bytes, .iov_len = length - in_bytes},
        };
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t n = sendmsg(stream->descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return is_retry(errno) ? -EAGAIN : -EPIPE;
        *done += (size_t) n;
    }
    return 0;
}

int
amp_stream_keep(struct amp_stream *stream, const void *bytes, size_t length, size_t done)
{
    unsigned char header[AMP_FRAME_HEADER];
    size_t in_header = done < AMP_FRAME_HEADER ? AMP_FRAME_HEADER - done : 0;
    size_t in_bytes = in_header ? 0 : done - AMP_FRAME_HEADER;
    size_t size = in_header + length - in_bytes;
    unsigned char *rest = malloc(size);
    if (rest == NULL)
        return -ENOMEM;
    put_number(header, length, AMP_FRAME_HEADER);
    memcpy(rest, header + AMP_FRAME_HEADER - in_header, in_header);
    if (length > in_bytes)
        memcpy(rest + in_header, (const unsigned char *) bytes + in_bytes, length - in_bytes);
    stream->out.rest = rest;
    stream->out.length = size;
    stream->out.done = 0;
    return 0;
}

int
amp_stream_flush(struct amp_stream *stream)
{
    while (stream->out.done < stream->out.length) {
        ssize_t n = send(stream->descriptor, stream->out.rest + stream->out.done,
                         stream->out.length - stream->out.done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && is_retry(errno))
            return -EAGAIN;
        if (n < 0) {
            drop_rest(stream);
            return -EPIPE;
        }
        stream->out.done += (size_t) n;
    }
    drop_rest(stream);
    return 0;
}

int
amp_stream_wait(int descriptor, short events, amp_time deadline, struct amp_what *what)
{
    struct pollfd poll = {.fd = descriptor, .events = events};
    int result = amp_wait_descriptors(&poll, 1, deadline, what);
    return result > 0 ? 0 : result;
}
