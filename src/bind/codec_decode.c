/*
 * codec_decode.c: bytes to Lua values.
 *
 * luampC_decode() is called by every binding that receives a value or reads a stored one.
 * read_value() pushes a value, or begins a table or function; read_message() goes on with the
 * innermost one.
 *
 * Invariants:
 *   - No recursion in C: tables and functions that are being read are in the array `reading`, and
 *     stand on the Lua stack.
 *   - Nothing is trusted.  All bytes come from take(), which does not go past the end.  Each count
 *     is paid for from a budget of one entry a byte, so many small lies add up to no more than
 *     one.
 *   - What SHARED marks is remembered before its parts are read, as they may refer to it.
 *   - An error leaves nothing behind: all memory belongs to userdata or the C stack.
 *
 * Creating values may run finalizers, and a module may be required: any Lua code, also such as
 * encodes and decodes.
 */
#include "codec.h"

#include <limits.h>
#include <string.h>

#include <lauxlib.h>

#include "codec_format.h"
#include "codec_names.h"
#include "object.h"

/* A table or function that is being read. */
struct reading {
    int index;                          /* where it stands on the Lua stack */
    uint32_t count;                     /* the items or upvalues that it has */
    uint32_t next;                      /* how many of them are begun */
    unsigned char expects;              /* enum expects */
    unsigned char has_pairs;
    unsigned char has_class;            /* its metatable stands below it */
};

enum expects {                          /* what the next value is to it */
    EXPECTS_VALUE,                      /* of the message itself */
    EXPECTS_ITEM,
    EXPECTS_KEY,
    EXPECTS_FIELD,                      /* the key stands above it */
    EXPECTS_UPVALUE
};

enum {                                  /* on the stack, above the base */
    BASE_SEEN = 1,                      /* nil, or a table: offset -> the SHARED thing there */
    BASE_READING,                       /* nil, or the userdata that holds the array `reading` */
    BASE_CLASSES,                       /* nil, or the table: class name -> metatable */
    BASE_SLOTS
};

#define SLOTS_OF_READING 4              /* metatable, table, key, value */
#define FIRST_ROOM (1 + 4 * SLOTS_OF_READING + SLOTS_OF_WORK)
#define LOCAL_READINGS 16

struct decoder {
    lua_State *L;
    const unsigned char *start;
    const unsigned char *at;
    const unsigned char *end;
    unsigned flags;
    size_t budget;                      /* list items and pairs that may still be announced */
    int base;
    int room;                           /* stack slots known to be free */
    unsigned slots;                     /* the slots that the message has */
    unsigned used_slots;
    struct reading *reading;
    size_t capacity;
    size_t depth;                       /* the index of the innermost one */
};

/*
 * Bytes
 */

static void
malformed (struct decoder *d, const char *why)
{
    luaL_error(d->L, "malformed message: %s%s", why,
               d->flags & LUAMPC_RECEIVED ? "; what send_bytes sent is read by recv_bytes" : "");
}

static inline const unsigned char *
take (struct decoder *d, uint64_t length)
{
    const unsigned char *at = d->at;

    if ((uint64_t) (d->end - at) < length)
        malformed(d, "it is cut short");
    d->at = at + length;
    return at;
}

static uint64_t
take_count (struct decoder *d)
{
    uint64_t count = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned char byte = *take(d, 1);
        count |= (uint64_t) (byte & 0x7f) << shift;
        if (byte < 0x80)
            return count;
    }
    malformed(d, "a number has too many digits");
    return 0;
}

/* The offset of the tag that was taken last. */
static size_t
offset_of_tag (const struct decoder *d)
{
    return (size_t) (d->at - 1 - d->start);
}

/*
 * Plain values
 */

static inline int
push_string (struct decoder *d, uint64_t length)
{
    lua_pushlstring(d->L, (const char *) take(d, length), (size_t) length);
    return 1;
}

/* Pushes a value with this tag if it is a plain one; returns whether it is. */
static int
push_plain (struct decoder *d, unsigned tag)
{
    struct plain plain = read_plain(&d->at, d->end, tag);

    switch (plain.kind) {
    case PLAIN_NONE:
        return 0;
    case PLAIN_CUT_SHORT:
        malformed(d, "it is cut short");
        break;
    case PLAIN_NIL:
        lua_pushnil(d->L);
        break;
    case PLAIN_BOOLEAN:
        lua_pushboolean(d->L, plain.integer != 0);
        break;
    case PLAIN_INTEGER:
        lua_pushinteger(d->L, plain.integer);
        break;
    case PLAIN_FLOAT:
        lua_pushnumber(d->L, plain.number);
        break;
    case PLAIN_STRING:
        lua_pushlstring(d->L, plain.string.bytes, plain.string.length);
        break;
    }
    return 1;
}

/*
 * What stands elsewhere in the message
 */

static void
read_common (struct decoder *d)
{
    unsigned tag = *take(d, 1);

    if (tag < TAG_STRING || tag > LAST_STRING)
        malformed(d, "a common string is not a short one");
    if (d->used_slots == d->slots)
        malformed(d, "it has more common strings than announced");
    push_string(d, tag - TAG_STRING);
    lua_copy(d->L, -1, d->base + BASE_SLOTS + (int) d->used_slots++);
}

static void
read_slot (struct decoder *d, unsigned slot)
{
    if (slot >= d->used_slots)
        malformed(d, "a common string is missing");
    lua_pushvalue(d->L, d->base + BASE_SLOTS + (int) slot);
}

/* Remembers the value on the top of the stack as what is at the offset. */
static void
remember (struct decoder *d, size_t where)
{
    lua_State *L = d->L;

    if (lua_isnil(L, d->base + BASE_SEEN)) {
        lua_newtable(L);
        lua_replace(L, d->base + BASE_SEEN);
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, d->base + BASE_SEEN, (lua_Integer) where);
}

/* Reads where in the message a thing is, and pushes what is remembered of that, or nil. */
static lua_Integer
push_seen (struct decoder *d)
{
    uint64_t where = take_count(d);

    if (lua_isnil(d->L, d->base + BASE_SEEN) || where > (uint64_t) (d->end - d->start))
        malformed(d, "a reference leads nowhere");
    lua_rawgeti(d->L, d->base + BASE_SEEN, (lua_Integer) where);
    return (lua_Integer) where;
}

static void
read_same (struct decoder *d)
{
    push_seen(d);
    if (lua_isnil(d->L, -1))
        malformed(d, "a reference leads nowhere");
}

/*
 * Tables and functions that are being read
 */

/* Sets so many slots of the Lua stack aside.  Above them stay SLOTS_OF_WORK. */
static void
take_room (struct decoder *d, int slots)
{
    if (d->room < slots + SLOTS_OF_WORK) {
        d->room = luampC_grow_stack(d->L, d->depth);
        if (d->room == 0)
            luaL_error(d->L, "cannot receive a message: "
                             "it has too many values, or nested too deeply, for Lua's stack");
    }
    d->room -= slots;
}

static struct reading *
push_reading (struct decoder *d, enum expects expects)
{
    if (++d->depth == d->capacity) {
        size_t size = d->capacity * sizeof *d->reading;
        struct reading *larger = lua_newuserdatauv(d->L, 2 * size, 0);
        memcpy(larger, d->reading, size);
        lua_replace(d->L, d->base + BASE_READING);
        d->reading = larger;
        d->capacity *= 2;
    }
    take_room(d, SLOTS_OF_READING);
    struct reading *reading = &d->reading[d->depth];
    reading->next = 0;
    reading->expects = (unsigned char) expects;
    reading->has_pairs = 0;
    reading->has_class = 0;
    return reading;
}

static void
announce (struct decoder *d, size_t entries)
{
    if (entries > d->budget)
        malformed(d, "a table is larger than the message");
    d->budget -= entries;
}

/* Begins to read a table. */
static struct reading *
read_table (struct decoder *d, unsigned tag)
{
    uint32_t items = 0;
    unsigned pairs = *take(d, 1);
    size_t fields = 0;

    if (tag == TAG_TABLE8)
        items = *take(d, 1);
    else if (tag == TAG_TABLE32)
        memcpy(&items, take(d, sizeof items), sizeof items);
    else if (tag != TAG_RECORD)
        malformed(d, "an instance is not a table");
    announce(d, items);
    if (pairs > 0) {
        fields = pairs <= MOST_PAIRS_CODE ? (size_t) 1 << (pairs - 1) : SIZE_MAX;
        announce(d, fields);
    }
    struct reading *reading = push_reading(d, items ? EXPECTS_ITEM : EXPECTS_KEY);
    reading->count = items;
    reading->has_pairs = pairs > 0;
    lua_createtable(d->L, items < INT_MAX ? (int) items : INT_MAX,
                    fields < INT_MAX ? (int) fields : INT_MAX);
    reading->index = lua_gettop(d->L);
    return reading;
}

/* Loads a function's bytecode and begins to read its upvalues. */
static void
read_function (struct decoder *d)
{
    lua_State *L = d->L;

    if (!(d->flags & LUAMPC_FUNCTIONS))
        malformed(d, "it holds a function, and none is accepted here");
    uint64_t length = take_count(d);
    const char *bytecode = (const char *) take(d, length);
    struct reading *reading = push_reading(d, EXPECTS_UPVALUE);
    if (luaL_loadbufferx(L, bytecode, (size_t) length, "=bytecode", "b") != LUA_OK)
        malformed(d, lua_tostring(L, -1));
    reading->index = lua_gettop(L);
    reading->count = *take(d, 1);
    if (reading->count > 0 && !lua_getupvalue(L, -1, (int) reading->count))
        malformed(d, "a function has too many upvalues");
    lua_settop(L, reading->index);
}

/*
 * What goes by name, and is the receiver's own
 */

static inline int read_value (struct decoder *d);

/* Pushes a string, as all names are. */
static const char *
read_name (struct decoder *d)
{
    unsigned tag = d->at < d->end ? *d->at : TAG_STRING;
    int is_string = (tag >= TAG_STRING && tag <= LAST_STRING)
                    || (tag >= TAG_STRING8 && tag <= (TAG_STRING64 | SHARED))
                    || (tag >= TAG_SLOT && tag < FIRST_NEGATIVE)
                    || tag == TAG_COMMON || tag == TAG_SAME;

    /* anything else must not even be begun: it could nest */
    if (!is_string || !read_value(d) || lua_type(d->L, -1) != LUA_TSTRING)
        malformed(d, "a name is not a string");
    return lua_tostring(d->L, -1);
}

/* Reads the name of a class and pushes its metatable.  When there is none, that is the error. */
static void
push_class (struct decoder *d, const char *error)
{
    lua_State *L = d->L;
    int classes = d->base + BASE_CLASSES;

    if (lua_isnil(L, classes)) {
        luampC_push_codec(L);
        lua_getiuservalue(L, -1, CODEC_CLASSES);
        lua_replace(L, classes);
        lua_pop(L, 1);
    }
    const char *name = read_name(d);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, classes) != LUA_TTABLE)
        luaL_error(L, error, name);
    lua_remove(L, -2);
}

static void
read_class (struct decoder *d)
{
    push_class(d, "cannot receive class '%s': it is not known here; "
                  "make it known with ipc.register_class");
}

/* Begins to read a table that has a class. */
static void
read_instance (struct decoder *d)
{
    push_class(d, "cannot receive an object of class '%s': the class is not known here; "
                  "make it known with ipc.register_class");
    read_table(d, *take(d, 1) & ~(unsigned) SHARED)->has_class = 1;
}

/* Replaces the name on the top of the stack by its module, which is required if it is missing. */
static void
find_module (struct decoder *d, const char *name)
{
    lua_State *L = d->L;
    int trusted = (d->flags & LUAMPC_FUNCTIONS) != 0;

    if (!trusted && !luampC_is_standard_module(name))
        luaL_error(L, "cannot receive module '%s': only standard modules are accepted here", name);
    if (!luampC_push_loaded(L))
        luaL_error(L, "cannot receive module '%s': there are no modules here", name);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        if (!trusted)
            luaL_error(L, "cannot receive module '%s': it is not loaded here", name);
        lua_pop(L, 1);
        lua_getglobal(L, "require");
        lua_pushvalue(L, -3);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK)
            luaL_error(L, "cannot receive module '%s': %s", name, luaL_tolstring(L, -1, NULL));
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

static void
read_module (struct decoder *d)
{
    const char *name = read_name(d);

    lua_pushvalue(d->L, -1);
    find_module(d, name);
    if (!lua_istable(d->L, -1) && !lua_isfunction(d->L, -1))
        luaL_error(d->L, "cannot receive module '%s': it is a %s here", name,
                   luaL_typename(d->L, -1));
    lua_remove(d->L, -2);
}

static void
read_member (struct decoder *d)
{
    lua_State *L = d->L;
    const char *module = read_name(d);
    const char *key = read_name(d);

    lua_pushvalue(L, -2);
    find_module(d, module);
    lua_pushvalue(L, -2);
    if (!lua_istable(L, -2) || (lua_rawget(L, -2), !lua_isfunction(L, -1)))
        luaL_error(L, "cannot receive %s.%s: module '%s' has no such function here", module, key,
                   module);
    lua_replace(L, -4);
    lua_pop(L, 2);
}

static void
read_object (struct decoder *d)
{
    struct luampO_wire wire = {0};

    if (!(d->flags & LUAMPC_OBJECTS))
        malformed(d, "it holds a luamp object, and none is accepted here");
    memcpy(&wire.kind, take(d, sizeof wire.kind), sizeof wire.kind);
    wire.ncells = *take(d, 1);
    if (wire.ncells > sizeof wire.cell / sizeof *wire.cell)
        malformed(d, "an object has too many cells");
    memcpy(wire.cell, take(d, wire.ncells * sizeof *wire.cell), wire.ncells * sizeof *wire.cell);
    memcpy(&wire.extra, take(d, sizeof wire.extra), sizeof wire.extra);
    if (!luampO_from_wire(d->L, &wire))
        luaL_error(d->L, "cannot receive a luamp object: it is no more");
}

/*
 * A value
 */

/* read_value() for the tags that are rare. */
static int
read_special (struct decoder *d, unsigned tag)
{
    size_t where = offset_of_tag(d);
    int shared = 0;
    int complete = 1;

    if (tag >= TAG_STRING8 && tag <= (TAG_OBJECT | SHARED)) {
        shared = tag & SHARED;
        tag &= ~(unsigned) SHARED;
    }
    switch (tag) {
    case TAG_COMMON:
        read_common(d);
        break;
    case TAG_SAME:
        read_same(d);
        break;
    case TAG_CLASS:
        read_class(d);
        break;
    case TAG_MODULE:
        read_module(d);
        break;
    case TAG_MEMBER:
        read_member(d);
        break;
    case TAG_GLOBALS:
        lua_pushglobaltable(d->L);
        break;
    case TAG_RECORD:
    case TAG_TABLE8:
    case TAG_TABLE32:
        read_table(d, tag);
        complete = 0;
        break;
    case TAG_INSTANCE:
        read_instance(d);
        complete = 0;
        break;
    case TAG_FUNCTION:
        read_function(d);
        complete = 0;
        break;
    case TAG_OBJECT:
        read_object(d);
        break;
    default:
        if (!push_plain(d, tag))
            malformed(d, "a value is missing, or is of no known kind");
        break;
    }
    if (shared)
        remember(d, where);
    return complete;
}

/* Pushes the next value.  Returns 0 when it is a table or function, whose parts come next. */
static inline int
read_value (struct decoder *d)
{
    unsigned tag = *take(d, 1);

    if (tag <= LAST_INTEGER)
        lua_pushinteger(d->L, tag);
    else if (tag <= LAST_STRING)
        push_string(d, tag - TAG_STRING);
    else if (tag < TAG_COMMON || tag >= FIRST_NEGATIVE)
        push_plain(d, tag);
    else if (tag >= TAG_SLOT)
        read_slot(d, tag - TAG_SLOT);
    else
        return read_special(d, tag);
    return 1;
}

/*
 * The parts of tables and functions
 */

static void
check_key (struct decoder *d)
{
    lua_State *L = d->L;
    int type = lua_type(L, -1);

    if (type == LUA_TNIL)
        malformed(d, "a key is nil");
    if (type == LUA_TNUMBER && !lua_isinteger(L, -1)
        && lua_tonumber(L, -1) != lua_tonumber(L, -1))
        malformed(d, "a key is not a number");
}

/* Makes the value on the top of the stack part of the innermost table or function. */
static void
deliver (struct decoder *d)
{
    struct reading *reading = &d->reading[d->depth];

    switch (reading->expects) {
    case EXPECTS_VALUE:                 /* it stays where it is */
        break;
    case EXPECTS_ITEM:
        lua_rawseti(d->L, reading->index, reading->next);
        break;
    case EXPECTS_KEY:
        check_key(d);
        reading->expects = EXPECTS_FIELD;
        break;
    case EXPECTS_FIELD:
        lua_rawset(d->L, reading->index);
        reading->expects = EXPECTS_KEY;
        break;
    case EXPECTS_UPVALUE:
        lua_setupvalue(d->L, reading->index, (int) reading->next);
        break;
    }
}

/* The innermost table or function is complete, and on the top of the stack. */
static void
close_reading (struct decoder *d)
{
    const struct reading *reading = &d->reading[d->depth];

    if (reading->has_class) {
        lua_pushvalue(d->L, reading->index - 1);
        lua_setmetatable(d->L, reading->index);
        lua_replace(d->L, reading->index - 1);
    }
    d->depth--;
    d->room += SLOTS_OF_READING;
    deliver(d);
}

/* Reads a table's items as far as they are plain. */
static void
read_items (struct decoder *d, struct reading *reading)
{
    while (reading->next < reading->count) {
        reading->next++;
        if (!read_value(d))
            return;
        lua_rawseti(d->L, reading->index, reading->next);
    }
    reading->expects = EXPECTS_KEY;
}

/* Reads a table's pairs as far as they are plain, or closes it. */
static void
read_pairs (struct decoder *d, struct reading *reading)
{
    while (reading->has_pairs) {
        unsigned tag = d->at < d->end ? *d->at : TAG_NIL;
        if (tag == TAG_END) {
            d->at++;
            break;
        }
        if (!read_value(d))
            return;
        if (tag >= TAG_NIL && tag < TAG_SLOT)
            check_key(d);
        reading->expects = EXPECTS_FIELD;
        if (!read_value(d))
            return;
        lua_rawset(d->L, reading->index);
        reading->expects = EXPECTS_KEY;
    }
    close_reading(d);
}

/* Joins the function's present upvalue to that of an earlier one. */
static void
read_same_upvalue (struct decoder *d, const struct reading *reading)
{
    lua_State *L = d->L;
    lua_Integer where = push_seen(d);

    /* negative offsets say which upvalue it is: see read_upvalue */
    lua_rawgeti(L, d->base + BASE_SEEN, -where);
    if (!lua_isinteger(L, -1))
        malformed(d, "a reference leads to no upvalue");
    lua_upvaluejoin(L, reading->index, (int) reading->next, -2, (int) lua_tointeger(L, -1));
    lua_pop(L, 2);
}

/* Reads the function's next upvalue, or closes it. */
static void
read_upvalue (struct decoder *d, struct reading *reading)
{
    if (reading->next == reading->count) {
        close_reading(d);
        return;
    }
    reading->next++;
    unsigned tag = *take(d, 1);
    if (tag == TAG_SAME_UPVALUE) {
        read_same_upvalue(d, reading);
        return;
    }
    if ((tag & ~(unsigned) SHARED) != TAG_UPVALUE)
        malformed(d, "an upvalue is missing");
    if (tag & SHARED) {
        size_t where = offset_of_tag(d);
        remember(d, where);
        lua_pushinteger(d->L, reading->next);
        lua_rawseti(d->L, d->base + BASE_SEEN, -(lua_Integer) where);
    }
    if (read_value(d))
        deliver(d);
}

/*
 * The message
 */

static void
read_message (struct decoder *d)
{
    for (;;) {
        struct reading *reading = &d->reading[d->depth];
        switch (reading->expects) {
        case EXPECTS_VALUE:
            if (d->at == d->end)
                return;
            take_room(d, 1);
            read_value(d);
            break;
        case EXPECTS_ITEM:
            read_items(d, reading);
            break;
        case EXPECTS_KEY:
            read_pairs(d, reading);
            break;
        case EXPECTS_FIELD:
            if (read_value(d))
                deliver(d);
            break;
        case EXPECTS_UPVALUE:
            read_upvalue(d, reading);
            break;
        }
    }
}

static int
decode_message (lua_State *L, const unsigned char *bytes, size_t length, unsigned flags)
{
    struct reading local[LOCAL_READINGS];
    struct decoder d = {
        .L = L, .start = bytes, .at = bytes + 1, .end = bytes + length, .flags = flags,
        .budget = length, .base = lua_gettop(L), .room = FIRST_ROOM,
        .reading = local, .capacity = LOCAL_READINGS
    };

    local[0] = (struct reading) {.expects = EXPECTS_VALUE};
    luaL_checkstack(L, BASE_SLOTS + SLOTS + FIRST_ROOM, NULL);
    d.slots = *take(&d, 1);
    if (d.slots > SLOTS)
        malformed(&d, "it has too many common strings");
    int top = d.base + BASE_SLOTS - 1 + (int) d.slots;
    lua_settop(L, top);

    read_message(&d);
    int count = lua_gettop(L) - top;
    if (count == 1)
        lua_copy(L, -1, d.base + 1);
    else
        lua_rotate(L, d.base + 1, count);
    lua_settop(L, d.base + count);
    return count;
}

static int
decode_plain (lua_State *L, const unsigned char *bytes, size_t length, unsigned flags)
{
    struct decoder d = {.L = L, .at = bytes, .end = bytes + length, .flags = flags};

    if (!push_plain(&d, *take(&d, 1)))
        malformed(&d, "its first byte is of no known kind");
    if (d.at != d.end)
        malformed(&d, "it goes on after its end");
    return 1;
}

void
luampC_get_scalar (lua_State *L, const unsigned char **at, const unsigned char *end)
{
    struct decoder d = {.L = L, .at = *at, .end = end};

    if (!push_plain(&d, *take(&d, 1)))
        malformed(&d, "a value is missing, or is of no known kind");
    *at = d.at;
}

int
luampC_decode (lua_State *L, const void *bytes, size_t length, unsigned flags)
{
    const unsigned char *at = bytes;

    if (length > 0) {
        if (at[0] <= LAST_INTEGER && length == 1) {
            lua_pushinteger(L, at[0]);
            return 1;
        }
        if (at[0] >= TAG_STRING && at[0] <= LAST_STRING
            && length == (size_t) at[0] - TAG_STRING + 1) {
            lua_pushlstring(L, (const char *) at + 1, length - 1);
            return 1;
        }
        if (at[0] == TAG_MESSAGE)
            return decode_message(L, at, length, flags);
    }
    return decode_plain(L, at, length, flags);
}

int
luampC_is_plain (const void *bytes, size_t length)
{
    return length > 0 && *(const unsigned char *) bytes != TAG_MESSAGE;
}

bool
luampC_is_number (const void *bytes, size_t length)
{
    const unsigned char *at = bytes, *end = at + length;

    if (length == 0)
        return false;
    unsigned tag = *at++;
    enum plain_kind kind = read_plain(&at, end, tag).kind;
    return at == end
           && (kind == PLAIN_BOOLEAN || kind == PLAIN_INTEGER || kind == PLAIN_FLOAT);
}
