/*
 * codec.c: Lua values to bytes and back; the only encoder.
 *
 * Called by every binding that sends or stores a value.  Runs in any process and thread, on the
 * caller's own Lua state; it knows nothing of shared memory.  Three parts: names (what travels by
 * name), the encoder, the decoder.
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
 * `where` is the offset of a tag.  When the encoder meets a thing again it goes back and sets the
 * lowest bit of the first occurrence's tag (see SHARED), so the decoder has to remember only what
 * is really referred to.
 *
 * Invariants:
 *   - Neither direction recurses in C: open tables and functions are frames in an array, and
 *     their Lua values stand on the Lua stack.
 *   - The encoder calls no Lua function and no metamethod.  Only creating strings (a function's
 *     first dump, the names) can run a finalizer; a nested encode then finds the scratch busy and
 *     takes another.
 *   - The decoder trusts nothing.  Each count is paid for from a budget of one entry a byte, so
 *     many small lies add up to no more than one.
 *   - An error leaves nothing behind: all memory belongs to userdata.
 *
 * It must not block, lock, or touch the arena.
 */
#include "codec.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "object.h"

/*
 * The format
 */

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

/* The longest plain value that is not a string, and the longest head of one that is. */
#define LONGEST_PLAIN 9

static size_t
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

static size_t
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

size_t
luampC_scalar_size (lua_State *L, int index)
{
    size_t length;

    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
        return 1;
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? integer_size(lua_tointeger(L, index)) : LONGEST_PLAIN;
    case LUA_TSTRING:
        lua_tolstring(L, index, &length);
        return string_head_size(length) + length;
    default:
        return 0;
    }
}

unsigned char *
luampC_write_scalar (lua_State *L, int index, unsigned char *at)
{
    const char *string;
    size_t length;

    switch (lua_type(L, index)) {
    case LUA_TNIL:
        *at = TAG_NIL;
        return at + 1;
    case LUA_TBOOLEAN:
        *at = lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE;
        return at + 1;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            return write_integer(at, lua_tointeger(L, index));
        return write_float(at, lua_tonumber(L, index));
    default:
        string = lua_tolstring(L, index, &length);
        return write_string(at, string, length);
    }
}

/*
 * Names: what travels by name
 *
 * The state keeps a map from the address of each class's metatable, loaded module and library
 * function to its name.  It is built when it is first needed and again when package.loaded is
 * seen to have changed; what it says of a module or function is checked before it is believed.
 */

enum kind {
    KIND_GLOBALS,                       /* in order of precedence */
    KIND_CLASS,
    KIND_MODULE,
    KIND_MEMBER
};

/* The strings belong to the table that is the names' user value. */
struct name {
    enum kind kind;
    const char *module;                 /* the class's or the module's name */
    size_t module_length;
    const char *key;                    /* of a member of the module */
    size_t key_length;
};

/*
 * An open-addressing map.  Each table that is sent is looked up, and hardly one is found: the
 * filter has a bit set for each object, and answers most of the time.
 */
#define FILTER_BITS 12

struct names {
    uint64_t filter[1 << (FILTER_BITS - 6)];
    uint64_t fingerprint;               /* of package.loaded, when this was built */
    unsigned bits;
    size_t room;                        /* for so many more */
    struct name *name;
    const void *object[];
};

/* What this codec keeps in each Lua state. */
struct state {
    int has_names;                      /* there are names, and no class was registered since */
    struct scratch *scratch;            /* NULL: to be made */
};

enum {                                  /* the user values of struct state */
    STATE_CLASSES = 1,                  /* class name -> metatable */
    STATE_CLASS_NAMES,                  /* metatable -> class name */
    STATE_DUMPS,                        /* function -> its bytecode; weak */
    STATE_NAMES,                        /* the userdata that holds struct names */
    STATE_SCRATCH,                      /* the userdata that is state->scratch */
    STATE_VALUES = STATE_SCRATCH
};

static const char state_key;            /* its address is the state's key in the registry */

static void
new_table_value (lua_State *L, int owner, int which, const char *mode)
{
    lua_newtable(L);
    if (mode) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    lua_setiuservalue(L, owner, which);
}

/* Pushes the userdata of this Lua state's struct state. */
static struct state *
push_state (lua_State *L)
{
    struct state *state;

    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    state = lua_newuserdatauv(L, sizeof *state, STATE_VALUES);
    memset(state, 0, sizeof *state);
    int index = lua_gettop(L);
    new_table_value(L, index, STATE_CLASSES, NULL);
    new_table_value(L, index, STATE_CLASS_NAMES, NULL);
    new_table_value(L, index, STATE_DUMPS, "k");
    lua_pushvalue(L, index);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
    return state;
}

void
luampC_register_class (lua_State *L, const char *name, int metatable)
{
    metatable = lua_absindex(L, metatable);
    luaL_checkstack(L, 8, NULL);
    struct state *state = push_state(L);
    lua_getiuservalue(L, -1, STATE_CLASSES);
    lua_getiuservalue(L, -2, STATE_CLASS_NAMES);
    lua_pushvalue(L, metatable);
    if (lua_rawget(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -1), name) != 0)
        luaL_error(L, "cannot register class '%s': its metatable is known as '%s' already", name,
                   lua_tostring(L, -1));
    lua_pop(L, 1);
    lua_pushstring(L, name);
    if (lua_rawget(L, -3) != LUA_TNIL && !lua_rawequal(L, -1, metatable))
        luaL_error(L, "cannot register class '%s': another metatable has this name", name);
    lua_pop(L, 1);

    lua_pushvalue(L, metatable);
    lua_pushstring(L, name);
    lua_rawset(L, -3);
    lua_pushstring(L, name);
    lua_pushvalue(L, metatable);
    lua_rawset(L, -4);
    lua_pop(L, 3);
    state->has_names = 0;
}

static int
is_standard_module (const char *name)
{
    static const char *const standard[] = {
        LUA_GNAME, LUA_LOADLIBNAME, LUA_COLIBNAME, LUA_TABLIBNAME, LUA_IOLIBNAME, LUA_OSLIBNAME,
        LUA_STRLIBNAME, LUA_MATHLIBNAME, LUA_UTF8LIBNAME, LUA_DBLIBNAME
    };
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++) {
        if (strcmp(name, standard[i]) == 0)
            return 1;
    }
    return 0;
}

/*
 * Whether a thing that has both names should go by the first.  A standard module's name is known
 * everywhere; of a module's two names the longer is the full one (luamp.ipc, ipc).
 */
static int
is_better_name (const struct name *a, const struct name *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind;
    int a_standard = is_standard_module(a->module);
    if (a_standard != is_standard_module(b->module))
        return a_standard;
    if (a->module_length != b->module_length)
        return a->module_length > b->module_length;
    int order = strcmp(a->module, b->module);
    if (order == 0 && a->key && b->key)
        order = strcmp(a->key, b->key);
    return order < 0;
}

static inline size_t
hash_pointer (const void *pointer, unsigned bits)
{
    return (size_t) (((uint64_t) (uintptr_t) pointer >> 4) * UINT64_C(0x9e3779b97f4a7c15)
                     >> (64 - bits));
}

static inline const struct name *
find_name (const struct names *names, const void *object)
{
    size_t bit = hash_pointer(object, FILTER_BITS);

    if (!(names->filter[bit >> 6] >> (bit & 63) & 1))
        return NULL;
    size_t mask = ((size_t) 1 << names->bits) - 1;
    size_t i = hash_pointer(object, names->bits);
    while (names->object[i]) {
        if (names->object[i] == object)
            return &names->name[i];
        i = (i + 1) & mask;
    }
    return NULL;
}

static void
add_name (struct names *names, const void *object, const struct name *name)
{
    size_t mask = ((size_t) 1 << names->bits) - 1;
    size_t i = hash_pointer(object, names->bits);

    while (names->object[i] && names->object[i] != object)
        i = (i + 1) & mask;
    if (!names->object[i]) {
        if (names->room == 0)
            return;
        size_t bit = hash_pointer(object, FILTER_BITS);
        names->filter[bit >> 6] |= UINT64_C(1) << (bit & 63);
        names->room--;
        names->object[i] = object;
    } else if (!is_better_name(name, &names->name[i])) {
        return;
    }
    names->name[i] = *name;
}

static int
push_loaded (lua_State *L)
{
    return lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE;
}

static const void *
globals_address (lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    const void *address = lua_topointer(L, -1);
    lua_pop(L, 1);
    return address;
}

/* A number that changes when package.loaded gets, loses or replaces a module. */
static uint64_t
loaded_fingerprint (lua_State *L)
{
    uint64_t sum = (uintptr_t) globals_address(L);

    if (push_loaded(L)) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            uint64_t key = (uintptr_t) lua_topointer(L, -2);
            uint64_t value = (uintptr_t) lua_topointer(L, -1);
            sum += (key * 31 + value) * UINT64_C(0x9e3779b97f4a7c15);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return sum;
}

/* Is the field with the key at -2 and the value at -1 one that goes by name? */
static int
is_library_function (lua_State *L, int of_globals)
{
    return lua_type(L, -2) == LUA_TSTRING
           && (lua_iscfunction(L, -1) || (!of_globals && lua_isfunction(L, -1)));
}

/* How many names there can be. */
static size_t
count_names (lua_State *L, int classes, const void *globals)
{
    size_t count = 1;

    for (lua_pushnil(L); lua_next(L, classes); lua_pop(L, 1))
        count++;
    if (push_loaded(L)) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            count++;
            if (lua_type(L, -1) != LUA_TTABLE)
                continue;
            int of_globals = lua_topointer(L, -1) == globals;
            for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
                count += is_library_function(L, of_globals);
        }
    }
    lua_pop(L, 1);
    return count;
}

/* Keeps the string at index alive as long as the names. */
static const char *
anchor (lua_State *L, int index, int strings, size_t *length)
{
    lua_pushvalue(L, index);
    lua_rawseti(L, strings, (lua_Integer) lua_rawlen(L, strings) + 1);
    return lua_tolstring(L, index, length);
}

/* Adds the module whose name is at -2 and whose value is at -1, and its functions. */
static void
add_module (lua_State *L, struct names *names, int strings, const void *globals)
{
    struct name name = {.kind = KIND_MODULE};
    const void *object = lua_topointer(L, -1);

    name.module = anchor(L, -2, strings, &name.module_length);
    if (lua_type(L, -1) == LUA_TTABLE || lua_isfunction(L, -1))
        add_name(names, object, &name);
    if (lua_type(L, -1) != LUA_TTABLE)
        return;
    name.kind = KIND_MEMBER;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (is_library_function(L, object == globals)) {
            name.key = anchor(L, -2, strings, &name.key_length);
            add_name(names, lua_topointer(L, -1), &name);
        }
    }
}

/* Builds the names anew, and pushes their userdata.  The state's userdata is at index. */
static struct names *
build_names (lua_State *L, struct state *state, int index)
{
    int top = lua_gettop(L);
    const void *globals = globals_address(L);
    unsigned bits = 6;
    size_t size;

    luaL_checkstack(L, 16, NULL);
    lua_getiuservalue(L, index, STATE_CLASSES);
    lua_newtable(L);
    size_t count = count_names(L, top + 1, globals);
    while (((size_t) 1 << bits) < 2 * count)
        bits++;
    size = (size_t) 1 << bits;
    struct names *names = lua_newuserdatauv(L, sizeof *names + size * sizeof *names->object
                                               + size * sizeof *names->name, 1);
    names->bits = bits;
    names->room = size - size / 4;
    names->name = (struct name *) (names->object + size);
    memset(names->object, 0, size * sizeof *names->object);
    memset(names->filter, 0, sizeof names->filter);
    names->fingerprint = loaded_fingerprint(L);
    lua_pushvalue(L, top + 2);
    lua_setiuservalue(L, top + 3, 1);

    add_name(names, globals, &(struct name) {.kind = KIND_GLOBALS, .module = LUA_GNAME});
    for (lua_pushnil(L); lua_next(L, top + 1); lua_pop(L, 1)) {
        struct name name = {.kind = KIND_CLASS};
        name.module = anchor(L, -2, top + 2, &name.module_length);
        add_name(names, lua_topointer(L, -1), &name);
    }
    if (push_loaded(L)) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) == LUA_TSTRING)
                add_module(L, names, top + 2, globals);
        }
    }
    lua_settop(L, top + 3);
    lua_pushvalue(L, top + 3);
    lua_setiuservalue(L, index, STATE_NAMES);
    state->has_names = 1;
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return names;
}

/* Is the value on the top of the stack still what is known by this name? */
static int
name_holds (lua_State *L, const struct name *name)
{
    int value = lua_gettop(L);
    int holds = 0;

    switch (name->kind) {
    case KIND_GLOBALS:
        return lua_topointer(L, value) == globals_address(L);
    case KIND_CLASS:
        return 1;
    case KIND_MODULE:
    case KIND_MEMBER:
        if (push_loaded(L)) {
            lua_pushlstring(L, name->module, name->module_length);
            int type = lua_rawget(L, -2);
            if (name->kind == KIND_MEMBER && type == LUA_TTABLE) {
                lua_pushlstring(L, name->key, name->key_length);
                lua_rawget(L, -2);
            }
            holds = lua_rawequal(L, -1, value);
        }
        lua_settop(L, value);
        return holds;
    }
    return 0;
}

/*
 * Whether the module on the top of the stack goes by name: a function does, and a table that has
 * a function or a metatable of its own.  One that is nothing but data is sent as data, as any
 * table is.
 */
static int
is_library (lua_State *L, const struct names *names)
{
    if (lua_isfunction(L, -1))
        return 1;
    if (lua_getmetatable(L, -1)) {
        const struct name *class = find_name(names, lua_topointer(L, -1));
        lua_pop(L, 1);
        if (!class || class->kind != KIND_CLASS)
            return 1;
    }
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_isfunction(L, -1)) {
            lua_pop(L, 2);
            return 1;
        }
    }
    return 0;
}

/*
 * The encoder's scratch: the message's bytes and all that is needed to write them, kept from
 * message to message.
 */

/* Where in the message something was first written.  Valid when its stamp is the scratch's. */
struct place {
    const void *thing;
    uint64_t where;                     /* the stamp, and OFFSET_BITS of offset */
};

#define OFFSET_BITS 40
#define LONGEST_MESSAGE ((UINT64_C(1) << OFFSET_BITS) - 1)
#define LAST_STAMP ((1u << (64 - OFFSET_BITS)) - 1)
#define NOWHERE SIZE_MAX

/* A short string seen in this message, and its slot if it was seen twice. */
struct common {
    const char *string;
    uint64_t stamp;
    unsigned char has_slot;
    unsigned char slot;
};

#define COMMON_BITS 7

/* An open table or function. */
struct open {
    size_t start;                       /* the offset of its tag */
    uint64_t items;                     /* list items, or upvalues, written so far */
    uint64_t pairs;                     /* pairs begun so far */
    uint64_t border;                    /* of a list: no item lies beyond */
    int index;                          /* where it stands on the Lua stack */
    unsigned char doing;                /* enum doing */
    unsigned char at_key;               /* the key is being written, not the value */
    unsigned char tag;                  /* TAG_RECORD, TAG_TABLE8, TAG_TABLE32 or TAG_FUNCTION */
};

enum doing {
    DOING_ITEMS,                        /* while the keys come as 1, 2, 3 */
    DOING_PAIRS,
    DOING_UPVALUES
};

struct scratch {
    lua_Alloc allocate;
    void *allocator;
    int closed;                         /* the Lua state is being closed */
    int busy;                           /* an encode is under way, or was ended by an error */

    unsigned char *bytes;
    size_t capacity;
    size_t length;                      /* of the last message */

    struct open *open;
    size_t open_capacity;
    size_t depth;

    uint64_t *cells;
    size_t cells_capacity;
    size_t ncells;

    struct place *place;
    unsigned place_bits;
    size_t nplaces;

    uint64_t stamp;                     /* of this message */
    unsigned nslots;
    struct common common[1 << COMMON_BITS];

    unsigned spacious;                  /* so many messages have needed little of a huge scratch */
};

#define HUGE_SCRATCH ((size_t) 1 << 20)
#define SPACIOUS_MESSAGES 16

static void *
resize (struct scratch *s, void *block, size_t old_size, size_t new_size)
{
    return s->allocate(s->allocator, block, old_size, new_size);
}

static void
free_scratch (struct scratch *s)
{
    resize(s, s->bytes, s->capacity, 0);
    resize(s, s->open, s->open_capacity * sizeof *s->open, 0);
    resize(s, s->cells, s->cells_capacity * sizeof *s->cells, 0);
    if (s->place)
        resize(s, s->place, sizeof *s->place << s->place_bits, 0);
    s->bytes = NULL;
    s->open = NULL;
    s->cells = NULL;
    s->place = NULL;
    s->capacity = s->open_capacity = s->cells_capacity = s->nplaces = 0;
}

static int
scratch_gc (lua_State *L)
{
    struct scratch *s = lua_touserdata(L, 1);

    free_scratch(s);
    s->closed = 1;
    return 0;
}

/* Pushes a new scratch. */
static struct scratch *
push_new_scratch (lua_State *L)
{
    struct scratch *s = lua_newuserdatauv(L, sizeof *s, 0);

    memset(s, 0, sizeof *s);
    s->allocate = lua_getallocf(L, &s->allocator);
    if (luaL_newmetatable(L, "luamp.codec.scratch")) {
        lua_pushcfunction(L, scratch_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return s;
}

/* Makes the scratch at index the state's. */
static void
set_scratch (lua_State *L, struct state *state, int state_index, struct scratch *s, int index)
{
    lua_pushvalue(L, index);
    lua_setiuservalue(L, state_index, STATE_SCRATCH);
    state->scratch = s;
}

/* Pushes the state's scratch, or a new one where that is in use. */
static struct scratch *
push_scratch (lua_State *L, struct state *state, int state_index)
{
    if (state->scratch && !state->scratch->busy) {
        lua_getiuservalue(L, state_index, STATE_SCRATCH);
        return state->scratch;
    }
    struct scratch *s = push_new_scratch(L);
    set_scratch(L, state, state_index, s, -1);
    return s;
}

void
luampC_keep (lua_State *L)
{
    struct state *state = push_state(L);

    lua_getiuservalue(L, -1, STATE_SCRATCH);
    lua_pushnil(L);
    lua_setiuservalue(L, -3, STATE_SCRATCH);
    state->scratch = NULL;
    lua_remove(L, -2);
}

/* Gives the memory of a huge message back once the messages have stayed small for a while. */
static void
shrink_scratch (struct scratch *s)
{
    size_t has = s->capacity + s->open_capacity * sizeof *s->open
                 + s->cells_capacity * sizeof *s->cells
                 + (s->place ? sizeof *s->place << s->place_bits : 0);
    size_t needed = s->length + 4 * s->nplaces * sizeof *s->place;

    if (has <= HUGE_SCRATCH || needed > has / 8) {
        s->spacious = 0;
    } else if (++s->spacious == SPACIOUS_MESSAGES) {
        s->spacious = 0;
        free_scratch(s);
    }
}

/*
 * The encoder
 */

struct encoder {
    lua_State *L;
    struct state *state;
    struct scratch *s;
    const struct names *names;
    unsigned char *at;                  /* where the next byte goes */
    unsigned char *end;
    int base;                           /* below the userdata of the three above */
    int room;                           /* stack slots known to be free */
    int checked;                        /* enum checked: the names, in this message */
    const char *root;
    int number;                         /* of the value being written, 0 when it has none */
};

enum {                                  /* above the base */
    BASE_STATE = 1,
    BASE_SCRATCH,
    BASE_NAMES,
    BASE_VALUES = BASE_NAMES
};

enum checked {
    CHECKED_NOT,
    CHECKED_LOADED,                     /* against package.loaded's modules */
    CHECKED_ALL                         /* built anew */
};

enum outcome {
    WRITTEN,                            /* and popped */
    OPENED,                             /* its parts are to be written */
    AGAIN                               /* the names were out of date: begin the message again */
};

static size_t
offset (const struct encoder *e)
{
    return (size_t) (e->at - e->s->bytes);
}

/* Ends the message with an error.  Its scratch can be used again at once. */
static void
fail (struct encoder *e, const char *what, const char *why)
{
    e->s->busy = 0;
    luaL_error(e->L, "cannot send %s: %s", what, why);
}

static void
fail_for_memory (struct encoder *e)
{
    e->s->busy = 0;
    luaL_error(e->L, "not enough memory");
}

/* An array twice as large; element is its members' size. */
static void *
grow_array (struct encoder *e, void *array, size_t *capacity, size_t element)
{
    size_t larger = *capacity ? *capacity * 2 : 32;
    void *block = resize(e->s, array, *capacity * element, larger * element);

    if (!block)
        fail_for_memory(e);
    *capacity = larger;
    return block;
}

static void
grow_bytes (struct encoder *e, size_t more)
{
    struct scratch *s = e->s;
    size_t length = offset(e);
    size_t larger = s->capacity ? s->capacity * 2 : 1024;

    if (more > LONGEST_MESSAGE - length)
        fail_for_memory(e);
    while (larger < length + more)
        larger *= 2;
    unsigned char *bytes = resize(s, s->bytes, s->capacity, larger);
    if (!bytes)
        fail_for_memory(e);
    s->bytes = bytes;
    s->capacity = larger;
    e->at = bytes + length;
    e->end = bytes + larger;
}

static inline void
reserve (struct encoder *e, size_t more)
{
    if ((size_t) (e->end - e->at) < more)
        grow_bytes(e, more);
}

static inline void
write_byte (struct encoder *e, int byte)
{
    reserve(e, 1);
    *e->at++ = (unsigned char) byte;
}

static void
write_bytes (struct encoder *e, const void *bytes, size_t length)
{
    reserve(e, length);
    memcpy(e->at, bytes, length);
    e->at += length;
}

/* Seven bits a byte, the lowest first; the last byte's highest bit is clear. */
static void
write_count (struct encoder *e, uint64_t count)
{
    reserve(e, 10);
    for (; count > 0x7f; count >>= 7)
        *e->at++ = (unsigned char) (count | 0x80);
    *e->at++ = (unsigned char) count;
}

static void
grow_places (struct encoder *e)
{
    struct scratch *s = e->s;
    unsigned bits = s->place ? s->place_bits + 1 : 6;
    size_t mask = ((size_t) 1 << bits) - 1;
    struct place *place = resize(s, NULL, 0, sizeof *place << bits);

    if (!place)
        fail_for_memory(e);
    memset(place, 0, sizeof *place << bits);
    if (s->place) {
        for (size_t old = 0; old >> s->place_bits == 0; old++) {
            if (s->place[old].where >> OFFSET_BITS != s->stamp)
                continue;
            size_t i = hash_pointer(s->place[old].thing, bits);
            while (place[i].thing)
                i = (i + 1) & mask;
            place[i] = s->place[old];
        }
        resize(s, s->place, sizeof *place << s->place_bits, 0);
    }
    s->place = place;
    s->place_bits = bits;
}

/* Where the thing is in this message.  If NOWHERE, it is from now on at the present offset. */
static inline size_t
place_of (struct encoder *e, const void *thing)
{
    struct scratch *s = e->s;

    if (!s->place || s->nplaces >> (s->place_bits - 2))
        grow_places(e);
    size_t mask = ((size_t) 1 << s->place_bits) - 1;
    size_t i = hash_pointer(thing, s->place_bits);
    struct place *place = &s->place[i];
    while (place->where >> OFFSET_BITS == s->stamp) {
        if (place->thing == thing)
            return (size_t) (place->where & LONGEST_MESSAGE);
        i = (i + 1) & mask;
        place = &s->place[i];
    }
    place->thing = thing;
    place->where = s->stamp << OFFSET_BITS | offset(e);
    s->nplaces++;
    return NOWHERE;
}

static void
write_same (struct encoder *e, int tag, size_t where)
{
    e->s->bytes[where] |= SHARED;
    write_byte(e, tag);
    write_count(e, where);
}

static void
write_short_string (struct encoder *e, const char *string, size_t length)
{
    struct scratch *s = e->s;
    struct common *common = &s->common[hash_pointer(string, COMMON_BITS)];

    reserve(e, 2 + length);
    if (common->string == string && common->stamp == s->stamp) {
        if (common->has_slot) {
            *e->at++ = (unsigned char) (TAG_SLOT + common->slot);
            return;
        }
        if (s->nslots < SLOTS) {
            common->has_slot = 1;
            common->slot = (unsigned char) s->nslots++;
            *e->at++ = TAG_COMMON;
        }
    } else if (common->stamp != s->stamp || !common->has_slot) {
        common->string = string;
        common->stamp = s->stamp;
        common->has_slot = 0;
    }
    e->at = write_string(e->at, string, length);
}

static void
write_any_string (struct encoder *e, const char *string, size_t length)
{
    if (length <= LONGEST_SHORT_STRING) {
        write_short_string(e, string, length);
    } else {
        size_t where = place_of(e, string);
        if (where != NOWHERE) {
            write_same(e, TAG_SAME, where);
        } else {
            reserve(e, LONGEST_PLAIN + length);
            e->at = write_string(e->at, string, length);
        }
    }
}

/* Writes the value at index if it is plain, and returns LUA_TNIL; else returns its type. */
static inline int
write_plain (struct encoder *e, int index)
{
    lua_State *L = e->L;
    const char *string;
    size_t length;
    int type = lua_type(L, index);

    reserve(e, LONGEST_PLAIN);
    switch (type) {
    case LUA_TNIL:
        *e->at++ = TAG_NIL;
        return LUA_TNIL;
    case LUA_TBOOLEAN:
        *e->at++ = lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE;
        return LUA_TNIL;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            e->at = write_integer(e->at, lua_tointeger(L, index));
        else
            e->at = write_float(e->at, lua_tonumber(L, index));
        return LUA_TNIL;
    case LUA_TSTRING:
        string = lua_tolstring(L, index, &length);
        write_any_string(e, string, length);
        return LUA_TNIL;
    default:
        return type;
    }
}

/*
 * The path to a value, for an error
 */

struct path {
    char text[400];
    size_t length;
};

static void
add_text (struct path *path, const char *text, size_t length)
{
    if (length > sizeof path->text - 1 - path->length)
        length = sizeof path->text - 1 - path->length;
    memcpy(path->text + path->length, text, length);
    path->length += length;
    path->text[path->length] = '\0';
}

#define add_literal(path, text) add_text(path, "" text, sizeof (text) - 1)

static void
add_prefix (struct path *path, const char *prefix)
{
    struct path old = *path;

    path->length = 0;
    add_text(path, prefix, strlen(prefix));
    add_text(path, old.text, old.length);
}

static int
is_identifier (const char *string, size_t length)
{
    if (length == 0 || length > 60 || (string[0] >= '0' && string[0] <= '9'))
        return 0;
    for (size_t i = 0; i < length; i++) {
        char c = string[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || c == '_'))
            return 0;
    }
    return 1;
}

/* Control characters become '?', and a long string is cut, between two characters if in UTF-8. */
static void
add_quoted (struct path *path, const char *string, size_t length)
{
    size_t shown = length <= 40 ? length : 40;

    while (shown < length && shown > 0 && ((unsigned char) string[shown] & 0xc0) == 0x80)
        shown--;
    add_literal(path, "[\"");
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char) string[i];
        if (c == '"' || c == '\\')
            add_literal(path, "\\");
        if (c < ' ' || c == 0x7f)
            add_literal(path, "?");
        else
            add_text(path, &string[i], 1);
    }
    if (shown < length)
        add_literal(path, "...");
    add_literal(path, "\"]");
}

static void
add_key (struct path *path, lua_State *L, int index)
{
    char number[40];
    const char *string;
    size_t length;

    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        string = lua_tolstring(L, index, &length);
        if (is_identifier(string, length)) {
            add_literal(path, ".");
            add_text(path, string, length);
        } else {
            add_quoted(path, string, length);
        }
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            snprintf(number, sizeof number, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, index));
        else
            snprintf(number, sizeof number, "[" LUA_NUMBER_FMT "]", lua_tonumber(L, index));
        add_text(path, number, strlen(number));
        break;
    case LUA_TBOOLEAN:
        snprintf(number, sizeof number, "[%s]", lua_toboolean(L, index) ? "true" : "false");
        add_text(path, number, strlen(number));
        break;
    default:
        snprintf(number, sizeof number, "[a %s]", lua_typename(L, lua_type(L, index)));
        add_text(path, number, strlen(number));
        break;
    }
}

static void
add_upvalue (struct path *path, lua_State *L, const struct open *open)
{
    const char *name = lua_getupvalue(L, open->index, (int) open->items);

    if (name)
        lua_pop(L, 1);
    add_literal(path, "'s upvalue '");
    add_text(path, name ? name : "?", strlen(name ? name : "?"));
    add_literal(path, "'");
}

/* The path of the value that is being written. */
static void
trace_path (struct encoder *e, struct path *path)
{
    struct scratch *s = e->s;
    size_t root_length = strlen(e->root);
    char number[24];

    path->length = 0;
    if (root_length >= 2 && strcmp(e->root + root_length - 2, "[]") == 0)
        root_length -= 2;
    add_text(path, e->root, root_length);
    if (e->number > 0) {
        snprintf(number, sizeof number, "[%d]", e->number);
        add_text(path, number, strlen(number));
    }
    for (size_t i = 0; i < s->depth; i++) {
        const struct open *open = &s->open[i];
        int last = i + 1 == s->depth;
        if (i == 8 && s->depth > 12) {
            add_literal(path, "...");
            i = s->depth - 5;
        } else if (open->doing == DOING_UPVALUES) {
            add_upvalue(path, e->L, open);
        } else if (open->at_key) {
            add_prefix(path, last ? "a key of " : "(a key of ");
            if (!last)
                add_literal(path, ")");
        } else {
            add_key(path, e->L, open->index + 1);
        }
    }
}

/*
 * Makes sure that the names are not out of date: that they know what is in package.loaded now,
 * or, with CHECKED_ALL, also what its modules have now.  Returns whether they changed.
 */
static int
names_changed (struct encoder *e, enum checked thoroughness)
{
    if (e->checked >= (int) thoroughness)
        return 0;
    e->checked = (int) thoroughness;
    if (thoroughness == CHECKED_LOADED
        && e->names->fingerprint == loaded_fingerprint(e->L))
        return 0;
    e->names = build_names(e->L, e->state, e->base + BASE_STATE);
    lua_replace(e->L, e->base + BASE_NAMES);
    return 1;
}

/*
 * The value on the top of the stack cannot be sent, unless the names turn out to be out of date
 * and it, or a table around it, goes by name.
 */
static enum outcome
refuse (struct encoder *e, const char *why)
{
    struct path path;

    if (names_changed(e, CHECKED_ALL))
        return AGAIN;
    trace_path(e, &path);
    fail(e, path.text, why);
    return AGAIN;
}

static enum outcome
refuse_userdata (struct encoder *e, const char *why)
{
    lua_State *L = e->L;
    char text[120];

    if (why)
        return refuse(e, why);
    if (luaL_testudata(L, -1, LUA_FILEHANDLE))
        return refuse(e, "a file handle belongs to its process");
    int named = luaL_getmetafield(L, -1, "__name");
    const char *type = named == LUA_TSTRING ? lua_tostring(L, -1) : "userdata";
    snprintf(text, sizeof text, "a %.60s belongs to its process", type);
    if (named != LUA_TNIL)
        lua_pop(L, 1);
    return refuse(e, text);
}

static enum outcome
pop_written (struct encoder *e)
{
    lua_pop(e->L, 1);
    return WRITTEN;
}

/* Makes room on the Lua stack for one more open table or function. */
static void
make_room (struct encoder *e)
{
    int more = 64;
    struct path path;

    if (e->s->depth > 64 && e->s->depth < INT_MAX / 4)
        more = (int) e->s->depth;
    if (!lua_checkstack(e->L, more)) {
        more = 16;
        if (!lua_checkstack(e->L, more)) {
            trace_path(e, &path);
            fail(e, path.text, "it is nested too deeply for Lua's stack");
        }
    }
    e->room = more;
}

#define SLOTS_OF_OPEN 3                 /* itself, the present key and its value */
#define SLOTS_OF_WORK 12                /* above the innermost one */

static struct open *
push_open (struct encoder *e)
{
    struct scratch *s = e->s;

    if (s->depth == s->open_capacity)
        s->open = grow_array(e, s->open, &s->open_capacity, sizeof *s->open);
    if (e->room < SLOTS_OF_OPEN + SLOTS_OF_WORK)
        make_room(e);
    e->room -= SLOTS_OF_OPEN;
    struct open *open = &s->open[s->depth++];
    open->start = offset(e);
    open->items = 0;
    open->pairs = 0;
    open->at_key = 0;
    open->index = lua_gettop(e->L);
    return open;
}

/* Pops the innermost open table or function, which is all that its slots still hold. */
static void
pop_open (struct encoder *e)
{
    e->s->depth--;
    e->room += SLOTS_OF_OPEN;
    lua_pop(e->L, 1);
}

static void
write_name (struct encoder *e, const struct name *name)
{
    switch (name->kind) {
    case KIND_GLOBALS:
        write_byte(e, TAG_GLOBALS);
        return;
    case KIND_CLASS:
        write_byte(e, TAG_CLASS);
        break;
    case KIND_MODULE:
        write_byte(e, TAG_MODULE);
        break;
    case KIND_MEMBER:
        write_byte(e, TAG_MEMBER);
        break;
    }
    write_any_string(e, name->module, name->module_length);
    if (name->kind == KIND_MEMBER)
        write_any_string(e, name->key, name->key_length);
}

/*
 * Writes the name that the value on the top of the stack goes by.  Returns WRITTEN, or OPENED
 * when it has none and goes by value.
 */
static enum outcome
write_named (struct encoder *e, const struct name *name)
{
    if (!name_holds(e->L, name))
        return names_changed(e, CHECKED_ALL) ? AGAIN : OPENED;
    if (name->kind == KIND_MODULE && !is_library(e->L, e->names))
        return OPENED;
    write_name(e, name);
    return pop_written(e);
}

/* Writes the class of the table on the top of the stack. */
static enum outcome
write_class (struct encoder *e)
{
    if (!lua_getmetatable(e->L, -1))
        return WRITTEN;
    const struct name *name = find_name(e->names, lua_topointer(e->L, -1));
    lua_pop(e->L, 1);
    if (!name || name->kind != KIND_CLASS)
        return refuse(e, "it has a metatable that is not a class's; "
                         "make it known with ipc.register_class");
    write_byte(e, TAG_INSTANCE);
    write_any_string(e, name->module, name->module_length);
    return WRITTEN;
}

/*
 * How far a list may skip: its empty places are written as nils, where that costs no more than
 * writing the keys would.
 */
static inline int
continues_list (const struct open *open, lua_Integer key)
{
    return key > 0 && (uint64_t) key > open->items && (uint64_t) key <= open->border
           && (uint64_t) key - open->items <= open->items + 8;
}

/* Begins the table on the top of the stack, and pushes its first key and value. */
static enum outcome
open_table (struct encoder *e)
{
    lua_State *L = e->L;
    const void *table = lua_topointer(L, -1);
    const struct name *name = find_name(e->names, table);

    if (name) {
        enum outcome outcome = write_named(e, name);
        if (outcome != OPENED)
            return outcome;
    }
    size_t where = place_of(e, table);
    if (where != NOWHERE) {
        write_same(e, TAG_SAME, where);
        return pop_written(e);
    }
    if (write_class(e) == AGAIN)
        return AGAIN;

    struct open *open = push_open(e);
    int head = 2;
    open->doing = DOING_PAIRS;
    open->tag = TAG_RECORD;
    lua_pushnil(L);
    if (!lua_next(L, open->index)) {
        pop_open(e);
        write_byte(e, TAG_RECORD);
        write_byte(e, 0);
        return WRITTEN;
    }
    if (lua_isinteger(L, -2)) {
        open->border = lua_rawlen(L, open->index);
        if (open->border > UINT32_MAX)
            open->border = UINT32_MAX;
        if (continues_list(open, lua_tointeger(L, -2))) {
            open->doing = DOING_ITEMS;
            open->tag = open->border <= UINT8_MAX ? TAG_TABLE8 : TAG_TABLE32;
            head = open->tag == TAG_TABLE8 ? 3 : 6;
        }
    }
    /* close_table fills in the numbers */
    reserve(e, (size_t) head);
    *e->at = open->tag;
    e->at += head;
    return OPENED;
}

/* Ends the innermost table, which is on the top of the stack. */
static void
close_table (struct encoder *e)
{
    const struct open *open = &e->s->open[e->s->depth - 1];
    unsigned char *head = e->s->bytes + open->start;
    unsigned char pairs = 0;

    if (open->pairs > 0) {
        for (pairs = 1; (UINT64_C(1) << (pairs - 1)) < open->pairs; pairs++)
            ;
        write_byte(e, TAG_END);
        head = e->s->bytes + open->start;
    }
    head[1] = pairs;
    if (open->tag == TAG_TABLE8) {
        head[2] = (unsigned char) open->items;
    } else if (open->tag == TAG_TABLE32) {
        uint32_t items = (uint32_t) open->items;
        memcpy(head + 2, &items, sizeof items);
    }
    pop_open(e);
}

/* Writes the key at -2 if it is plain, else pushes it and returns its type. */
static inline int
write_key (struct encoder *e, struct open *open)
{
    if (open->doing == DOING_ITEMS) {
        if (lua_isinteger(e->L, -2)) {
            lua_Integer key = lua_tointeger(e->L, -2);
            if ((uint64_t) key == open->items + 1 && open->items < open->border) {
                open->items++;
                return LUA_TNIL;
            }
            if (continues_list(open, key)) {
                while (++open->items < (uint64_t) key)
                    write_byte(e, TAG_NIL);
                return LUA_TNIL;
            }
        }
        open->doing = DOING_PAIRS;
    }
    open->pairs++;
    int type = write_plain(e, -2);
    if (type != LUA_TNIL) {
        open->at_key = 1;
        lua_pushvalue(e->L, -2);
    }
    return type;
}

/*
 * Goes on with the innermost table: writes up to its next part that is not plain, leaves that on
 * the top of the stack and returns its type; or closes the table and returns LUA_TNIL.  On the
 * stack are a key and its value; the key is still to be written, unless at_key says that this was
 * just done.
 */
static int
write_pairs (struct encoder *e)
{
    struct open *open = &e->s->open[e->s->depth - 1];
    int type;

    do {
        if (open->at_key)
            open->at_key = 0;
        else if ((type = write_key(e, open)) != LUA_TNIL)
            return type;
        if ((type = write_plain(e, -1)) != LUA_TNIL)
            return type;
        lua_pop(e->L, 1);
    } while (lua_next(e->L, open->index));
    close_table(e);
    return LUA_TNIL;
}

static int
append_bytecode (lua_State *L, const void *bytes, size_t length, void *encoder)
{
    (void) L;
    write_bytes(encoder, bytes, length);
    return 0;
}

/* Writes the bytecode of the function on the top of the stack, after its length. */
static void
write_bytecode (struct encoder *e)
{
    lua_State *L = e->L;
    size_t length;

    lua_getiuservalue(L, e->base + BASE_STATE, STATE_DUMPS);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushvalue(L, -2);
        size_t start = offset(e);
        lua_dump(L, append_bytecode, e, 0);
        length = offset(e) - start;
        lua_pushlstring(L, (const char *) e->s->bytes + start, length);
        lua_pushvalue(L, -1);
        lua_insert(L, -4);
        lua_rawset(L, -3);
        lua_insert(L, -2);
        e->at = e->s->bytes + start;
    }
    const char *bytecode = lua_tolstring(L, -1, &length);
    write_count(e, length);
    write_bytes(e, bytecode, length);
    lua_pop(L, 2);
}

/* Begins the function on the top of the stack. */
static enum outcome
open_function (struct encoder *e)
{
    lua_State *L = e->L;
    const void *function = lua_topointer(L, -1);

    if (names_changed(e, CHECKED_LOADED))
        return AGAIN;
    const struct name *name = find_name(e->names, function);
    if (name) {
        enum outcome outcome = write_named(e, name);
        if (outcome != OPENED)
            return outcome;
    }
    if (lua_iscfunction(L, -1))
        return refuse(e, "a C function can only go by name, and no loaded module has this one");
    size_t where = place_of(e, function);
    if (where != NOWHERE) {
        write_same(e, TAG_SAME, where);
        return pop_written(e);
    }
    struct open *open = push_open(e);
    open->doing = DOING_UPVALUES;
    open->tag = TAG_FUNCTION;
    write_byte(e, TAG_FUNCTION);
    write_bytecode(e);
    open->border = offset(e);
    write_byte(e, 0);
    return OPENED;
}

/* Goes on with the innermost function; as write_pairs. */
static int
write_upvalues (struct encoder *e)
{
    struct open *open = &e->s->open[e->s->depth - 1];

    while (lua_getupvalue(e->L, open->index, (int) open->items + 1)) {
        open->items++;
        size_t where = place_of(e, lua_upvalueid(e->L, open->index, (int) open->items));
        if (where != NOWHERE) {
            write_same(e, TAG_SAME_UPVALUE, where);
        } else {
            write_byte(e, TAG_UPVALUE);
            int type = write_plain(e, -1);
            if (type != LUA_TNIL)
                return type;
        }
        lua_pop(e->L, 1);
    }
    e->s->bytes[open->border] = (unsigned char) open->items;
    pop_open(e);
    return LUA_TNIL;
}

static void
write_wire (struct encoder *e, const struct luampO_wire *wire)
{
    struct scratch *s = e->s;
    unsigned char ncells = (unsigned char) wire->ncells;

    write_byte(e, TAG_OBJECT);
    write_bytes(e, &wire->kind, sizeof wire->kind);
    write_byte(e, ncells);
    write_bytes(e, wire->cell, ncells * sizeof *wire->cell);
    write_bytes(e, &wire->extra, sizeof wire->extra);
    for (unsigned i = 0; i < ncells; i++) {
        if (s->ncells == s->cells_capacity)
            s->cells = grow_array(e, s->cells, &s->cells_capacity, sizeof *s->cells);
        s->cells[s->ncells++] = wire->cell[i];
    }
}

static enum outcome
write_object (struct encoder *e)
{
    struct luampO_wire wire;
    const char *why = NULL;

    if (luampO_to_wire(e->L, -1, &wire, &why) != 1)
        return refuse_userdata(e, why);
    size_t where = place_of(e, lua_touserdata(e->L, -1));
    if (where != NOWHERE)
        write_same(e, TAG_SAME, where);
    else
        write_wire(e, &wire);
    return pop_written(e);
}

/* Writes the value on the top of the stack, which is not plain, or begins to. */
static enum outcome
write_value (struct encoder *e, int type)
{
    switch (type) {
    case LUA_TTABLE:
        return open_table(e);
    case LUA_TFUNCTION:
        return open_function(e);
    case LUA_TUSERDATA:
        return write_object(e);
    case LUA_TTHREAD:
        return refuse(e, "a coroutine belongs to its process");
    default:
        return refuse(e, "a light userdata is an address of this process");
    }
}

/*
 * Leaves the next value that is not plain on the top of the stack and returns its type, or
 * LUA_TNIL when there is none.  What was written last is an outcome: the innermost table or
 * function was just opened, or one of its parts was written.
 */
static int
next_value (struct encoder *e, enum outcome outcome)
{
    int type = LUA_TNIL;

    while (type == LUA_TNIL && e->s->depth > 0) {
        struct open *open = &e->s->open[e->s->depth - 1];
        if (open->doing == DOING_UPVALUES)
            type = write_upvalues(e);
        else if (outcome == OPENED || open->at_key || lua_next(e->L, open->index))
            type = write_pairs(e);
        else
            close_table(e);
        outcome = WRITTEN;
    }
    return type;
}

/* Writes the value on the top of the stack, and pops it.  Returns WRITTEN or AGAIN. */
static enum outcome
write_tree (struct encoder *e)
{
    int type = write_plain(e, -1);

    if (type == LUA_TNIL)
        return pop_written(e);
    do {
        enum outcome outcome = write_value(e, type);
        if (outcome == AGAIN)
            return AGAIN;
        type = next_value(e, outcome);
    } while (type != LUA_TNIL);
    return WRITTEN;
}

/* Makes the scratch ready for a message. */
static void
begin_message (struct encoder *e)
{
    struct scratch *s = e->s;

    if (s->stamp == LAST_STAMP) {
        s->stamp = 0;
        memset(s->common, 0, sizeof s->common);
        if (s->place)
            memset(s->place, 0, sizeof *s->place << s->place_bits);
    }
    s->stamp++;
    s->nslots = 0;
    s->nplaces = 0;
    s->depth = 0;
    s->ncells = 0;
    e->at = e->end = s->bytes;
    if (s->bytes)
        e->end += s->capacity;
}

/* Writes the message; returns AGAIN or WRITTEN. */
static enum outcome
write_message (struct encoder *e, int first, int count)
{
    int numbered = count > 1 || (e->root[0] && strchr(e->root, '\0')[-1] == ']');

    begin_message(e);
    reserve(e, 2);
    e->at[0] = TAG_MESSAGE;
    e->at += 2;
    for (int i = 0; i < count; i++) {
        e->number = numbered ? i + 1 : 0;
        lua_pushvalue(e->L, first + i);
        if (write_tree(e) == AGAIN) {
            lua_settop(e->L, e->base + BASE_VALUES);
            return AGAIN;
        }
    }
    e->s->bytes[1] = (unsigned char) e->s->nslots;
    return WRITTEN;
}

static void
push_names (struct encoder *e)
{
    if (e->state->has_names) {
        lua_getiuservalue(e->L, e->base + BASE_STATE, STATE_NAMES);
        e->names = lua_touserdata(e->L, -1);
    } else {
        e->names = build_names(e->L, e->state, e->base + BASE_STATE);
    }
}

void
luampC_encode (lua_State *L, int first, int count, const char *root, struct luampC_message *out)
{
    struct encoder e = {.L = L, .root = root, .base = lua_gettop(L)};

    first = lua_absindex(L, first);
    luaL_checkstack(L, SLOTS_OF_WORK + 8, NULL);
    e.room = SLOTS_OF_WORK;
    e.state = push_state(L);
    e.s = push_scratch(L, e.state, e.base + BASE_STATE);
    if (e.s->closed)
        luaL_error(L, "cannot send: this Lua state is being closed");
    e.s->busy = 1;
    shrink_scratch(e.s);

    size_t size = count == 1 ? luampC_scalar_size(L, first) : 0;
    if (size > 0) {
        begin_message(&e);
        reserve(&e, size);
        e.at = luampC_write_scalar(L, first, e.at);
    } else {
        push_names(&e);
        while (write_message(&e, first, count) == AGAIN)
            e.room = SLOTS_OF_WORK;
    }
    e.s->length = offset(&e);
    e.s->busy = 0;
    /* a finalizer that sent something has left its own scratch there */
    if (e.state->scratch != e.s)
        set_scratch(L, e.state, e.base + BASE_STATE, e.s, e.base + BASE_SCRATCH);
    out->bytes = e.s->bytes;
    out->length = e.s->length;
    out->cells = e.s->cells;
    out->ncells = (uint32_t) e.s->ncells;
    lua_settop(L, e.base);
}

/*
 * The decoder
 */

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
    struct reading local[LOCAL_READINGS];
};

static void
malformed (struct decoder *d, const char *why)
{
    luaL_error(d->L, "malformed message: %s", why);
}

static inline const unsigned char *
take (struct decoder *d, size_t length)
{
    const unsigned char *at = d->at;

    if ((size_t) (d->end - at) < length)
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

static inline int
push_string (struct decoder *d, size_t length)
{
    lua_pushlstring(d->L, (const char *) take(d, length), length);
    return 1;
}

static void
more_room (struct decoder *d)
{
    int more = d->depth > 64 && d->depth < INT_MAX / 4 ? (int) d->depth : 64;

    if (!lua_checkstack(d->L, more)) {
        more = 16;
        if (!lua_checkstack(d->L, more))
            luaL_error(d->L, "cannot receive a message: "
                             "it has too many values, or nested too deeply, for Lua's stack");
    }
    d->room = more;
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
    if (d->room < SLOTS_OF_READING + SLOTS_OF_WORK)
        more_room(d);
    d->room -= SLOTS_OF_READING;
    struct reading *reading = &d->reading[d->depth];
    reading->next = 0;
    reading->expects = (unsigned char) expects;
    reading->has_class = 0;
    return reading;
}

/* Pushes a value with this tag if it is a plain one; returns whether it is. */
static int
read_plain (struct decoder *d, unsigned tag)
{
    lua_State *L = d->L;

    switch (tag) {
    case TAG_NIL:
        lua_pushnil(L);
        return 1;
    case TAG_FALSE:
    case TAG_TRUE:
        lua_pushboolean(L, tag == TAG_TRUE);
        return 1;
    case TAG_INTEGER8:
        lua_pushinteger(L, (int8_t) *take(d, 1));
        return 1;
    case TAG_INTEGER16: {
        int16_t n;
        memcpy(&n, take(d, sizeof n), sizeof n);
        lua_pushinteger(L, n);
        return 1;
    }
    case TAG_INTEGER32: {
        int32_t n;
        memcpy(&n, take(d, sizeof n), sizeof n);
        lua_pushinteger(L, n);
        return 1;
    }
    case TAG_INTEGER64: {
        lua_Integer n;
        memcpy(&n, take(d, sizeof n), sizeof n);
        lua_pushinteger(L, n);
        return 1;
    }
    case TAG_FLOAT: {
        lua_Number n;
        memcpy(&n, take(d, sizeof n), sizeof n);
        lua_pushnumber(L, n);
        return 1;
    }
    case TAG_STRING8:
        return push_string(d, *take(d, 1));
    case TAG_STRING32: {
        uint32_t length;
        memcpy(&length, take(d, sizeof length), sizeof length);
        return push_string(d, length);
    }
    case TAG_STRING64: {
        uint64_t length;
        memcpy(&length, take(d, sizeof length), sizeof length);
        if (length > SIZE_MAX)
            malformed(d, "it is cut short");
        return push_string(d, (size_t) length);
    }
    default:
        if (tag <= LAST_INTEGER)
            lua_pushinteger(L, tag);
        else if (tag <= LAST_STRING)
            push_string(d, tag - TAG_STRING);
        else if (tag >= FIRST_NEGATIVE)
            lua_pushinteger(L, (lua_Integer) tag - 256);
        else
            return 0;
        return 1;
    }
}

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

static void
read_same (struct decoder *d)
{
    uint64_t where = take_count(d);

    lua_pushnil(d->L);
    if (!lua_isnil(d->L, d->base + BASE_SEEN) && where <= (uint64_t) (d->end - d->start)) {
        lua_pop(d->L, 1);
        lua_rawgeti(d->L, d->base + BASE_SEEN, (lua_Integer) where);
    }
    if (lua_isnil(d->L, -1))
        malformed(d, "a reference leads nowhere");
}

/* Pushes a string, as all names are. */
static const char *
read_name (struct decoder *d)
{
    unsigned tag = *take(d, 1);

    if (tag == TAG_COMMON)
        read_common(d);
    else if (tag >= TAG_SLOT && tag < FIRST_NEGATIVE)
        read_slot(d, tag - TAG_SLOT);
    else if (tag == TAG_SAME)
        read_same(d);
    else if (tag >= TAG_STRING8 && tag <= (TAG_STRING64 | SHARED)) {
        size_t where = (size_t) (d->at - 1 - d->start);
        read_plain(d, tag & ~(unsigned) SHARED);
        if (tag & SHARED)
            remember(d, where);
    } else if (tag >= TAG_STRING && tag <= LAST_STRING)
        read_plain(d, tag);
    else
        malformed(d, "a name is not a string");
    if (lua_type(d->L, -1) != LUA_TSTRING)
        malformed(d, "a name is not a string");
    return lua_tostring(d->L, -1);
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
        fields = pairs <= 40 ? (size_t) 1 << (pairs - 1) : SIZE_MAX;
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

static struct reading *
read_instance (struct decoder *d)
{
    lua_State *L = d->L;
    int classes = d->base + BASE_CLASSES;

    if (lua_isnil(L, classes)) {
        push_state(L);
        lua_getiuservalue(L, -1, STATE_CLASSES);
        lua_replace(L, classes);
        lua_pop(L, 1);
    }
    const char *name = read_name(d);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, classes) != LUA_TTABLE)
        luaL_error(L, "cannot receive an object of class '%s': the class is not known here; "
                      "make it known with ipc.register_class", name);
    lua_remove(L, -2);
    struct reading *reading = read_table(d, *take(d, 1) & ~(unsigned) SHARED);
    reading->has_class = 1;
    return reading;
}

static void
read_class (struct decoder *d)
{
    lua_State *L = d->L;
    const char *name = read_name(d);

    push_state(L);
    lua_getiuservalue(L, -1, STATE_CLASSES);
    lua_pushvalue(L, -3);
    if (lua_rawget(L, -2) != LUA_TTABLE)
        luaL_error(L, "cannot receive class '%s': it is not known here; "
                      "make it known with ipc.register_class", name);
    lua_replace(L, -4);
    lua_pop(L, 2);
}

/* Replaces the name on the top of the stack by its module, which is required if it is missing. */
static void
find_module (struct decoder *d, const char *name)
{
    lua_State *L = d->L;
    int trusted = (d->flags & LUAMPC_FUNCTIONS) != 0;

    if (!trusted && !is_standard_module(name))
        luaL_error(L, "cannot receive module '%s': only standard modules are accepted here", name);
    if (!push_loaded(L))
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

/* Loads a function's bytecode and begins to read its upvalues. */
static void
read_function (struct decoder *d)
{
    lua_State *L = d->L;

    if (!(d->flags & LUAMPC_FUNCTIONS))
        malformed(d, "it holds a function, and none is accepted here");
    uint64_t length = take_count(d);
    if (length > (uint64_t) (d->end - d->at))
        malformed(d, "it is cut short");
    const char *bytecode = (const char *) take(d, (size_t) length);
    struct reading *reading = push_reading(d, EXPECTS_UPVALUE);
    if (luaL_loadbufferx(L, bytecode, (size_t) length, "=bytecode", "b") != LUA_OK)
        malformed(d, lua_tostring(L, -1));
    reading->index = lua_gettop(L);
    reading->count = *take(d, 1);
    reading->has_pairs = 0;
    if (reading->count > 0 && !lua_getupvalue(L, -1, (int) reading->count))
        malformed(d, "a function has too many upvalues");
    lua_settop(L, reading->index);
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
 * read_value() for the tags that are rare.  A table or function is remembered before its parts
 * are read, as they may refer to it.
 */
static int
read_special (struct decoder *d, unsigned tag)
{
    size_t where = (size_t) (d->at - 1 - d->start);
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
        if (!read_plain(d, tag))
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
        read_plain(d, tag);
    else if (tag >= TAG_SLOT)
        read_slot(d, tag - TAG_SLOT);
    else
        return read_special(d, tag);
    return 1;
}

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
    case EXPECTS_VALUE:
        if (--d->room < SLOTS_OF_WORK)
            more_room(d);
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
    int seen = d->base + BASE_SEEN;
    uint64_t where = take_count(d);

    if (lua_isnil(L, seen) || where > (uint64_t) (d->end - d->start))
        malformed(d, "a reference leads nowhere");
    lua_rawgeti(L, seen, (lua_Integer) where);
    /* negative offsets say which upvalue it is: see read_upvalue */
    lua_rawgeti(L, seen, -(lua_Integer) where);
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
        size_t where = (size_t) (d->at - 1 - d->start);
        remember(d, where);
        lua_pushinteger(d->L, reading->next);
        lua_rawseti(d->L, d->base + BASE_SEEN, -(lua_Integer) where);
    }
    if (read_value(d))
        deliver(d);
}

static void
read_message (struct decoder *d)
{
    for (;;) {
        struct reading *reading = &d->reading[d->depth];
        switch (reading->expects) {
        case EXPECTS_VALUE:
            if (d->at == d->end)
                return;
            if (read_value(d))
                deliver(d);
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
    struct decoder d;

    d.L = L;
    d.start = bytes;
    d.at = bytes + 1;
    d.end = bytes + length;
    d.flags = flags;
    d.budget = length;
    d.base = lua_gettop(L);
    d.room = SLOTS_OF_WORK;
    d.used_slots = 0;
    d.reading = d.local;
    d.capacity = LOCAL_READINGS;
    d.depth = 0;
    d.local[0] = (struct reading) {.expects = EXPECTS_VALUE};
    luaL_checkstack(L, BASE_SLOTS + SLOTS + SLOTS_OF_WORK, NULL);
    d.slots = *take(&d, 1);
    if (d.slots > SLOTS)
        malformed(&d, "it has too many common strings");
    int top = d.base + BASE_SLOTS - 1 + (int) d.slots;
    lua_settop(L, top);

    read_message(&d);
    int count = lua_gettop(L) - top;
    if (count == 1)
        lua_replace(L, d.base + 1);
    else
        lua_rotate(L, d.base + 1, count);
    lua_settop(L, d.base + count);
    return count;
}

static int
decode_plain (lua_State *L, const unsigned char *bytes, size_t length)
{
    struct decoder d;

    d.L = L;
    d.at = bytes;
    d.end = bytes + length;
    if (!read_plain(&d, *take(&d, 1)))
        malformed(&d, "its first byte is of no known kind");
    if (d.at != d.end)
        malformed(&d, "it goes on after its end");
    return 1;
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
    return decode_plain(L, at, length);
}

/*
 * The debugging pair
 */

static int
codec_encode (lua_State *L)
{
    struct luampC_message message;

    luampC_encode(L, 1, lua_gettop(L), "value", &message);
    /* no keep: the string is made before anything else can run */
    lua_pushlstring(L, (const char *) message.bytes, message.length);
    return 1;
}

static int
codec_decode (lua_State *L)
{
    size_t length;
    const char *bytes = luaL_checklstring(L, 1, &length);
    unsigned flags = LUAMPC_OBJECTS | (lua_toboolean(L, 2) ? LUAMPC_FUNCTIONS : 0);

    return luampC_decode(L, bytes, length, flags);
}

static int
codec_register_class (lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    luaL_checktype(L, 2, LUA_TTABLE);
    luampC_register_class(L, name, 2);
    return 0;
}

int
luampC_open (lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", codec_encode},
        {"decode", codec_decode},
        {"register_class", codec_register_class},
        {NULL, NULL}
    };

    luaL_newlib(L, functions);
    return 1;
}
