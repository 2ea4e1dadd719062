/*
 * Messages of programs in C: what a writer writes a reader reads; what is no message is told; and whatever
 * the bytes are, a reader ends, within them. That Lua reads and writes the same is tried in
 * tests/host/embed.c and tests/fuzz/codec_fuzz.c.
 *
 *     test-messages [SEED [RUNS]]
 */
#include "luamp.h"

#include "bind/codec_format.h"
#include "../core/tap.h"

#include <math.h>

static luamp_Writer *w;
static luamp_Reader *r;

/* Loads what the writer holds into the reader, from memory of exactly its size, so that a sanitizer sees who
   reads behind it. */
static int
load(void)
{
    const void *bytes;
    size_t length;
    int result = luamp_writer_bytes(w, &bytes, &length);
    if (result != LUAMP_OK)
        return result;
    void *copy = malloc(length);
    tap_need(copy != NULL);
    memcpy(copy, bytes, length);
    result = luamp_reader_load(r, copy, length);
    free(copy);
    luamp_writer_clear(w);
    return result;
}

static bool
at_end(void)
{
    luamp_Item item;
    return luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TNONE &&
           luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TNONE;
}

static void
test_plain(void)
{
    static const int64_t integers[] = {
        0, 1, -1, -8, -9, 127, 128, -128, -129, INT16_MAX, INT16_MIN, INT16_MAX + 1, INT32_MAX, INT32_MIN,
        INT64_C(1) << 31, INT64_MAX, INT64_MIN,
    };
    bool right = true;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t n = ~integers[i];
        luamp_write_integer(w, integers[i]);
        right = right && load() == LUAMP_OK && luamp_read_integer(r, &n) == LUAMP_OK &&
                n == integers[i] && at_end();
    }
    ok(right, "integers of every size");
    static const double numbers[] = {0, -0.0, 1.5, 1e300, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double number = 77;
        luamp_write_number(w, numbers[i]);
        right = right && load() == LUAMP_OK && luamp_read_number(r, &number) == LUAMP_OK &&
                memcmp(&number, &numbers[i], sizeof number) == 0 && at_end();
    }
    double number = 0;
    luamp_write_number(w, NAN);
    ok(right && load() == LUAMP_OK && luamp_read_number(r, &number) == LUAMP_OK && isnan(number),
       "floats");
    static char text[70000];
    memset(text, 'x', sizeof text);
    static const size_t lengths[] = {0, 1, 40, 41, 255, 256, 65536, sizeof text};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const char *bytes = NULL;
        size_t length = 1;
        luamp_write_string(w, text, lengths[i]);
        right = right && load() == LUAMP_OK && luamp_read_string(r, &bytes, &length) == LUAMP_OK &&
                length == lengths[i] && memcmp(bytes, text, length) == 0 && at_end();
    }
    ok(right, "strings of every size");
    int yes = 0, no = 1;
    luamp_Item item;
    luamp_write_boolean(w, 3);
    ok(load() == LUAMP_OK && luamp_read_boolean(r, &yes) == LUAMP_OK && yes == 1, "true");
    luamp_write_boolean(w, 0);
    ok(load() == LUAMP_OK && luamp_read_boolean(r, &no) == LUAMP_OK && no == 0, "false");
    luamp_write_nil(w);
    ok(load() == LUAMP_OK && luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TNIL, "nil");
}

static void
test_tables(void)
{
    size_t items = 9;
    int64_t n = 0;
    const char *bytes;
    size_t length;
    luamp_Item item;
    luamp_write_list(w);
    luamp_write_end(w);
    ok(load() == LUAMP_OK && luamp_read_table(r, &items) == LUAMP_OK && items == 0 &&
           luamp_read_end(r) == LUAMP_OK && at_end(),
       "an empty list");
    luamp_write_table(w);
    luamp_write_end(w);
    ok(load() == LUAMP_OK && luamp_read_table(r, &items) == LUAMP_OK && items == 0 &&
           luamp_read_end(r) == LUAMP_OK && at_end(),
       "an empty table");

    bool right = true;
    static const int sizes[] = {1, 255, 256, 257, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        luamp_write_list(w);
        for (int k = 0; k < sizes[i]; k++)
            luamp_write_integer(w, k);
        luamp_write_end(w);
        right = right && load() == LUAMP_OK && luamp_read_table(r, &items) == LUAMP_OK &&
                items == (size_t) sizes[i];
        for (int k = 0; k < sizes[i]; k++)
            right = right && luamp_read_integer(r, &n) == LUAMP_OK && n == k;
        right = right && luamp_read_end(r) == LUAMP_OK && at_end();
    }
    ok(right, "lists of every size");

    luamp_write_table(w);
    luamp_write_text(w, "list");
    luamp_write_list(w);
    for (int i = 0; i < 300; i++) { /* its head grows while others are in it */
        luamp_write_table(w);
        luamp_write_integer(w, i);
        luamp_write_nil(w);
        luamp_write_end(w);
    }
    luamp_write_end(w);
    luamp_write_number(w, 1.5);
    luamp_write_text(w, "x");
    luamp_write_list(w);
    luamp_write_end(w);
    luamp_write_boolean(w, 1);
    luamp_write_end(w);
    is(load(), LUAMP_OK, "tables in tables");
    right = luamp_read_table(r, &items) == LUAMP_OK && items == 0 &&
            luamp_read_string(r, &bytes, &length) == LUAMP_OK && length == 4 &&
            luamp_read_table(r, &items) == LUAMP_OK && items == 300;
    for (int i = 0; i < 300; i++) {
        right = right && luamp_read_table(r, &items) == LUAMP_OK && items == 0 &&
                luamp_read_integer(r, &n) == LUAMP_OK && n == i && luamp_read(r, &item) == LUAMP_OK &&
                item.type == LUAMP_TNIL && luamp_read_end(r) == LUAMP_OK;
    }
    double number = 0;
    int yes = 0;
    ok(right && luamp_read_end(r) == LUAMP_OK && luamp_read_number(r, &number) == LUAMP_OK &&
           number == 1.5 && luamp_read_string(r, &bytes, &length) == LUAMP_OK && length == 1,
       "are read as they were written");
    ok(luamp_skip(r) == LUAMP_OK && luamp_read_boolean(r, &yes) == LUAMP_OK && yes,
       "or skipped");
    is(luamp_skip(r), LUAMP_WRONG_TYPE, "an end is not skipped");
    ok(luamp_read_end(r) == LUAMP_OK && at_end(), "but read");

    for (int i = 0; i < 100000; i++)
        luamp_write_list(w);
    for (int i = 0; i < 100000; i++)
        luamp_write_end(w);
    ok(load() == LUAMP_OK && luamp_skip(r) == LUAMP_OK && at_end(), "however deep they are");
}

static void
test_types(void)
{
    int64_t n;
    int yes;
    double number;
    luamp_Item item;
    luamp_write_integer(w, 5);
    load();
    is(luamp_read_string(r, NULL, NULL), LUAMP_WRONG_TYPE, "another type than there is");
    is(luamp_read_boolean(r, &yes), LUAMP_WRONG_TYPE, "is told");
    is(luamp_read_table(r, NULL), LUAMP_WRONG_TYPE, "each time");
    ok(luamp_peek(r, &item) == LUAMP_OK && item.type == LUAMP_TINTEGER, "and what there is stays");
    ok(luamp_read_number(r, &number) == LUAMP_OK && number == 5, "an integer is a number");
    is(luamp_read_integer(r, &n), LUAMP_WRONG_TYPE, "but only once");
    luamp_write_number(w, 5);
    load();
    is(luamp_read_integer(r, &n), LUAMP_WRONG_TYPE, "a float is no integer");
    luamp_Reader *empty = luamp_reader_new();
    is(luamp_read(empty, &item), LUAMP_MISUSE, "a reader without a message has nothing to read");
    luamp_reader_free(empty);
}

/* What a writer does not take; its state is cleared. */
static bool
refuses(int result)
{
    const void *bytes;
    size_t length;
    bool stays = luamp_write_integer(w, 1) == result && luamp_writer_bytes(w, &bytes, &length) == result;
    luamp_writer_clear(w);
    return stays && result == LUAMP_MISUSE;
}

static void
test_misuse(void)
{
    const void *bytes;
    size_t length;
    is(luamp_writer_bytes(w, &bytes, &length), LUAMP_MISUSE, "nothing is no value");
    luamp_write_integer(w, 1);
    ok(refuses(luamp_write_integer(w, 2)), "two are not one");
    ok(refuses(luamp_write_end(w)), "an end without a beginning");
    luamp_write_table(w);
    ok(refuses(luamp_write_nil(w)), "a key that is nil");
    luamp_write_table(w);
    ok(refuses(luamp_write_number(w, NAN)), "a key that is not a number");
    luamp_write_table(w);
    luamp_write_integer(w, 1);
    ok(refuses(luamp_write_end(w)), "a key without a value");
    ok(refuses(luamp_write_text(w, NULL)), "a text that is none");
    ok(refuses(luamp_write_object(w, NULL)), "an object that is none");
    luamp_write_list(w);
    is(luamp_writer_bytes(w, &bytes, &length), LUAMP_MISUSE, "a list without an end is not whole");
    luamp_writer_clear(w);

    luamp_Object *q;
    luamp_new_queue("q", 1, &q);
    luamp_write_nil(w);
    is(luamp_put(q, w, LUAMP_NOW), LUAMP_MISUSE, "nil is no message");
    luamp_writer_clear(w);
    luamp_write_integer(w, 1);
    is(luamp_put(q, w, LUAMP_NOW), LUAMP_OK, "other values are");
    luamp_write_integer(w, 2);
    is(luamp_put(q, w, LUAMP_NOW), LUAMP_TIMEOUT, "one that finds no room");
    luamp_get(q, r, LUAMP_NOW);
    int64_t n = 0;
    ok(luamp_put(q, w, LUAMP_NOW) == LUAMP_OK && luamp_get(q, r, LUAMP_NOW) == LUAMP_OK &&
           luamp_read_integer(r, &n) == LUAMP_OK && n == 2,
       "can be put again");
    luamp_close(q);
}

/* Reads all that there is: the last result. */
static int
read_all(const unsigned char *bytes, size_t length, uint64_t *steps)
{
    luamp_Item item = {.type = LUAMP_TNIL};
    unsigned char *copy = malloc(length ? length : 1);
    tap_need(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    int result = luamp_reader_load(r, copy, length);
    size_t depth = 0;
    for (*steps = 0; result == LUAMP_OK; ++*steps) {
        result = luamp_read(r, &item);
        if (result != LUAMP_OK || item.type == LUAMP_TNONE)
            break;
        depth += item.type == LUAMP_TTABLE;
        depth -= item.type == LUAMP_TEND;
        if (item.type == LUAMP_TSTRING) { /* looked at, so that a sanitizer sees where it is */
            unsigned sum = 0;
            for (size_t i = 0; i < item.as.string.length; i++)
                sum += (unsigned char) item.as.string.bytes[i];
            *(volatile unsigned *) &sum = sum;
        }
    }
    if (result == LUAMP_OK && depth != 0)
        result = -100;
    if (result == LUAMP_MALFORMED && luamp_read(r, &item) != LUAMP_MALFORMED)
        result = -101;
    free(copy);
    return result;
}

static bool
is_malformed(const char *bytes, size_t length)
{
    uint64_t steps;
    return read_all((const unsigned char *) bytes, length, &steps) == LUAMP_MALFORMED;
}

static void
test_malformed(void)
{
#define MALFORMED(bytes, why) ok(is_malformed(bytes, sizeof(bytes) - 1), why " is malformed")
    MALFORMED("", "nothing");
    MALFORMED("\x05\x05", "a value and more");
    MALFORMED("\x85xyz", "a string that is cut short");
    MALFORMED("\xb4\xff\xff\xff\xff", "one of 4 GiB");
    MALFORMED("\xb6\xff\xff\xff\xff\xff\xff\xff\xff", "one of more than there is memory");
    MALFORMED("\xaf\x01", "an integer that is cut short");
    MALFORMED("\xcd", "half a head");
    MALFORMED("\xcd\x21", "a message of too many slots");
    MALFORMED("\xcd\x00\xbc\x00\xff\xff\xff\xff", "a table of more items than bytes");
    MALFORMED("\xcd\x00\xb8\x29", "and one of more pairs");
    MALFORMED("\xcd\x00\xb8\x01\xa9\x05\xcc", "a key that is nil");
    MALFORMED("\xcd\x00\xb8\x01\x05", "a table without an end");
    MALFORMED("\xcd\x00\xd8", "a slot that is empty");
    MALFORMED("\xcd\x00\xb1\x80", "a common string that is not announced");
    MALFORMED("\xcd\x00\xc6\x02", "a reference to itself");
    MALFORMED("\xcd\x00\xc6\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "one of too many digits");
    MALFORMED("\xcd\x00\xcc", "an end");
    MALFORMED("\xcd\x00\xcd\x00", "a message in a message");
    MALFORMED("\xcd\x00\xc4\x05", "an upvalue outside of a function");
    MALFORMED("\xcd\x00\xc0\x7f", "a function that is cut short");
    MALFORMED("\xcd\x00\xbe\x05", "a class whose name is a number");
    MALFORMED("\xcd\x00\xc2\x01\x00\x00\x00\x03", "an object of too many cells");
    uint64_t steps;
    is(read_all((const unsigned char *) "\xcd\x00", 2, &steps), LUAMP_OK, "no value at all is none");
}

/* The cell of the one queue that there is. */
static struct amp_cell *
only_queue(void)
{
    struct amp_cell *found = NULL;
    for (uint32_t i = 1; i < amp_cells_top(); i++) {
        if (amp_cell_is_live(amp_cell_at(i)) && amp_cell_kind(amp_cell_at(i)) == AMP_QUEUE)
            found = amp_cell_at(i);
    }
    return found;
}

/* An object that the message does not carry is not handed out, whatever its bytes say. */
static void
test_forged_object(void)
{
    luamp_Object *event;
    luamp_Item item;
    const void *bytes;
    size_t length;
    luamp_new_event("e", &event);
    luamp_write_object(w, event);
    tap_need(luamp_writer_bytes(w, &bytes, &length) == LUAMP_OK);
    luamp_reader_load(r, bytes, length);
    ok(luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TOTHER,
       "an object in bytes of one's own is none");
    /* The bytes in a message that carries nothing: as a faulty program would put them. */
    luamp_Object *queue, *other;
    struct amp_what what = {.kind = AMP_QUEUE};
    unsigned char *where;
    luamp_new_queue("q", 0, &queue);
    tap_need(luamp_put_bytes(queue, "x", 1, LUAMP_NOW) == LUAMP_OK);
    struct amp_cell *cell = only_queue();
    tap_need(amp_ring_reserve(cell, length, NULL, 0, AMP_AT_ONCE, &what, &where) == 0);
    memcpy(where, bytes, length);
    amp_ring_publish(cell);
    luamp_writer_clear(w);
    luamp_get(queue, r, LUAMP_NOW);
    ok(luamp_get(queue, r, LUAMP_NOW) == LUAMP_OK && luamp_peek(r, &item) == LUAMP_OK &&
           item.type == LUAMP_TOTHER && luamp_read_object(r, &other) == LUAMP_WRONG_TYPE,
       "and one that its message does not carry is none");
    luamp_close(event);
    luamp_close(queue);
}

/*
 * Made-up bytes.
 */

static uint64_t random_state;

static uint64_t
random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static size_t
below(size_t n)
{
    return n ? (size_t) (random_number() % n) : 0;
}

static unsigned char
random_byte(void)
{
    switch (below(4)) {
    case 0:
        return (unsigned char) (TAG_NIL + below(TAG_MESSAGE + 1 - TAG_NIL));
    case 1:
        return (unsigned char) below(8);
    case 2:
        return (unsigned char) (TAG_SLOT + below(4));
    default:
        return (unsigned char) random_number();
    }
}

static void
write_random(int depth)
{
    static char text[300];
    switch (below(depth > 4 ? 5 : 8)) {
    case 0:
        luamp_write_boolean(w, (int) below(2));
        break;
    case 1:
        luamp_write_integer(w, (int64_t) (random_number() >> below(60)));
        break;
    case 2:
        luamp_write_number(w, (double) random_number() / 7);
        break;
    case 3:
    case 4:
        luamp_write_string(w, text, below(4) ? below(8) : below(sizeof text));
        break;
    case 5:
        luamp_write_list(w);
        for (size_t n = below(below(30) ? 6 : 400); n > 0; n--)
            below(9) ? write_random(depth + 1) : (void) luamp_write_nil(w);
        luamp_write_end(w);
        break;
    default:
        luamp_write_table(w);
        for (size_t n = below(6); n > 0; n--) {
            write_random(depth + 1);
            write_random(depth + 1);
        }
        luamp_write_end(w);
        break;
    }
}

static void
test_random(uint64_t seed, uint64_t runs)
{
    enum { LONGEST = 1 << 16 };
    static unsigned char message[LONGEST];
    uint64_t steps, accepted = 0, refused = 0;
    bool right = true, bounded = true, real = true;
    random_state = seed * 2 + 1;
    for (uint64_t i = 0; i < runs && right && bounded && real; i++) {
        size_t length = below(64);
        if (below(8)) { /* a real one */
            const void *bytes;
            write_random(0);
            real = luamp_writer_bytes(w, &bytes, &length) == LUAMP_OK;
            if (length > LONGEST)
                length = LONGEST;
            memcpy(message, bytes, length);
            luamp_writer_clear(w);
            if (length < LONGEST)
                real = real && read_all(message, length, &steps) == LUAMP_OK;
            for (size_t n = below(4); n > 0 && length > 0; n--) {
                switch (below(3)) {
                case 0:
                    message[below(length)] = random_byte();
                    break;
                case 1:
                    length = below(length + 1);
                    break;
                default:
                    message[below(length)] ^= (unsigned char) (1u << below(8));
                }
            }
        } else {
            for (size_t k = 0; k < length; k++)
                message[k] = random_byte();
            if (length > 0)
                message[0] = TAG_MESSAGE;
        }
        int result = read_all(message, length, &steps);
        right = result == LUAMP_OK || result == LUAMP_MALFORMED;
        /* Each step goes forward, but for ends of tables: those are as many as there are beginnings. */
        bounded = steps <= 2 * length + 1;
        accepted += result == LUAMP_OK;
        refused += result == LUAMP_MALFORMED;
        if (!right)
            diag("result %d in run %llu", result, (unsigned long long) i);
    }
    ok(real, "what a writer made up is read");
    ok(right, "bytes of any kind are read, or malformed");
    ok(bounded, "in no more steps than they are long");
    ok(runs < 1000 || (accepted > runs / 100 && refused > runs / 100), "some of either");
    diag("%llu read, %llu malformed, seed %llu", (unsigned long long) accepted,
         (unsigned long long) refused, (unsigned long long) seed);
}

int
main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 0) : tap_sanitized() ? 20000 : 100000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    tap_need(luamp_join("test") == LUAMP_OK);
    w = luamp_writer_new();
    r = luamp_reader_new();
    tap_need(w != NULL && r != NULL);
    test_plain();
    test_tables();
    test_types();
    test_misuse();
    test_malformed();
    test_forged_object();
    test_random(seed, runs);
    luamp_writer_free(w);
    luamp_reader_free(r);
    return tap_done();
}
