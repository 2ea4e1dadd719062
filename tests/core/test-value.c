/*
 * Values and arrays: every type holds what its C type does, and is never seen torn.
 */
#include "tap.h"

#include <limits.h>
#include <math.h>

static struct {
    amp_handle handle;
    _Atomic int stop;
} *board;

static void
test_types(void)
{
    static const struct {
        char code;
        int size;
        bool is_signed;
        int64_t least, most;
    } expected[] = {
        {'b', 1, true, -128, 127},
        {'B', 1, false, 0, 255},
        {'h', 2, true, -32768, 32767},
        {'H', 2, false, 0, 65535},
        {'i', 4, true, INT32_MIN, INT32_MAX},
        {'I', 4, false, 0, UINT32_MAX},
        {'l', 8, true, INT64_MIN, INT64_MAX},
        {'L', 8, false, 0, INT64_MAX},
        {'q', 8, true, INT64_MIN, INT64_MAX},
        {'Q', 8, false, 0, INT64_MAX},
    };
    bool right = true, round = true;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct amp_type *type = amp_type_find(expected[i].code);
        if (type == NULL) {
            right = false;
            continue;
        }
        right = right && type->code == expected[i].code && type->size == expected[i].size &&
                type->class == AMP_INTEGER && type->is_signed == expected[i].is_signed &&
                type->least == expected[i].least && type->most == expected[i].most;
        int64_t samples[] = {type->least, type->least + 1, type->is_signed ? -1 : 0, 0, 1, 42,
                             type->most - 1, type->most};
        for (size_t k = 0; k < sizeof samples / sizeof *samples; k++) {
            uint64_t raw[3] = {UINT64_C(0x5555555555555555), UINT64_C(0x5555555555555555),
                               UINT64_C(0x5555555555555555)};
            amp_element_store(type, &raw[1], (uint64_t) samples[k]);
            round = round && (int64_t) amp_element_load(type, &raw[1]) == samples[k];
            unsigned char *bytes = (unsigned char *) raw;
            for (size_t b = 0; b < sizeof raw; b++) {
                if (b < 8 || b >= 8u + type->size)
                    round = round && bytes[b] == 0x55;
            }
        }
    }
    ok(right, "each integer typecode is its C type");
    ok(round, "an element keeps every number of its type, and touches none beside it");

    is(amp_type_find('c')->class, AMP_CHARACTER, "c is a character");
    is(amp_type_find('c')->most, 255, "of one byte");
    is(amp_type_find('?')->class, AMP_BOOLEAN, "? is a boolean");
    is(amp_type_find('?')->most, 1, "0 or 1");
    is(amp_type_find('f')->class, AMP_FLOAT, "f is a float");
    is(amp_type_find('d')->size, 8, "d is a double");
    bool unknown = true;
    for (int code = 0; code < 256; code++) {
        if (!strchr("bBhHiIlLqQfdc?", code) || code == 0)
            unknown = unknown && amp_type_find((char) code) == NULL;
    }
    ok(unknown, "no other character is a typecode");
}

static void
test_floats(void)
{
    const struct amp_type *f = amp_type_find('f'), *d = amp_type_find('d');
    static const double numbers[] = {0.0,   -0.0,    1.0,      -1.5,     0.1,
                                     1e300, -1e-300, INFINITY, -INFINITY};
    bool exact = true, rounded = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double number = numbers[i], back = amp_float_of_bits(amp_bits_of_float(d, number));
        exact = exact && memcmp(&back, &number, sizeof back) == 0;
        uint64_t element;
        amp_element_store(d, &element, amp_bits_of_float(d, number));
        exact = exact && amp_element_load(d, &element) == amp_bits_of_float(d, number);
        double single = (float) number;
        back = amp_float_of_bits(amp_bits_of_float(f, number));
        rounded = rounded && memcmp(&back, &single, sizeof back) == 0;
        float small[2] = {7, 7}; /* two, or the compiler warns of a double that is never stored there */
        amp_element_store(f, small, amp_bits_of_float(f, number));
        rounded = rounded && small[0] == (float) number && small[1] == 7;
        rounded = rounded && amp_element_load(f, small) == amp_bits_of_float(f, number);
    }
    ok(exact, "a double is kept exactly, with infinities and the sign of zero");
    ok(rounded, "a float is rounded to what it can hold");
    ok(isnan(amp_float_of_bits(amp_bits_of_float(d, NAN))), "what is not a number stays so");
    ok(isnan(amp_float_of_bits(amp_bits_of_float(f, NAN))), "in a float as well");
}

static struct amp_cell *
array(char code, uint64_t length)
{
    struct amp_cell *cell;
    tap_need(amp_cell_make(AMP_ARRAY, "array", &cell) == 0);
    if (amp_array_init(cell, amp_type_find(code), length) != 0) {
        amp_cell_abandon(cell);
        return NULL;
    }
    amp_cell_ready(cell);
    return cell;
}

static void
test_arrays(void)
{
    struct tap_account before = tap_account();
    struct amp_cell *empty = array('d', 0), *long_one = array('H', 100000);
    ok(empty != NULL && empty->v_length == 0, "an array may be empty");
    ok(long_one != NULL && long_one->v_length == 100000 && long_one->v_type == 'H',
       "or long, and knows what it is");
    bool zero = true;
    unsigned short *data = amp_array_data(long_one);
    for (int i = 0; i < 100000; i++)
        zero = zero && data[i] == 0;
    ok(zero, "a new array is all zero");
    memset(data, 0xff, 200000);
    tap_unhold(long_one);
    tap_unhold(empty);
    long_one = array('H', 100000);
    data = amp_array_data(long_one);
    for (int i = 0; i < 100000; i++)
        zero = zero && data[i] == 0;
    ok(zero, "also where another has been before");
    tap_unhold(long_one);
    ok(array('d', TAP_ARENA) == NULL, "one that is larger than the arena is refused");
    ok(array('d', AMP_ARRAY_MAX) == NULL, "and one that is larger than any");
    ok(array('b', UINT64_MAX) == NULL, "and one of absurd length");
    tap_is_settled(before, "memory comes back with the array");
}

/*
 * Many at once.
 */

#define ADDITIONS 20000

static int
add_up(int index)
{
    struct amp_cell *cell = amp_cell_of(board->handle);
    for (int i = 0; i < ADDITIONS; i++)
        atomic_fetch_add(&cell->v_bits, (uint64_t) (index + 1));
    return 0;
}

static void
test_value_by_many(void)
{
    struct amp_cell *cell = tap_object(AMP_VALUE, "value");
    board->handle = amp_cell_handle(cell);
    is(tap_together(4, add_up), 0, "a value is added to by many");
    is(atomic_load(&cell->v_bits), (1 + 2 + 3 + 4) * ADDITIONS, "and no addition is lost");
    tap_unhold(cell);
}

/* Writers store numbers whose halves agree; a reader must never see halves of two. */
static int
write_or_read(int index)
{
    struct amp_cell *cell = amp_cell_of(board->handle);
    const struct amp_type *type = amp_type_find('q');
    uint64_t *element = amp_array_data(cell);
    int status = 0;
    for (uint32_t i = 0; i < 50000; i++) {
        if (index < 2) {
            uint64_t half = i * 2 + (uint32_t) index;
            amp_element_store(type, element, half << 32 | half);
        } else {
            uint64_t bits = amp_element_load(type, element);
            status |= bits >> 32 != (bits & UINT32_MAX);
        }
    }
    return status;
}

static void
test_no_tearing(void)
{
    struct amp_cell *cell = array('q', 1);
    board->handle = amp_cell_handle(cell);
    is(tap_together(4, write_or_read), 0, "an element is never seen half written");
    tap_unhold(cell);
}

static int
make_array_and_die(void *argument)
{
    (void) argument;
    struct amp_cell *cell;
    amp_cell_make(AMP_ARRAY, "never ready", &cell);
    amp_array_init(cell, amp_type_find('d'), 5000);
    raise(SIGKILL);
    return 0;
}

static void
test_death(void)
{
    struct tap_account before = tap_account();
    struct amp_child child = tap_child(make_array_and_die, NULL);
    tap_join(&child);
    tap_is_settled(before, "an array whose maker died is freed with its memory");
}

int
main(void)
{
    tap_family(0);
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_types();
    test_floats();
    test_arrays();
    test_value_by_many();
    test_no_tearing();
    if (tap_forks())
        test_death();
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
