/*
 * value: see value.h.
 */
#include "value.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define INTEGER(code, type, least, most) \
    [code] = {code, sizeof(type), AMP_INTEGER, (type) -1 < (type) 1, least, most}

const struct amp_type amp_types['z' + 1] = {
    INTEGER('b', signed char, SCHAR_MIN, SCHAR_MAX),
    INTEGER('B', unsigned char, 0, UCHAR_MAX),
    INTEGER('h', short, SHRT_MIN, SHRT_MAX),
    INTEGER('H', unsigned short, 0, USHRT_MAX),
    INTEGER('i', int, INT_MIN, INT_MAX),
    INTEGER('I', unsigned int, 0, UINT_MAX),
    INTEGER('l', int64_t, INT64_MIN, INT64_MAX),
    INTEGER('L', uint64_t, 0, INT64_MAX),
    INTEGER('q', int64_t, INT64_MIN, INT64_MAX),
    INTEGER('Q', uint64_t, 0, INT64_MAX),
    ['f'] = {'f', sizeof(float), AMP_FLOAT, true, 0, 0},
    ['d'] = {'d', sizeof(double), AMP_FLOAT, true, 0, 0},
    ['c'] = {'c', 1, AMP_CHARACTER, false, 0, UCHAR_MAX},
    ['?'] = {'?', 1, AMP_BOOLEAN, false, 0, 1},
};

uint64_t
amp_bits_of_float(const struct amp_type *type, double number)
{
    uint64_t bits;
    if (type->size == sizeof(float))
        number = (double) (float) number;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

double
amp_float_of_bits(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

bool
amp_float_fits(const struct amp_type *type, double number)
{
    return !isfinite(number) || isfinite(amp_float_of_bits(amp_bits_of_float(type, number)));
}

int
amp_array_init(struct amp_cell *array, const struct amp_type *type, uint64_t length)
{
    if (length > AMP_ARRAY_MAX / type->size)
        return -ENOMEM;
    uint32_t run;
    int failure = amp_arena_take(length * type->size, amp_cell_index(array), &run);
    if (failure != 0)
        return failure;
    memset(amp_page_at(run), 0, (size_t) length * type->size);
    array->v_run = run;
    array->v_length = length;
    array->v_type = (uint32_t) (unsigned char) type->code;
    return 0;
}

static bool
keep_none(uint32_t page, void *argument)
{
    (void) page, (void) argument;
    return false;
}

static void
array_end(struct amp_cell *array)
{
    /* Its maker may have died before the run was noted. */
    bool begun = array->c_ending || array->v_run == 0;
    array->c_ending = 1;
    AMP_COMPILER_BARRIER();
    if (begun)
        amp_arena_reclaim(amp_cell_index(array), keep_none, NULL);
    else
        amp_arena_free(array->v_run);
}

const struct amp_kind_operations amp_array_operations = {.end = array_end};
