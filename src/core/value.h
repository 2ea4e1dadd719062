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

#include <string.h>

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

/* By their codes: each access to a value asks. */
extern const struct amp_type amp_types['z' + 1];

/* The type of a typecode, or NULL. */
static inline const struct amp_type *
amp_type_find(char code)
{
    size_t i = (unsigned char) code;
    return i < sizeof amp_types / sizeof *amp_types && amp_types[i].code != 0 ? &amp_types[i]
                                                                              : NULL;
}

/* Bits of a number of a type: an integer's two's complement, a float's double (of 'f' rounded to
   what a float can hold). */
uint64_t amp_bits_of_float(const struct amp_type *type, double number);
double amp_float_of_bits(uint64_t bits);

/* False for a number that a float type would make infinite. Converting rounds, so what is a little
   above FLT_MAX still fits. */
bool amp_float_fits(const struct amp_type *type, double number);

/* Elements are read and written whole, in no order among themselves: who needs order has a lock. */
#define AMP_LOAD(type, address) __atomic_load_n((const type *) (address), __ATOMIC_RELAXED)
#define AMP_STORE(type, address, n) \
    __atomic_store_n((type *) (address), (type) (n), __ATOMIC_RELAXED)

/* An element of an array, to and from bits. */
static inline uint64_t
amp_element_load(const struct amp_type *type, const void *address)
{
    if (type->class == AMP_FLOAT && type->size == sizeof(float)) {
        uint32_t raw = AMP_LOAD(uint32_t, address);
        float number;
        memcpy(&number, &raw, sizeof number);
        return amp_bits_of_float(type, number);
    }
    switch (type->size) {
    case 1:
        return type->is_signed ? (uint64_t) AMP_LOAD(int8_t, address) : AMP_LOAD(uint8_t, address);
    case 2:
        return type->is_signed ? (uint64_t) AMP_LOAD(int16_t, address)
                               : AMP_LOAD(uint16_t, address);
    case 4:
        return type->is_signed ? (uint64_t) AMP_LOAD(int32_t, address)
                               : AMP_LOAD(uint32_t, address);
    default:
        return AMP_LOAD(uint64_t, address);
    }
}

static inline void
amp_element_store(const struct amp_type *type, void *address, uint64_t bits)
{
    if (type->class == AMP_FLOAT && type->size == sizeof(float)) {
        float number = (float) amp_float_of_bits(bits);
        uint32_t raw;
        memcpy(&raw, &number, sizeof raw);
        AMP_STORE(uint32_t, address, raw);
        return;
    }
    switch (type->size) {
    case 1:
        AMP_STORE(uint8_t, address, bits);
        break;
    case 2:
        AMP_STORE(uint16_t, address, bits);
        break;
    case 4:
        AMP_STORE(uint32_t, address, bits);
        break;
    default:
        AMP_STORE(uint64_t, address, bits);
    }
}

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
