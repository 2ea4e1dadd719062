/*
 * codec_fuzz.c: whatever bytes arrive, the decoder gives values or an error.
 *
 * With -DLUAMP_LIBFUZZER this is a target for clang's libFuzzer; without, a program that mutates
 * real messages and makes up others, always the same ones for a seed:
 *
 *     codec_fuzz [SEED [RUNS | SECONDSs]]
 *
 * Each input is decoded in a Lua state whose allocator refuses more than a fixed multiple of the
 * input's length, as a stranger's message and as a family's.  What is decoded is then encoded and
 * decoded once more.  The reader of programs in C reads it as well.  Four promises are checked:
 *
 *   - decoding ends with values, or with an error that says that the message is at fault;
 *   - it takes no memory out of proportion;
 *   - what was received can be sent on, with no more memory, and arrives as as many values;
 *   - to the reader it is a message when it is one to the decoder, and malformed when it is that.
 *
 * Lua does not defend itself against made-up bytecode, and a family's messages are trusted with
 * it.  So luaL_loadbufferx is wrapped (by the linker's --wrap), and loads only functions of the
 * real messages; all that stands around the bytecode is at the fuzzer's mercy.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                             /* memmem */
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>

#include "codec.h"
#include "codec_format.h"
#include "fake_object.h"
#include "luamp.h"

/* Memory that one decode or encode may take. */
#define BYTES_PER_BYTE 200
#define BYTES_FOR_NOTHING (32 * 1024)

#define MOST_SEEDS 512
#define LONGEST_INPUT 4096

static const char make_seeds[] =
    "local encode, register_class, object = ...\n"
    "package.path, package.cpath = '', ''\n"
    "package.searchers = {package.searchers[1]}\n"
    "local Class = {__index = {}}\n"
    "register_class('Class', Class)\n"
    "local shared, loop, n = {1, 2}, {}, 0\n"
    "loop[1], loop.self, loop[loop] = loop, loop, loop\n"
    "local long = ('long'):rep(20)\n"
    "local function up() n = n + 1 return up end\n"
    "local function value() return n, long, shared end\n"
    "local M = {f = function() return up end}\n"
    "package.loaded['a.module'] = M\n"
    "local records = {}\n"
    "for i = 1, 20 do records[i] = {id = i, name = 'x' .. i} end\n"
    "local deep = {}\n"
    "for i = 1, 60 do deep = i % 3 == 0 and {deep} or {next = deep} end\n"
    "return encode(nil), encode(true), encode(5), encode(-5), encode(-100), encode(1000),\n"
    "    encode(1 << 20), encode(1 << 40), encode(1.5), encode(0 / 0), encode(''),\n"
    "    encode('short'), encode(long), encode(long:rep(5)), encode(), encode(1, nil, 'x', {}),\n"
    "    encode({}), encode({1, 2, 3}), encode({1, nil, 3}), encode({a = 1, b = {c = {}}}),\n"
    "    encode(records), encode(deep), encode(loop), encode({shared, shared, x = shared}),\n"
    "    encode({[long] = long, long, [{}] = {}, [1.5] = 2, [true] = false}),\n"
    "    encode(setmetatable({x = 1, shared, shared}, Class), Class),\n"
    "    encode(up, value, {up, {value}}), encode({f = value}, _G, {M, M.f, print, string}),\n"
    "    encode(object(1), {object(2), object(3)}), encode(math.sin, math),\n"
    "    encode({1, 2, 3, 4, 5, 6, 7, 8, n = 8, x = {y = {z = {long, long}}}})\n";

struct input {
    unsigned char *bytes;
    size_t length;
};

static struct input seeds[MOST_SEEDS];
static size_t nseeds;

/*
 * The allocator
 */

struct memory {
    size_t used;
    size_t limit;
};

static void *
allocate (void *ud, void *block, size_t old_size, size_t new_size)
{
    struct memory *memory = ud;

    if (!block)
        old_size = 0;
    if (new_size == 0) {
        free(block);
        memory->used -= old_size;
        return NULL;
    }
    if (new_size > old_size && memory->used - old_size + new_size > memory->limit)
        return NULL;
    void *result = realloc(block, new_size);
    if (result)
        memory->used += new_size - old_size;
    return result;
}

/*
 * Bytecode
 */

static struct input bytecode[64];
static size_t nbytecode;
static int learning;

int __real_luaL_loadbufferx (lua_State *L, const char *bytes, size_t length, const char *name,
                             const char *mode);
int __wrap_luaL_loadbufferx (lua_State *L, const char *bytes, size_t length, const char *name,
                             const char *mode);

static struct input
copy_of (const void *bytes, size_t length)
{
    struct input copy = {malloc(length ? length : 1), length};

    if (!copy.bytes)
        abort();
    memcpy(copy.bytes, bytes, length);
    return copy;
}

int
__wrap_luaL_loadbufferx (lua_State *L, const char *bytes, size_t length, const char *name,
                         const char *mode)
{
    if (learning && nbytecode < sizeof bytecode / sizeof *bytecode)
        bytecode[nbytecode++] = copy_of(bytes, length);
    for (size_t i = 0; i < nbytecode; i++) {
        if (bytecode[i].length == length && memcmp(bytecode[i].bytes, bytes, length) == 0)
            return __real_luaL_loadbufferx(L, bytes, length, name, mode);
    }
    lua_pushliteral(L, "not a function of ours");
    return LUA_ERRSYNTAX;
}

/*
 * One input
 */

static struct memory memory = {.limit = SIZE_MAX};
static lua_State *state;
static struct luampC_message sent;              /* valid while its owner is on the stack */

/* (light userdata: struct input, flags) -> what it holds */
static int
decode_input (lua_State *L)
{
    const struct input *input = lua_touserdata(L, 1);
    unsigned flags = (unsigned) lua_tointeger(L, 2);

    return luampC_decode(L, input->bytes, input->length, flags);
}

/* (...) -> the message's owner; see `sent` */
static int
encode_values (lua_State *L)
{
    luampC_encode(L, 1, lua_gettop(L), "value", &sent);
    luampC_keep(L);
    return 1;
}

/* Calls the function below its arguments, with a limit that fits the length. */
static int
call_limited (lua_State *L, int arguments, size_t length)
{
    memory.limit = memory.used + BYTES_FOR_NOTHING + BYTES_PER_BYTE * length;
    int status = lua_pcall(L, arguments, LUA_MULTRET, 0);
    memory.limit = SIZE_MAX;
    return status;
}

static int
push_and_decode (lua_State *L, struct input *input, unsigned flags)
{
    lua_pushcfunction(L, decode_input);
    lua_pushlightuserdata(L, input);
    lua_pushinteger(L, flags);
    return call_limited(L, 2, input->length);
}

/* Returns what is wrong, or NULL. */
static const char *
check_error (lua_State *L, const char *a, const char *b, const char *otherwise)
{
    const char *text = lua_tostring(L, -1);

    if (!text)
        return "the error is not a string";
    if (strstr(text, "not enough memory"))
        return "memory out of proportion";
    return strstr(text, a) || strstr(text, b) ? NULL : otherwise;
}

/* A plain value has the same message however it is written. */
static const char *
check_plain (lua_State *L, size_t size)
{
    unsigned char *bytes = malloc(size);

    if (!bytes)
        abort();
    int agree = luampC_write_scalar(L, 1, bytes) == bytes + size;
    luampC_encode(L, 1, 1, "value", &sent);
    agree = agree && sent.length == size && memcmp(sent.bytes, bytes, size) == 0;
    free(bytes);
    return agree ? NULL : "luampC_write_scalar and luampC_encode differ";
}

/* Sends on all values that are on the stack, which came from so many bytes. */
static const char *
check_values (lua_State *L, size_t length, unsigned flags)
{
    int count = lua_gettop(L);
    size_t size = count == 1 ? luampC_scalar_size(L, 1) : 0;
    const char *wrong = size > 0 ? check_plain(L, size) : NULL;

    if (wrong)
        return wrong;
    lua_pushcfunction(L, encode_values);
    lua_insert(L, 1);
    if (call_limited(L, count, length) != LUA_OK)
        return check_error(L, "nested too deeply", "nested too deeply",
                           "what was received cannot be sent on");
    struct input again = {(unsigned char *) sent.bytes, sent.length};
    if (push_and_decode(L, &again, flags) != LUA_OK)
        return "what was sent on does not arrive";
    return lua_gettop(L) == 1 + count ? NULL : "not as many values arrive as were sent on";
}

/*
 * The reader of programs in C, which does not know bytecode, nor what there is to be had by name.
 */

static const char *
check_reader (const struct input *input, int accepted, unsigned flags)
{
    static luamp_Reader *reader;
    luamp_Item item = {.type = LUAMP_TNIL};
    const char *error = accepted ? "" : lua_tostring(state, -1);

    if (!reader && !(reader = luamp_reader_new()))
        abort();
    int result = luamp_reader_load(reader, input->bytes, input->length);
    while (result == LUAMP_OK && item.type != LUAMP_TNONE)
        result = luamp_read(reader, &item);
    if (accepted)
        return result == LUAMP_OK ? NULL : "the reader refuses what the decoder reads";
    if (!error || flags != (LUAMPC_FUNCTIONS | LUAMPC_OBJECTS)
        || !strstr(error, "malformed message") || strstr(error, "not a function of ours")
        || strstr(error, "too many upvalues"))
        return NULL;
    return result == LUAMP_MALFORMED ? NULL : "the reader reads what is malformed to the decoder";
}

/* Decodes the input; returns what is wrong, or NULL.  *accepted: it was a message. */
static const char *
check_input (struct input *input, unsigned flags, int *accepted)
{
    lua_settop(state, 0);
    *accepted = push_and_decode(state, input, flags) == LUA_OK;
    const char *wrong = check_reader(input, *accepted, flags);
    if (wrong)
        return wrong;
    if (*accepted)
        return check_values(state, input->length, flags);
    return check_error(state, "malformed message", "cannot receive",
                       "the error does not say that the message is at fault");
}

static void
give_up (const char *what)
{
    const char *error = lua_gettop(state) > 0 ? lua_tostring(state, -1) : NULL;

    fprintf(stderr, "%s: %s\n", what, error ? error : "(no error)");
    abort();
}

static void
learn_seeds (void)
{
    lua_State *L = state;
    int accepted;

    luampC_open(L);
    if (luaL_loadstring(L, make_seeds) != LUA_OK)
        give_up("the seeds");
    lua_getfield(L, 1, "encode");
    lua_getfield(L, 1, "register_class");
    lua_pushcfunction(L, fake_object_new);
    if (lua_pcall(L, 3, LUA_MULTRET, 0) != LUA_OK)
        give_up("the seeds");
    for (int i = 2; i <= lua_gettop(L); i++) {
        size_t length;
        const char *bytes = lua_tolstring(L, i, &length);
        seeds[nseeds++] = copy_of(bytes, length);
    }
    learning = 1;
    for (size_t i = 0; i < nseeds; i++) {
        const char *wrong = check_input(&seeds[i], LUAMPC_FUNCTIONS | LUAMPC_OBJECTS, &accepted);
        if (wrong || !accepted)
            give_up(wrong ? wrong : "a real message is refused");
    }
    learning = 0;
}

static void
start (void)
{
    state = lua_newstate(allocate, &memory);
    if (!state)
        abort();
    luaL_openlibs(state);
    learn_seeds();
}

static void
collect_now_and_then (void)
{
    static unsigned runs;

    if (++runs % 16 == 0) {
        lua_settop(state, 0);
        lua_gc(state, LUA_GCCOLLECT);
    }
}

#ifdef LUAMP_LIBFUZZER

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length);

/* The first byte chooses the flags, the rest is the message. */
int
LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length)
{
    if (!state)
        start();
    if (length == 0)
        return 0;
    struct input input = copy_of(bytes + 1, length - 1);
    int accepted;
    const char *wrong = check_input(&input, bytes[0] & (LUAMPC_FUNCTIONS | LUAMPC_OBJECTS),
                                    &accepted);
    if (wrong)
        give_up(wrong);
    free(input.bytes);
    collect_now_and_then();
    return 0;
}

#else

static uint64_t random_state;

static uint64_t
random_number (void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static size_t
random_below (size_t n)
{
    return n ? (size_t) (random_number() % n) : 0;
}

/* Tags are what the decoder acts upon; they lie here. */
static unsigned char
random_byte (void)
{
    switch (random_below(4)) {
    case 0:
        return (unsigned char) (TAG_NIL + random_below(TAG_MESSAGE + 1 - TAG_NIL));
    case 1:
        return (unsigned char) random_below(8);
    case 2:
        return (unsigned char) (TAG_SLOT + random_below(4));
    default:
        return (unsigned char) random_number();
    }
}

static void
insert (struct input *input, size_t at, const unsigned char *bytes, size_t length)
{
    if (length > LONGEST_INPUT - input->length)
        length = LONGEST_INPUT - input->length;
    memmove(input->bytes + at + length, input->bytes + at, input->length - at);
    memmove(input->bytes + at, bytes, length);
    input->length += length;
}

static void
cut (struct input *input, size_t at, size_t length)
{
    if (length > input->length - at)
        length = input->length - at;
    memmove(input->bytes + at, input->bytes + at + length, input->length - at - length);
    input->length -= length;
}

/* Is this place inside of a real message's bytecode?  A change there would only be refused. */
static int
is_in_bytecode (const struct input *input, size_t at)
{
    for (size_t i = 0; i < nbytecode; i++) {
        const struct input *code = &bytecode[i];
        size_t from = at < code->length ? 0 : at - code->length + 1;
        size_t to = at + code->length < input->length ? at + code->length : input->length;
        const unsigned char *found = memmem(input->bytes + from, to - from, code->bytes,
                                            code->length);
        if (found && found <= input->bytes + at)
            return 1;
    }
    return 0;
}

static size_t
random_place (const struct input *input)
{
    size_t at = random_below(input->length);

    for (int tries = 0; tries < 16 && is_in_bytecode(input, at); tries++)
        at = random_below(input->length);
    return at;
}

/* Makes a reference, if there is one from this place on, refer to something else. */
static void
redirect (struct input *input, size_t at)
{
    for (; at + 1 < input->length; at++) {
        if (input->bytes[at] == TAG_SAME || input->bytes[at] == TAG_SAME_UPVALUE) {
            if (random_below(2))
                input->bytes[at] ^= TAG_SAME ^ TAG_SAME_UPVALUE;
            else
                input->bytes[at + 1] = (unsigned char) random_below(input->length);
            return;
        }
    }
}

static void
mutate (struct input *input)
{
    size_t at = random_place(input);
    unsigned char bytes[64];
    const struct input *other;
    size_t from;

    switch (random_below(9)) {
    case 0:
        if (input->length > 0)
            input->bytes[at] ^= (unsigned char) (1u << random_below(8));
        break;
    case 1:
    case 2:
        if (input->length > 0)
            input->bytes[at] = random_byte();
        break;
    case 3:
        bytes[0] = random_byte();
        insert(input, at, bytes, 1);
        break;
    case 4:
        cut(input, at, 1 + random_below(random_below(2) ? 2 : 16));
        break;
    case 5:                                             /* say a part twice */
        from = random_below(input->length);
        size_t length = random_below(sizeof bytes);
        if (length > input->length - from)
            length = input->length - from;
        memcpy(bytes, input->bytes + from, length);
        insert(input, at, bytes, length);
        break;
    case 6:                                             /* a part of another */
        other = &seeds[random_below(nseeds)];
        from = random_below(other->length);
        insert(input, at, other->bytes + from, random_below(other->length - from + 1));
        break;
    case 7:
        redirect(input, at);
        break;
    default:                                            /* a larger number */
        for (size_t i = at; i < at + 4 && i < input->length; i++)
            input->bytes[i] = random_below(2) ? 0xff : (unsigned char) random_number();
        break;
    }
}

/* The same few bytes again and again: as a rule tables in tables, each larger than the message. */
static void
make_repetition (struct input *input)
{
    unsigned char piece[12] = {
        (unsigned char) (TAG_TABLE8 + random_below(4)), (unsigned char) random_below(14)
    };
    size_t length = 2 + random_below(sizeof piece - 2);

    for (size_t i = 2; i < length; i++)
        piece[i] = random_below(3) ? random_byte() : (unsigned char) (0xff * random_below(2));
    if (random_below(4) == 0)
        piece[0] = random_byte();
    input->bytes[0] = TAG_MESSAGE;
    input->bytes[1] = 0;
    input->length = 2;
    for (size_t n = random_below(LONGEST_INPUT); input->length < n; )
        insert(input, input->length, piece, length);
}

static void
make_input (struct input *input)
{
    if (random_below(16) == 0) {
        make_repetition(input);
        return;
    }
    if (random_below(8) == 0) {
        input->length = random_below(200);
        for (size_t i = 0; i < input->length; i++)
            input->bytes[i] = random_byte();
        if (input->length >= 2 && random_below(8) != 0) {
            input->bytes[0] = TAG_MESSAGE;
            input->bytes[1] = (unsigned char) random_below(6);
        }
        return;
    }
    const struct input *seed = &seeds[random_below(nseeds)];
    input->length = seed->length < LONGEST_INPUT ? seed->length : LONGEST_INPUT;
    memcpy(input->bytes, seed->bytes, input->length);
    for (size_t n = 1 + random_below(random_below(2) ? 3 : 12); n > 0; n--)
        mutate(input);
}

static double
seconds (void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/*
 * States that follow each other at the same address: what the codec keeps of one must not be taken
 * for the next one's.  Their memory is one block, which is spoilt in between.
 */

static struct {
    size_t used;
    _Alignas(16) unsigned char bytes[1 << 18];
} block;

static void *
allocate_in_block (void *unused, void *old, size_t old_size, size_t size)
{
    unsigned char *new = block.bytes + block.used;

    (void) unused;
    if (size == 0 || size > sizeof block.bytes - block.used)
        return NULL;
    block.used += (size + 15) & ~(size_t) 15;
    return old ? memcpy(new, old, old_size < size ? old_size : size) : new;
}

static int
sends_a_table (lua_State *L)
{
    struct luampC_message message;

    lua_settop(L, 0);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "value");
    lua_setfield(L, 1, "name");
    luampC_encode(L, 1, 1, "value", &message);
    return luampC_decode(L, message.bytes, message.length, 0) == 1
           && lua_getfield(L, -1, "name") == LUA_TSTRING
           && strcmp(lua_tostring(L, -1), "value") == 0;
}

static int
send_a_table (lua_State *L)
{
    lua_pushboolean(L, sends_a_table(L));
    return 1;
}

/* Sends a table when the state is closed: then nothing tells the codec any more that it was. */
static void
send_at_the_end (lua_State *L)
{
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, send_a_table);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
}

static const char *
check_states_in_turn (void)
{
    const void *registry = NULL;

    for (int i = 0; i < 6; i++) {
        memset(&block, 0xff, sizeof block);
        block.used = 0;
        lua_State *L = lua_newstate(allocate_in_block, NULL);
        if (!L || (registry && lua_topointer(L, LUA_REGISTRYINDEX) != registry))
            return "the states are not at one address";
        registry = lua_topointer(L, LUA_REGISTRYINDEX);
        lua_newuserdatauv(L, (size_t) i * 100, 0);  /* so that the rest is not where it was */
        if (i % 3 == 1)
            send_at_the_end(L);
        else if (!sends_a_table(L) || !sends_a_table(L))
            return "a table does not arrive";
        lua_close(L);
    }
    return NULL;
}

static void
print_input (const struct input *input, unsigned flags)
{
    printf("# flags %u, %zu bytes:", flags, input->length);
    for (size_t i = 0; i < input->length; i++)
        printf("%s%02x", i % 32 == 0 ? "\n#   " : "", input->bytes[i]);
    printf("\n# %s\n", lua_gettop(state) > 0 && lua_tostring(state, -1)
                       ? lua_tostring(state, -1) : "(values)");
}

int
main (int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    const char *amount = argc > 2 ? argv[2] : "20000";
    char *unit;
    double number = strtod(amount, &unit);
    double end = *unit == 's' ? seconds() + number : 0;
    uint64_t runs = 0, messages = 0;
    const char *wrong = NULL;

    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    start();
    size_t first_seeds = nseeds;
    printf("1..2\n# seed %llu, %zu real messages\n", (unsigned long long) seed, nseeds);
    while (!wrong && (end > 0 ? seconds() < end : runs < (uint64_t) number)) {
        unsigned char bytes[LONGEST_INPUT];
        struct input made = {bytes, 0};
        unsigned flags = (unsigned) random_below(4);
        make_input(&made);
        /* an exact copy, so that reading one byte too many is seen */
        struct input input = copy_of(made.bytes, made.length);
        int accepted;
        wrong = check_input(&input, flags, &accepted);
        if (wrong)
            print_input(&input, flags);
        runs++;
        if (accepted) {
            messages++;
            /* what was accepted is a good start for going further */
            if (random_below(64) == 0 && input.length > 8) {
                size_t place = nseeds < MOST_SEEDS
                               ? nseeds++ : first_seeds + random_below(MOST_SEEDS - first_seeds);
                free(seeds[place].bytes);
                seeds[place] = copy_of(input.bytes, input.length);
            }
        }
        free(input.bytes);
        collect_now_and_then();
    }
    printf("# %llu inputs, %llu of them messages\n", (unsigned long long) runs,
           (unsigned long long) messages);
    printf("%s 1 - whatever bytes arrive give values, or an error, in proportionate memory%s%s\n",
           wrong ? "not ok" : "ok", wrong ? ": " : "", wrong ? wrong : "");
    lua_close(state);
    const char *mixed_up = check_states_in_turn();
    printf("%s 2 - a state does not get what another at its address had%s%s\n",
           mixed_up ? "not ok" : "ok", mixed_up ? ": " : "", mixed_up ? mixed_up : "");
    for (size_t i = 0; i < nseeds; i++)
        free(seeds[i].bytes);
    for (size_t i = 0; i < nbytecode; i++)
        free(bytecode[i].bytes);
    return wrong || mixed_up ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
