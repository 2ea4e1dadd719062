/*
 * value: single values and arrays of a C type, in shared memory.
 *
 * A value is one 64-bit word whatever its type, so it can be read, written, added to and compared
 * without a lock, and never be seen torn: integers are widened, floats are doubles. An array's
 * elements have their type's own size, so that it can be handed to C as it is. Nothing here has a
 * crash protocol: what was written is written.
 *
 * Typecodes are those of Python's array module, with 'c' for one byte as a character and '?' for a
 * boolean. 'l' is 64 bits. The unsigned 64-bit types hold what a Lua integer can: 0 to 2^63 - 1.
 */
#ifndef AMP_VALUE_H
#define AMP_VALUE_H

#include "handle.h"

enum amp_type_class {
    AMP_INTEGER,
    AMP_FLOAT,
    AMP_CHARACTER,
    AMP_BOOLEAN,
};

struct amp_type {
    char code;
    uint8_t size; /* bytes of an array's element */
    enum amp_type_class class;
    bool is_signed;
    int64_t least, most; /* of an integer */
};

/* The type of a typecode, or NULL. */
const struct amp_type *amp_type_find(char code);

/* Bits of a number of a type: an integer's two's complement, a float's double (of 'f' rounded to
   what a float can hold). */
uint64_t amp_bits_of_float(const struct amp_type *type, double number);
double amp_float_of_bits(uint64_t bits);

/* False for a number that a float type would make infinite. Converting rounds, so what is a little
   above FLT_MAX still fits. */
bool amp_float_fits(const struct amp_type *type, double number);

/* An element of an array, to and from bits. */
uint64_t amp_element_load(const struct amp_type *type, const void *address);
void amp_element_store(const struct amp_type *type, void *address, uint64_t bits);

#define AMP_ARRAY_MAX (UINT64_C(1) << 40) /* bytes: more than any arena */

/* Gives an array its memory, all zero: 0 or -ENOMEM. */
int amp_array_init(struct amp_cell *array, const struct amp_type *type, uint64_t length);

static inline void *
amp_array_data(const struct amp_cell *array)
{
    return amp_page_at(array->v_run);
}

extern const struct amp_kind_operations amp_array_operations;

#endif
