/*
 * stream_fuzz: whatever a stranger sends, a connection gives messages or an end.
 *
 *     stream_fuzz                              the corpus, and a short run of both kinds
 *     stream_fuzz SECONDS SEED [random | mutated]
 *
 * Over a socket pair, one end shakes hands, reads frames and decodes them, as the modules do with
 * a connection by a socket. The other end is the stranger, who sends in pieces of any size:
 *
 *   - random bytes, at first, after a correct hello, or after a correct handshake;
 *   - the bytes of a correct client, mutated: hello, proof, headers, and messages of all kinds.
 *
 * The inputs are always the same for a seed, but for the 32 random bytes of our own hello.
 * The promises:
 *
 *   - the handshake ends with one of the results that stream.h names, and with success only after
 *     a hello, and a proof where there is a key, of which no byte was changed;
 *   - the frames that are read are those that were sent, each as it was;
 *   - what is held of a frame is never more than twice what has come of it, and 4 KiB;
 *   - no longer message is read than was agreed;
 *   - a message decodes to values, or to an error that says that the message is at fault, and
 *     never to a function or an object.
 *
 * It prints TAP; when a promise is broken, the input in hexadecimal, too.
 */
#include "core/stream.h"

#include "codec.h"
#include "fake_object.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX 8192
#define MESSAGE_MAX 5000 /* that our end takes: inputs can be longer */
#define SEEDS_MAX 64
#define SHORT_RUNS 3000

enum { WITH_KEY = 1, SHAKES_FIRST = 2, CLOSES = 4, ONE_BY_ONE = 8 };

struct input {
    unsigned options;
    unsigned changed; /* bytes of the hello and proof that are not a correct client's */
    size_t length;
    unsigned char bytes[INPUT_MAX];
};

static struct amp_terms listener_terms = {
    .key = (const unsigned char *) "the key", .key_length = 7, .max_message = MESSAGE_MAX,
    .is_listener = true,
};
static struct {
    unsigned char bytes[2048];
    size_t length;
} seeds[SEEDS_MAX];
static size_t n_seeds;
static lua_State *L;
static unsigned long handshakes, frames, values, refusals;

/*
 * Chance: xorshift, so that a seed gives the same everywhere.
 */

static uint64_t chance = 1;

static uint32_t
draw(uint32_t below)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (uint32_t) (chance >> 16) % below;
}

/*
 * Promises.
 */

static const struct input *current;

static void
broken(const char *promise)
{
    printf("not ok 1 - %s\n# options %u, input ", promise, current->options);
    for (size_t i = 0; i < current->length; i++)
        printf("%02x", current->bytes[i]);
    printf("\n1..1\n");
    exit(1);
}

#define HOLDS(condition, promise) ((condition) ? (void) 0 : broken(promise))

static int
decode(lua_State *state)
{
    const struct { const unsigned char *bytes; size_t length; } *message = lua_touserdata(state, 1);
    lua_settop(state, 0);
    luaL_checkstack(state, 2, NULL);
    return luampC_decode(state, message->bytes, message->length, 0);
}

static void
check_message(const unsigned char *bytes, size_t length)
{
    struct { const unsigned char *bytes; size_t length; } message = {bytes, length};
    lua_pushcfunction(L, decode);
    lua_pushlightuserdata(L, &message);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    if (status == LUA_OK) {
        values++;
        for (int i = 1; i <= lua_gettop(L); i++)
            HOLDS(!lua_isfunction(L, i) || lua_iscfunction(L, i), "no function is made");
    } else {
        const char *text = lua_tostring(L, -1);
        refusals++;
        HOLDS(status == LUA_ERRRUN && text && (strncmp(text, "malformed message: ", 19) == 0 ||
                                               strncmp(text, "cannot receive ", 15) == 0),
              "a message that is none says so");
    }
    lua_settop(L, 0);
}

/*
 * Our end.
 */

struct receiver {
    int descriptor;
    bool is_done; /* the handshake */
    int result;   /* how it ended, or -EAGAIN */
    struct amp_shake shake;
    struct amp_stream stream;
    const unsigned char *expected, *sent; /* the frames that are to come, and what is sent of them */
    const unsigned char *end;
};

static void
read_frames(struct receiver *r)
{
    for (;;) {
        unsigned char *bytes;
        size_t length;
        int result = amp_stream_read(&r->stream, UINT64_MAX, &bytes, &length);
        HOLDS(r->stream.in.room <= 2 * r->stream.in.done + 4096, "memory as bytes come");
        if (result != 0) {
            r->result = result;
            HOLDS(result == -EAGAIN || result == -EPIPE || result == -EMSGSIZE, "a result of read");
            return;
        }
        HOLDS(length <= MESSAGE_MAX, "no longer than agreed");
        HOLDS((size_t) (r->end - r->expected) >= 8 + length, "no more than was sent");
        uint64_t announced = 0;
        for (int i = 7; i >= 0; i--)
            announced = announced << 8 | r->expected[i];
        HOLDS(announced == length && memcmp(r->expected + 8, bytes, length) == 0,
              "a frame is what was sent");
        r->expected += 8 + length;
        frames++;
        check_message(bytes, length);
        free(bytes);
    }
}

/* Makes what progress it can. */
static void
go_on(struct receiver *r)
{
    short events;
    if (r->result != -EAGAIN)
        return;
    if (!r->is_done) {
        r->result = amp_shake_step(&r->shake, r->descriptor, &events);
        HOLDS(r->result == 0 || r->result == -EAGAIN || r->result == -EPROTO ||
                  r->result == -EKEYREJECTED || r->result == -EPIPE,
              "a result of the handshake");
        if (r->result != 0)
            return;
        r->is_done = true;
        r->result = -EAGAIN;
        handshakes++;
        amp_stream_begin(&r->stream, r->descriptor, &r->shake);
    }
    read_frames(r);
}

/* A correct client's part of the handshake, by way of our own code. */
static void
shake_correctly(struct receiver *r, int stranger, struct amp_terms terms)
{
    struct amp_shake shake;
    short events;
    int result;
    terms.is_listener = false;
    if (amp_shake_begin(&shake, &terms) != 0)
        abort();
    do {
        result = amp_shake_step(&shake, stranger, &events);
        go_on(r);
    } while (result == -EAGAIN);
    HOLDS(result == 0 && r->is_done, "a correct client comes in");
}

static void
run(const struct input *input)
{
    int pair[2];
    struct receiver r = {.result = -EAGAIN};
    struct amp_terms terms = listener_terms;
    current = input;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    if (!(input->options & WITH_KEY))
        terms.key = NULL;
    r.descriptor = pair[0];
    if (amp_shake_begin(&r.shake, &terms) != 0)
        abort();
    go_on(&r);
    size_t in_shake = 0;
    if (input->options & SHAKES_FIRST)
        shake_correctly(&r, pair[1], terms);
    else
        in_shake = AMP_HELLO_SIZE;
    if (in_shake > input->length)
        in_shake = input->length;
    r.expected = input->bytes + in_shake;
    r.end = input->bytes + input->length;
    for (size_t done = 0; done < input->length;) {
        size_t n = input->options & ONE_BY_ONE ? 1 : 1 + draw((uint32_t) (input->length - done));
        ssize_t sent = send(pair[1], input->bytes + done, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            break;
        done += (size_t) sent;
        go_on(&r);
        if (r.result != -EAGAIN)
            break;
    }
    if (!(input->options & SHAKES_FIRST) && r.is_done)
        HOLDS(input->changed == 0 && !(input->options & WITH_KEY), "only a correct hello comes in");
    if (input->options & CLOSES) {
        shutdown(pair[1], SHUT_RDWR);
        go_on(&r);
        HOLDS(r.result != -EAGAIN, "the end is noticed");
    }
    if (r.is_done)
        amp_stream_end(&r.stream);
    else
        close(pair[0]);
    close(pair[1]);
}

/*
 * Inputs.
 */

static const char make_seeds[] =
    "local encode = ...\n"
    "local shared, loop = {1, 2}, {}\n"
    "loop[1], loop.self = loop, loop\n"
    "local records = {}\n"
    "for i = 1, 10 do records[i] = {id = i, name = 'x' .. i} end\n"
    "return encode(true), encode(5), encode(-1000), encode(1 << 40), encode(1.5), encode(''),\n"
    "    encode('short'), encode(('long'):rep(50)), encode({}), encode({1, 2, 3}),\n"
    "    encode({a = 1, b = {c = {}}}), encode(records), encode(loop), encode({shared, shared}),\n"
    "    encode({print, string, math.sin}), encode(1, 2, 3), encode(nil)\n";

static int
encode(lua_State *state)
{
    struct luampC_message message;
    luampC_encode_for(state, 1, lua_gettop(state), &(struct luampC_told) {.root = "value"}, 0, &message);
    lua_pushlstring(state, (const char *) message.bytes, message.length);
    return 1;
}

static void
learn(void)
{
    L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_loadstring(L, make_seeds) != LUA_OK)
        abort();
    lua_pushcfunction(L, encode);
    if (lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    for (int i = 1; i <= lua_gettop(L) && n_seeds < SEEDS_MAX; i++) {
        size_t length;
        const char *bytes = lua_tolstring(L, i, &length);
        if (length > sizeof seeds->bytes)
            continue;
        memcpy(seeds[n_seeds].bytes, bytes, length);
        seeds[n_seeds++].length = length;
    }
    lua_settop(L, 0);
}

static void
add(struct input *input, const void *bytes, size_t length)
{
    if (length > INPUT_MAX - input->length)
        length = INPUT_MAX - input->length;
    memcpy(input->bytes + input->length, bytes, length);
    input->length += length;
}

static void
add_random(struct input *input, size_t length)
{
    while (length-- > 0) {
        unsigned char byte = (unsigned char) draw(256);
        add(input, &byte, 1);
    }
}

static void
add_number(struct input *input, uint64_t number, int size)
{
    for (int i = 0; i < size; i++) {
        unsigned char byte = (unsigned char) (number >> 8 * i);
        add(input, &byte, 1);
    }
}

static void
add_hello(struct input *input)
{
    add(input, "luamp\r\n", 8);
    add_number(input, 1, 4);
    add_number(input, (input->options & WITH_KEY ? 1 : 0) | draw(2) << 1, 4);
    add_number(input, draw(2) ? draw(1000) : UINT64_MAX, 8);
    add_random(input, 32);
}

static void
add_frame(struct input *input)
{
    size_t i = draw((uint32_t) n_seeds);
    add_number(input, seeds[i].length, 8);
    add(input, seeds[i].bytes, seeds[i].length);
}

static void
make_random(struct input *input)
{
    input->options = draw(16);
    input->length = 0;
    input->changed = 0;
    if (!(input->options & SHAKES_FIRST) && draw(2))
        add_hello(input);
    else
        input->changed = !(input->options & SHAKES_FIRST);
    for (int n = (int) draw(4); n > 0; n--) { /* headers that are plausible, and what is not so long */
        if (draw(2))
            add_number(input, draw(3) ? draw(64) : (uint64_t) draw(1 << 16) << draw(48), 8);
        add_random(input, draw(100));
    }
}

static void
mutate_at(struct input *input, size_t at)
{
    static const unsigned char telling[] = {0, 1, 0x7f, 0x80, 0xff, 0xa9, 0xb8, 0xba, 0xbc, 0xc0, 0xc2};
    unsigned char *byte = input->bytes + at;
    size_t behind = input->length - at;
    size_t n = 1 + draw((uint32_t) (behind < 16 ? behind : 16));
    switch (draw(5)) {
    case 0:
        *byte ^= (unsigned char) (1u << draw(8));
        break;
    case 1:
        *byte = telling[draw(sizeof telling)];
        break;
    case 2: /* some go */
        memmove(byte, byte + n, behind - n);
        input->length -= n;
        break;
    case 3: /* some come twice */
        if (input->length + n <= INPUT_MAX) {
            memmove(byte + n, byte, behind);
            input->length += n;
        }
        break;
    case 4: /* the end */
        input->length = at;
        break;
    }
}

static void
make_mutated(struct input *input)
{
    unsigned char original[AMP_HELLO_SIZE];
    input->options = draw(16);
    input->length = 0;
    input->changed = 0;
    size_t hello = 0;
    if (!(input->options & SHAKES_FIRST)) {
        add_hello(input);
        memcpy(original, input->bytes, hello = AMP_HELLO_SIZE);
        if (input->options & WITH_KEY)
            add_random(input, AMP_PROOF_SIZE); /* a right one is tried by SHAKES_FIRST */
    }
    for (uint32_t n = draw(5); n > 0; n--)
        add_frame(input);
    for (uint32_t n = draw(6); n > 0 && input->length > 0; n--)
        mutate_at(input, draw((uint32_t) input->length));
    /* What a hello means in its first 16 bytes; the rest may be anything. */
    if (hello > 0)
        input->changed = input->length < hello || memcmp(input->bytes, original, 12) != 0 ||
                         ((input->bytes[12] ^ original[12]) & ~2) != 0 ||
                         memcmp(input->bytes + 13, original + 13, 3) != 0;
}

/*
 * Runs.
 */

static int
replay(const char *folder)
{
    int n = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        static struct input input;
        char path[4096 + 300];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "rb");
        if (file == NULL)
            continue;
        int options = getc(file);
        input.options = options == EOF ? 0 : (unsigned) options & 15;
        input.length = fread(input.bytes, 1, INPUT_MAX, file);
        input.changed = input.length < 16 || memcmp(input.bytes, "luamp\r\n\0\1\0\0", 12) != 0;
        fclose(file);
        run(&input);
        n++;
    }
    closedir(directory);
    return n;
}

static unsigned long
fuzz(void (*make)(struct input *), amp_time end, unsigned long most)
{
    static struct input input;
    unsigned long n = 0;
    while (n < most && ((n & 255) != 0 || amp_now() < end)) {
        make(&input);
        run(&input);
        n++;
    }
    return n;
}

int
main(int argc, char **argv)
{
    const char *source = getenv("top_srcdir");
    char corpus[4096];
    setvbuf(stdout, NULL, _IOLBF, 0);
    amp_thread_enter();
    learn();
    if (argc > 2) {
        amp_time end = amp_now() + (amp_time) atoi(argv[1]) * AMP_SECOND;
        const char *kind = argc > 3 ? argv[3] : "";
        chance = strtoull(argv[2], NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) | 1;
        unsigned long n = 0;
        while (amp_now() < end) {
            if (strcmp(kind, "mutated") != 0)
                n += fuzz(make_random, end, 1000);
            if (strcmp(kind, "random") != 0)
                n += fuzz(make_mutated, end, 1000);
        }
        printf("ok 1 - %lu inputs\n", n);
    } else {
        snprintf(corpus, sizeof corpus, "%s/tests/fuzz/corpus/stream", source ? source : ".");
        int n = replay(corpus);
        printf("%s 1 - the corpus, of %d inputs\n", n > 0 ? "ok" : "not ok", n);
        chance = UINT64_C(0x9e3779b97f4a7c15);
        fuzz(make_random, AMP_FOREVER, SHORT_RUNS);
        printf("ok 2 - %d random inputs\n", SHORT_RUNS);
        fuzz(make_mutated, AMP_FOREVER, SHORT_RUNS);
        printf("ok 3 - %d mutated inputs\n", SHORT_RUNS);
    }
    printf("# %lu handshakes, %lu frames: %lu messages, %lu refused\n1..%d\n", handshakes, frames,
           values, refusals, argc > 2 ? 1 : 3);
    lua_close(L);
    return 0;
}
