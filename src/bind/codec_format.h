/*
 * codec_format.h: how a message is laid out.
 *
 * Here is all that the two directions must agree about: the tags, and how a plain value is
 * written and read.  There is no Lua in it: the codec's own files include it, and so does the
 * interface for programs in C (src/capi), whose messages are the same.
 *
 * A message is
 *
 *     one nil, boolean, number or string: a plain value, or
 *     MESSAGE slots value...              any number of values of any kind
 *
 * in the machine's own byte order, for members of one family run on one machine.  A value is a
 * tag byte and what the tag says:
 *
 *     00..7f                              the integers 0 to 127
 *     80..a8 bytes                        a string of 0 to 40 bytes
 *     NIL, FALSE, TRUE, INTEGER8 to 64, FLOAT, STRING8 to 64      plain values
 *     COMMON string                       a short string, put into the next slot too
 *     d8..f7                              the string in slot 0 to 31
 *     RECORD pairs {key value} END        a table
 *     TABLE8 or 32 pairs items value... {key value} END           a table that begins as a list
 *     INSTANCE name table                 a table with the metatable of class `name`
 *     FUNCTION length bytecode upvalues {UPVALUE value | SAME_UPVALUE where}
 *     OBJECT kind ncells cells extra      a luamp object: struct luampO_wire, of wire.h
 *     SAME where                          what was met before at that place of the message
 *     CLASS name, MODULE name, MEMBER name key, GLOBALS           the receiver's own
 *     f8..ff                              the integers -8 to -1
 *
 * `pairs` is 0 when there are no pairs (and no END), else 1 + log2 of a size that holds them all.
 * `length` and `where` have seven bits a byte, the lowest first; the last byte's highest bit is
 * clear.  `where` is the offset of a tag.  When the encoder meets a thing again it goes back and
 * sets the lowest bit of the first occurrence's tag (see SHARED), so the decoder has to remember
 * only what is really referred to.
 *
 * The writers below do not raise, and leave the Lua stack alone.  They are inline: most of a
 * message is plain values.
 */
#ifndef LUAMP_CODEC_FORMAT_H
#define LUAMP_CODEC_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

enum {
    LAST_INTEGER = 0x7f,
    TAG_STRING = 0x80,
    LONGEST_SHORT_STRING = 40,          /* Lua interns these: equal strings have one address */
    LAST_STRING = TAG_STRING + LONGEST_SHORT_STRING,

    TAG_NIL = 0xa9,
    TAG_FALSE,
    TAG_TRUE,
    TAG_INTEGER8,
    TAG_INTEGER16,
    TAG_INTEGER32,
    TAG_INTEGER64,
    TAG_FLOAT,
    TAG_COMMON,

    /* each of these has a SHARED form, so they are even */
    TAG_STRING8 = 0xb2,
    TAG_STRING32 = 0xb4,
    TAG_STRING64 = 0xb6,
    TAG_RECORD = 0xb8,
    TAG_TABLE8 = 0xba,
    TAG_TABLE32 = 0xbc,
    TAG_INSTANCE = 0xbe,
    TAG_FUNCTION = 0xc0,
    TAG_OBJECT = 0xc2,
    TAG_UPVALUE = 0xc4,

    TAG_SAME = 0xc6,
    TAG_SAME_UPVALUE,
    TAG_CLASS,
    TAG_MODULE,
    TAG_MEMBER,
    TAG_GLOBALS,
    TAG_END,
    TAG_MESSAGE,

    TAG_SLOT = 0xd8,
    SLOTS = 32,
    FIRST_NEGATIVE = TAG_SLOT + SLOTS,

    SHARED = 1
};

_Static_assert(FIRST_NEGATIVE == 256 - 8, "the tags must fill a byte");

#define LONGEST_ATOM 9                  /* an atom is a nil, boolean or number */
#define LONGEST_STRING_HEAD 9           /* the tag and the length */
#define LONGEST_OBJECT (1 + 4 + 1 + 2 * 8 + 8)
#define MOST_PAIRS_CODE 40              /* of the byte `pairs`: a larger one is a lie */

static inline size_t
integer_size (int64_t n)
{
    if (n >= -8 && n <= LAST_INTEGER)
        return 1;
    if (n == (int8_t) n)
        return 2;
    if (n == (int16_t) n)
        return 3;
    return n == (int32_t) n ? 5 : 9;
}

static inline unsigned char *
write_integer (unsigned char *at, int64_t n)
{
    if (n >= -8 && n <= LAST_INTEGER) {
        *at = (unsigned char) n;
        return at + 1;
    }
    if (n == (int8_t) n) {
        at[0] = TAG_INTEGER8;
        at[1] = (unsigned char) n;
        return at + 2;
    }
    if (n == (int16_t) n) {
        int16_t small = (int16_t) n;
        *at = TAG_INTEGER16;
        memcpy(at + 1, &small, sizeof small);
        return at + 3;
    }
    if (n == (int32_t) n) {
        int32_t small = (int32_t) n;
        *at = TAG_INTEGER32;
        memcpy(at + 1, &small, sizeof small);
        return at + 5;
    }
    *at = TAG_INTEGER64;
    memcpy(at + 1, &n, sizeof n);
    return at + 9;
}

static inline unsigned char *
write_float (unsigned char *at, double n)
{
    *at = TAG_FLOAT;
    memcpy(at + 1, &n, sizeof n);
    return at + 9;
}

static inline size_t
string_head_size (size_t length)
{
    if (length <= LONGEST_SHORT_STRING)
        return 1;
    if (length <= UINT8_MAX)
        return 2;
    return length <= UINT32_MAX ? 5 : 9;
}

/* memcpy, without a call for what is as short as names are. */
static inline void
copy_string (unsigned char *to, const char *from, size_t length)
{
    if (length > 16 || length == 0) {
        memcpy(to, from, length);
    } else if (length >= 8) {
        memcpy(to, from, 8);
        memcpy(to + length - 8, from + length - 8, 8);
    } else if (length >= 4) {
        memcpy(to, from, 4);
        memcpy(to + length - 4, from + length - 4, 4);
    } else {
        to[0] = (unsigned char) from[0];
        to[length / 2] = (unsigned char) from[length / 2];
        to[length - 1] = (unsigned char) from[length - 1];
    }
}

static inline unsigned char *
write_short_string (unsigned char *at, const char *string, size_t length)
{
    *at = (unsigned char) (TAG_STRING + length);
    copy_string(at + 1, string, length);
    return at + 1 + length;
}

static inline unsigned char *
write_string (unsigned char *at, const char *string, size_t length)
{
    if (length <= LONGEST_SHORT_STRING) {
        return write_short_string(at, string, length);
    } else if (length <= UINT8_MAX) {
        *at++ = TAG_STRING8;
        *at++ = (unsigned char) length;
    } else if (length <= UINT32_MAX) {
        uint32_t length32 = (uint32_t) length;
        *at++ = TAG_STRING32;
        memcpy(at, &length32, sizeof length32);
        at += sizeof length32;
    } else {
        uint64_t length64 = length;
        *at++ = TAG_STRING64;
        memcpy(at, &length64, sizeof length64);
        at += sizeof length64;
    }
    memcpy(at, string, length);
    return at + length;
}

/* The byte that says for how many pairs there is to be room. */
static inline unsigned char
pairs_code (uint64_t pairs)
{
    unsigned char code = pairs > 0;

    for (uint64_t size = 1; size < pairs; size *= 2)
        code++;
    return code;
}

static inline unsigned char *
write_wire (unsigned char *at, const struct luampO_wire *wire)
{
    size_t size = wire->ncells * sizeof *wire->cell;

    *at++ = TAG_OBJECT;
    memcpy(at, &wire->kind, sizeof wire->kind);
    at += sizeof wire->kind;
    *at++ = (unsigned char) wire->ncells;
    memcpy(at, wire->cell, size);
    at += size;
    memcpy(at, &wire->extra, sizeof wire->extra);
    return at + sizeof wire->extra;
}

/*
 * Reading a plain value, of bytes that nobody vouches for.
 */

enum plain_kind {
    PLAIN_NONE,                         /* no plain value, by its tag */
    PLAIN_CUT_SHORT,                    /* it does not end before the message does */
    PLAIN_NIL,
    PLAIN_BOOLEAN,
    PLAIN_INTEGER,
    PLAIN_FLOAT,
    PLAIN_STRING
};

struct plain {
    enum plain_kind kind;
    union {
        int64_t integer;                /* a boolean's: 0 or 1 */
        double number;
        struct {
            const char *bytes;          /* where they stand in the message */
            size_t length;
        } string;
    };
};

/* Copies so many bytes out of the message; false when there are not so many. */
static inline int
read_bytes (const unsigned char **at, const unsigned char *end, void *to, size_t size)
{
    if ((size_t) (end - *at) < size)
        return 0;
    memcpy(to, *at, size);
    *at += size;
    return 1;
}

static inline struct plain
plain_integer (int64_t n)
{
    return (struct plain) {.kind = PLAIN_INTEGER, .integer = n};
}

static inline struct plain
read_plain_string (const unsigned char **at, const unsigned char *end, uint64_t length)
{
    const unsigned char *bytes = *at;

    if ((uint64_t) (end - bytes) < length)
        return (struct plain) {.kind = PLAIN_CUT_SHORT};
    *at += length;
    return (struct plain) {
        .kind = PLAIN_STRING, .string = {(const char *) bytes, (size_t) length}
    };
}

/* The plain value with this tag, which stands before *at. */
static inline __attribute__((always_inline)) struct plain
read_plain (const unsigned char **at, const unsigned char *end, unsigned tag)
{
    const struct plain cut_short = {.kind = PLAIN_CUT_SHORT};
    int8_t n8;
    int16_t n16;
    int32_t n32;
    int64_t n64;
    double number;
    uint8_t length8;
    uint32_t length32;
    uint64_t length64;

    switch (tag) {
    case TAG_NIL:
        return (struct plain) {.kind = PLAIN_NIL};
    case TAG_FALSE:
    case TAG_TRUE:
        return (struct plain) {.kind = PLAIN_BOOLEAN, .integer = tag == TAG_TRUE};
    case TAG_INTEGER8:
        return read_bytes(at, end, &n8, sizeof n8) ? plain_integer(n8) : cut_short;
    case TAG_INTEGER16:
        return read_bytes(at, end, &n16, sizeof n16) ? plain_integer(n16) : cut_short;
    case TAG_INTEGER32:
        return read_bytes(at, end, &n32, sizeof n32) ? plain_integer(n32) : cut_short;
    case TAG_INTEGER64:
        return read_bytes(at, end, &n64, sizeof n64) ? plain_integer(n64) : cut_short;
    case TAG_FLOAT:
        if (!read_bytes(at, end, &number, sizeof number))
            return cut_short;
        return (struct plain) {.kind = PLAIN_FLOAT, .number = number};
    case TAG_STRING8:
        return read_bytes(at, end, &length8, sizeof length8)
                   ? read_plain_string(at, end, length8) : cut_short;
    case TAG_STRING32:
        return read_bytes(at, end, &length32, sizeof length32)
                   ? read_plain_string(at, end, length32) : cut_short;
    case TAG_STRING64:
        return read_bytes(at, end, &length64, sizeof length64)
                   ? read_plain_string(at, end, length64) : cut_short;
    default:
        if (tag <= LAST_INTEGER)
            return plain_integer(tag);
        if (tag <= LAST_STRING)
            return read_plain_string(at, end, tag - TAG_STRING);
        if (tag >= FIRST_NEGATIVE)
            return plain_integer((int64_t) tag - 256);
        return (struct plain) {.kind = PLAIN_NONE};
    }
}

#endif
