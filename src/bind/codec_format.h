/*
 * codec_format.h: how a message is laid out.
 *
 * Here is all that the two directions must agree about: the tags, and how a plain value is
 * written.  Included by the codec's own files and by its fuzzer, and by nobody else.
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
 *     OBJECT                              a luamp object: the fields of struct luampO_wire
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

#include <lua.h>

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
_Static_assert(sizeof(lua_Integer) == 8 && sizeof(lua_Number) == 8, "Lua has 64-bit numbers");

#define LONGEST_ATOM 9                  /* an atom is a nil, boolean or number */
#define LONGEST_STRING_HEAD 9           /* the tag and the length */

static inline size_t
integer_size (lua_Integer n)
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
write_integer (unsigned char *at, lua_Integer n)
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
write_float (unsigned char *at, lua_Number n)
{
    *at = TAG_FLOAT;
    memcpy(at + 1, &n, sizeof n);
    return at + 9;
}

/* Writes the nil, boolean or number at index, whose type is given. */
static inline unsigned char *
write_atom (unsigned char *at, lua_State *L, int index, int type)
{
    if (type == LUA_TNUMBER)
        return lua_isinteger(L, index) ? write_integer(at, lua_tointeger(L, index))
                                       : write_float(at, lua_tonumber(L, index));
    if (type == LUA_TNIL)
        *at = TAG_NIL;
    else
        *at = lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE;
    return at + 1;
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

static inline unsigned char *
write_string (unsigned char *at, const char *string, size_t length)
{
    if (length <= LONGEST_SHORT_STRING) {
        *at++ = (unsigned char) (TAG_STRING + length);
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

#endif
