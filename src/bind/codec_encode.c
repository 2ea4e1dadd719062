/*
 * codec_encode.c: Lua values to bytes.
 *
 * luampC_encode() is called by every binding that sends or stores a value.  It writes into the
 * state's scratch (codec_scratch.h), from the top down: write_plain() for what has no parts,
 * write_value() to begin a table or function, next_value() to go on with the innermost one.
 *
 * Invariants:
 *   - No recursion in C: open tables and functions are in the scratch's array `open`, and stand
 *     on the Lua stack.  Above an open table are its present key and that key's value.
 *   - No Lua function is called, and no metamethod.  Only creating strings (a function's first
 *     dump, the names) can run a finalizer; a nested encode then finds the scratch busy and takes
 *     another.  Before anything of that kind comes hold(): plain values and tables without a name
 *     do without.
 *   - What is met twice is found by place_of(), which must be asked before the thing is written.
 *   - The names may be out of date.  Before a value is refused they are built anew, and if that
 *     was worth it the message is begun again: AGAIN.
 *   - What is raised here goes through fail() or fail_for_memory(), so that the scratch can be
 *     used again at once.  After an error of Lua's own it stays busy, and another takes its place.
 */
#include "codec.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "codec_atom.h"
#include "codec_format.h"
#include "codec_names.h"
#include "codec_path.h"
#include "codec_scratch.h"
#include "object.h"

struct encoder {
    lua_State *L;
    struct scratch *s;
    const struct names *names;
    unsigned char *at;                  /* where the next byte goes */
    unsigned char *end;
    int base;                           /* below the two userdata of this message */
    int holds;                          /* they are there */
    int room;                           /* stack slots known to be free */
    int checked;                        /* enum checked: the names, in this message */
    const struct luampC_told *told;
    unsigned flags;                     /* what the receiver accepts */
    int count;                          /* of the values */
    int number;                         /* of the one that is being written */
};

enum {                                  /* on the stack, above the base; nil before hold() */
    BASE_SCRATCH = 1,
    BASE_NAMES
};

enum checked {
    CHECKED_NOT,
    CHECKED_LOADED,                     /* against package.loaded's modules */
    CHECKED_ALL                         /* built anew */
};

enum outcome {
    WRITTEN,                            /* and popped */
    OPENED,                             /* its parts are to be written */
    UNNAMED,                            /* it has no name, and goes by value */
    AGAIN                               /* the names were out of date: begin the message again */
};

#define NOWHERE SIZE_MAX

static size_t
offset (const struct encoder *e)
{
    return (size_t) (e->at - e->s->bytes);
}

/*
 * Errors
 */

/* Ends the message with an error.  Its scratch can be used again at once. */
static void
fail (struct encoder *e, const char *what, const char *why)
{
    e->s->busy = 0;
    luaL_checkstack(e->L, 8, NULL);
    if (e->told->push_rest)
        e->told->push_rest(e->L, e->told->index);
    else
        lua_pushliteral(e->L, "");
    const char *rest = lua_tostring(e->L, -1);
    luaL_error(e->L, "cannot send %s: %s%s%s", what, why, *rest ? "; " : "", rest);
}

static void
fail_for_memory (struct encoder *e)
{
    e->s->busy = 0;
    luaL_error(e->L, "not enough memory");
}

/* The value that is being written is at fault. */
static void
fail_at_value (struct encoder *e, const char *why)
{
    struct path path;
    const char *root = e->told->root;
    size_t length = strlen(root);
    int numbered = e->count > 1 || (length >= 2 && strcmp(root + length - 2, "[]") == 0);

    luampC_begin_path(&path, root, numbered ? e->number : 0);
    luampC_add_steps(&path, e->L, e->s->open, e->s->depth);
    fail(e, path.text, why);
}

/*
 * Bytes
 */

static void
grow_bytes (struct encoder *e, size_t more)
{
    size_t length = offset(e);

    if (!luampC_grow_bytes(e->s, length, more))
        fail_for_memory(e);
    e->at = e->s->bytes + length;
    e->end = e->s->bytes + e->s->capacity;
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

static void
write_count (struct encoder *e, uint64_t count)
{
    reserve(e, 10);
    for (; count > 0x7f; count >>= 7)
        *e->at++ = (unsigned char) (count | 0x80);
    *e->at++ = (unsigned char) count;
}

/*
 * What is met twice
 */

/* Where the thing is in this message.  If NOWHERE, it is from now on at the present offset. */
static inline size_t
place_of (struct encoder *e, const void *thing)
{
    struct scratch *s = e->s;

    if ((!s->place || s->nplaces >> (s->place_bits - 2)) && !luampC_grow_places(s))
        fail_for_memory(e);
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

/*
 * What else may run meanwhile
 */

static void
push_scratch (struct encoder *e)
{
    if (e->holds) {
        lua_pushvalue(e->L, e->base + BASE_SCRATCH);
    } else {
        luampC_push_codec(e->L);
        lua_getiuservalue(e->L, -1, CODEC_SCRATCH);
        lua_replace(e->L, -2);
    }
}

/* Pushes what this message needs, so that it lasts also when a finalizer encodes or registers. */
static void
hold (struct encoder *e)
{
    lua_State *L = e->L;

    if (e->holds)
        return;
    push_scratch(e);
    lua_replace(L, e->base + BASE_SCRATCH);
    luampC_push_codec(L);
    lua_getiuservalue(L, -1, CODEC_NAMES);
    lua_replace(L, e->base + BASE_NAMES);
    lua_pop(L, 1);
    e->holds = 1;
}

static void
build_names (struct encoder *e)
{
    hold(e);
    e->names = luampC_build_names(e->L);
    lua_replace(e->L, e->base + BASE_NAMES);
}

/*
 * Plain values
 */

static inline struct common *
common_place (const struct encoder *e, const void *string)
{
    return &e->s->common[hash_pointer(string, COMMON_BITS)];
}

/* Meets a short string.  True when its slot is all there is to write, which is done. */
static inline int
write_slot (struct encoder *e, struct common *common)
{
    struct scratch *s = e->s;

    if (common->stamp != s->stamp) {
        common->stamp = s->stamp;
        common->has_slot = 0;
    } else if (common->has_slot) {
        *e->at++ = (unsigned char) (TAG_SLOT + common->slot);
        return 1;
    } else if (s->nslots < SLOTS) {
        common->has_slot = 1;
        common->slot = (unsigned char) s->nslots++;
        *e->at++ = TAG_COMMON;
    }
    return 0;
}

/* Writes the value at index if it is a string that is known. */
static inline int
write_known_string (struct encoder *e, int index)
{
    const void *string = lua_topointer(e->L, index);
    struct common *common = common_place(e, string);

    if (common->string != string || common->size == 0)
        return 0;
    reserve(e, 1 + sizeof common->bytes);
    if (!write_slot(e, common)) {
        memcpy(e->at, common->bytes, sizeof common->bytes);
        e->at += common->size;
    }
    return 1;
}

/* From now on the string at index, which is `common`, is known. */
static void
know_string (struct encoder *e, struct common *common, int index, const char *string, size_t length)
{
    lua_State *L = e->L;

    lua_pushvalue(L, index);
    push_scratch(e);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, (int) (common - e->s->common) + 1);
    lua_pop(L, 1);
    write_short_string(common->bytes, string, length);
    common->size = (unsigned char) (1 + length);
}

/* Writes a short string, which has this address; index is where it stands, or 0. */
static inline void
write_common_string (struct encoder *e, const void *address, int index, const char *string,
                     size_t length)
{
    struct common *common = common_place(e, address);

    reserve(e, 2 + length);
    if (common->string == address) {
        if (common->stamp != e->s->stamp && index != 0 && length < sizeof common->bytes)
            know_string(e, common, index, string, length);
        if (write_slot(e, common))
            return;
    } else if (common->stamp != e->s->stamp || !common->has_slot) {
        common->string = address;
        common->stamp = e->s->stamp;
        common->has_slot = 0;
        common->size = 0;
    }
    e->at = write_short_string(e->at, string, length);
}

static __attribute__((noinline)) void
write_long_string (struct encoder *e, const char *string, size_t length)
{
    size_t where = place_of(e, string);

    if (where != NOWHERE) {
        write_same(e, TAG_SAME, where);
    } else {
        reserve(e, LONGEST_STRING_HEAD + length);
        e->at = write_string(e->at, string, length);
    }
}

/* Writes a name, which is no value of the stack. */
static void
write_name_string (struct encoder *e, const char *string, size_t length)
{
    if (length <= LONGEST_SHORT_STRING)
        write_common_string(e, string, 0, string, length);
    else
        write_long_string(e, string, length);
}

static __attribute__((noinline)) void
write_new_string (struct encoder *e, int index)
{
    size_t length;
    const char *string = lua_tolstring(e->L, index, &length);

    if (length <= LONGEST_SHORT_STRING)
        write_common_string(e, lua_topointer(e->L, index), index, string, length);
    else
        write_long_string(e, string, length);
}

static inline int
is_plain (int type)
{
    return type <= LUA_TSTRING && type != LUA_TLIGHTUSERDATA;
}

/* Writes the plain value at index, whose type is given. */
static inline __attribute__((always_inline)) void
write_plain (struct encoder *e, int index, int type)
{
    if (type == LUA_TSTRING) {
        if (!write_known_string(e, index))
            write_new_string(e, index);
    } else {
        reserve(e, LONGEST_ATOM);
        e->at = write_atom(e->at, e->L, index, type);
    }
}

/*
 * What cannot be sent
 */

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
    if (thoroughness == CHECKED_LOADED && luampC_names_know_loaded(e->L, e->names))
        return 0;
    build_names(e);
    return 1;
}

/*
 * The value on the top of the stack cannot be sent, unless the names turn out to be out of date
 * and it, or a table around it, goes by name.
 */
static enum outcome
refuse (struct encoder *e, const char *why)
{
    if (!names_changed(e, CHECKED_ALL))
        fail_at_value(e, why);
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

/*
 * Open tables and functions
 */

static enum outcome
pop_written (struct encoder *e)
{
    lua_pop(e->L, 1);
    return WRITTEN;
}

#define SLOTS_OF_OPEN 3                 /* itself, the present key and its value */
#define FIRST_ROOM (4 * SLOTS_OF_OPEN + SLOTS_OF_WORK)

/* Opens what is on the top of the stack. */
static struct open *
push_open (struct encoder *e)
{
    struct scratch *s = e->s;

    if (s->depth == s->open_capacity && !luampC_grow_open(s))
        fail_for_memory(e);
    if (e->room < SLOTS_OF_OPEN + SLOTS_OF_WORK) {
        e->room = luampC_grow_stack(e->L, s->depth);
        if (e->room == 0)
            fail_at_value(e, "it is nested too deeply for Lua's stack");
    }
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

/*
 * What goes by name
 */

static void
write_name (struct encoder *e, struct name *name)
{
    static const unsigned char tag[] = {
        [KIND_GLOBALS] = TAG_GLOBALS,
        [KIND_CLASS] = TAG_CLASS,
        [KIND_MODULE] = TAG_MODULE,
        [KIND_MEMBER] = TAG_MEMBER
    };

    write_byte(e, tag[name->kind]);
    name->met = e->s->met = e->s->stamp;
    if (name->kind != KIND_GLOBALS)
        write_name_string(e, name->module, name->module_length);
    if (name->kind == KIND_MEMBER)
        write_name_string(e, name->key, name->key_length);
}

/* Writes the name that the value on the top of the stack, which is at this address, goes by. */
static inline enum outcome
write_named (struct encoder *e, const void *address)
{
    struct name *name = find_name(e->names, address);

    if (!name)
        return UNNAMED;
    hold(e);
    if (!luampC_name_holds(e->L, name))
        return names_changed(e, CHECKED_ALL) ? AGAIN : UNNAMED;
    if (name->kind == KIND_MODULE && !luampC_is_library(e->L, e->names))
        return UNNAMED;
    write_name(e, name);
    return pop_written(e);
}

/*
 * Tables
 */

/* The table on the top of the stack has a metatable that is not a class's. One of ours may say why. */
static enum outcome
refuse_stranger (struct encoder *e)
{
    const char *why = "it has a metatable that is not a class's; make it known with ipc.register_class";
    int type = luaL_getmetafield(e->L, -1, "__stays");

    if (type == LUA_TSTRING)
        why = lua_tostring(e->L, -1);
    enum outcome outcome = refuse(e, why);
    if (type != LUA_TNIL)
        lua_pop(e->L, 1);
    return outcome;
}

/* Writes the class of the table on the top of the stack, if it has one. */
static enum outcome
write_class (struct encoder *e)
{
    if (!lua_getmetatable(e->L, -1))
        return WRITTEN;
    struct name *name = find_name(e->names, lua_topointer(e->L, -1));
    lua_pop(e->L, 1);
    if (!name || name->kind != KIND_CLASS)
        return refuse_stranger(e);
    write_byte(e, TAG_INSTANCE);
    name->met = e->s->met = e->s->stamp;
    write_name_string(e, name->module, name->module_length);
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

/*
 * Begins the table on the top of the stack, whose class is written: pushes its first key and
 * value, and writes its head, the numbers in which are left to close_table().
 */
static enum outcome
open_table (struct encoder *e)
{
    lua_State *L = e->L;
    struct open *open = push_open(e);
    int head = 2;

    lua_pushnil(L);
    if (!lua_next(L, open->index)) {
        pop_open(e);
        write_byte(e, TAG_RECORD);
        write_byte(e, 0);
        return WRITTEN;
    }
    open->doing = DOING_PAIRS;
    open->tag = TAG_RECORD;
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
    reserve(e, (size_t) head);
    *e->at = open->tag;
    e->at += head;
    return OPENED;
}

/* Writes the table on the top of the stack, or begins to. */
static enum outcome
write_table (struct encoder *e)
{
    const void *table = lua_topointer(e->L, -1);
    enum outcome outcome = write_named(e, table);

    if (outcome != UNNAMED)
        return outcome;
    size_t where = place_of(e, table);
    if (where != NOWHERE) {
        write_same(e, TAG_SAME, where);
        return pop_written(e);
    }
    if (write_class(e) == AGAIN)
        return AGAIN;
    return open_table(e);
}

/* Ends the innermost table, which is on the top of the stack. */
static void
close_table (struct encoder *e)
{
    const struct open *open = &e->s->open[e->s->depth - 1];

    if (open->pairs > 0)
        write_byte(e, TAG_END);
    unsigned char *head = e->s->bytes + open->start;
    head[1] = pairs_code(open->pairs);
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
    int type = lua_type(e->L, -2);
    if (is_plain(type)) {
        write_plain(e, -2, type);
        return LUA_TNIL;
    }
    open->at_key = 1;
    lua_pushvalue(e->L, -2);
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
        type = lua_type(e->L, -1);
        if (!is_plain(type))
            return type;
        write_plain(e, -1, type);
        lua_pop(e->L, 1);
    } while (lua_next(e->L, open->index));
    close_table(e);
    return LUA_TNIL;
}

/*
 * Functions
 */

static int
append_bytecode (lua_State *L, const void *bytes, size_t length, void *encoder)
{
    (void) L;
    write_bytes(encoder, bytes, length);
    return 0;
}

/*
 * Pushes the bytecode of the function at -2, as a string, and remembers it in the table of dumps
 * on the top of the stack.  Its bytes go through the message's, past what is written so far.
 */
static void
dump_function (struct encoder *e)
{
    lua_State *L = e->L;
    size_t start = offset(e);

    lua_pushvalue(L, -2);
    lua_dump(L, append_bytecode, e, 0);
    lua_pushlstring(L, (const char *) e->s->bytes + start, offset(e) - start);
    e->at = e->s->bytes + start;
    lua_pushvalue(L, -1);
    lua_insert(L, -3);
    lua_rawset(L, -4);
}

/* Writes the bytecode of the function on the top of the stack, after its length. */
static void
write_bytecode (struct encoder *e)
{
    lua_State *L = e->L;
    size_t length;

    luampC_push_codec(L);
    lua_getiuservalue(L, -1, CODEC_DUMPS);
    lua_replace(L, -2);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) != LUA_TSTRING) {
        lua_pop(L, 1);
        dump_function(e);
    }
    const char *bytecode = lua_tolstring(L, -1, &length);
    write_count(e, length);
    write_bytes(e, bytecode, length);
    lua_pop(L, 2);
}

/* Writes the function on the top of the stack, or begins to. */
static enum outcome
write_function (struct encoder *e)
{
    const void *function = lua_topointer(e->L, -1);

    if (names_changed(e, CHECKED_LOADED))
        return AGAIN;
    enum outcome outcome = write_named(e, function);
    if (outcome != UNNAMED)
        return outcome;
    if (!(e->flags & LUAMPC_FUNCTIONS))
        return refuse(e, "functions go over a socket only when both sides ask for it "
                         "(functions = true)");
    if (lua_iscfunction(e->L, -1))
        return refuse(e, "a C function can only go by name, and no loaded module has this one");
    size_t where = place_of(e, function);
    if (where != NOWHERE) {
        write_same(e, TAG_SAME, where);
        return pop_written(e);
    }
    struct open *open = push_open(e);
    open->doing = DOING_UPVALUES;
    write_byte(e, TAG_FUNCTION);
    write_bytecode(e);
    open->start = offset(e);
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
            int type = lua_type(e->L, -1);
            if (!is_plain(type))
                return type;
            write_plain(e, -1, type);
        }
        lua_pop(e->L, 1);
    }
    e->s->bytes[open->start] = (unsigned char) open->items;
    pop_open(e);
    return LUA_TNIL;
}

/*
 * Objects
 */

static void
write_new_object (struct encoder *e, const struct luampO_wire *wire)
{
    struct scratch *s = e->s;

    reserve(e, LONGEST_OBJECT);
    e->at = write_wire(e->at, wire);
    for (unsigned i = 0; i < wire->ncells; i++) {
        if (s->ncells == s->cells_capacity && !luampC_grow_cells(s))
            fail_for_memory(e);
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
    if (!(e->flags & LUAMPC_OBJECTS))
        return refuse(e, "a luamp object stays among the processes that share its memory, and a "
                         "socket may lead elsewhere");
    size_t where = place_of(e, lua_touserdata(e->L, -1));
    if (where != NOWHERE)
        write_same(e, TAG_SAME, where);
    else
        write_new_object(e, &wire);
    return pop_written(e);
}

/*
 * A value and all its parts
 */

/* Writes the value on the top of the stack, which is not plain, or begins to. */
static enum outcome
write_value (struct encoder *e, int type)
{
    if (type == LUA_TTABLE)
        return write_table(e);
    hold(e);
    switch (type) {
    case LUA_TFUNCTION:
        return write_function(e);
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
    int type = lua_type(e->L, -1);

    if (is_plain(type)) {
        write_plain(e, -1, type);
        return pop_written(e);
    }
    do {
        enum outcome outcome = write_value(e, type);
        if (outcome == AGAIN)
            return AGAIN;
        type = next_value(e, outcome);
    } while (type != LUA_TNIL);
    return WRITTEN;
}

/*
 * The message
 */

static void
begin_message (struct encoder *e)
{
    luampC_clear_scratch(e->s);
    e->at = e->end = e->s->bytes;
    if (e->at)
        e->end += e->s->capacity;
}

/* Writes the message that is one plain value, if the value at index is one; returns whether. */
static inline int
write_scalar (struct encoder *e, int index)
{
    const char *string;
    size_t length;
    int type = lua_type(e->L, index);

    switch (type) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
        reserve(e, LONGEST_ATOM);
        e->at = write_atom(e->at, e->L, index, type);
        return 1;
    case LUA_TSTRING:
        string = lua_tolstring(e->L, index, &length);
        reserve(e, LONGEST_STRING_HEAD + length);
        e->at = write_string(e->at, string, length);
        return 1;
    default:
        return 0;
    }
}

/* Writes the message of any other values; returns AGAIN or WRITTEN. */
static enum outcome
write_message (struct encoder *e, int first)
{
    e->room = FIRST_ROOM;
    reserve(e, 2);
    *e->at++ = TAG_MESSAGE;
    *e->at++ = 0;
    for (int i = 0; i < e->count; i++) {
        e->number = i + 1;
        lua_pushvalue(e->L, first + i);
        if (write_tree(e) == AGAIN) {
            lua_settop(e->L, e->base + BASE_NAMES);
            return AGAIN;
        }
    }
    e->s->bytes[1] = (unsigned char) e->s->nslots;
    return WRITTEN;
}

void
luampC_encode (lua_State *L, int first, int count, const char *root, struct luampC_message *out)
{
    luampC_encode_for(L, first, count, &(struct luampC_told) {.root = root},
                      LUAMPC_FUNCTIONS | LUAMPC_OBJECTS, out);
}

void
luampC_encode_for (lua_State *L, int first, int count, const struct luampC_told *told,
                   unsigned flags, struct luampC_message *out)
{
    struct encoder e = {.L = L, .told = told, .flags = flags, .count = count,
                        .base = lua_gettop(L)};

    first = lua_absindex(L, first);
    luaL_checkstack(L, BASE_NAMES + FIRST_ROOM + 5, NULL);
    struct codec *codec = luampC_codec(L);
    e.s = luampC_take_scratch(L, codec);
    lua_pushnil(L);
    lua_pushnil(L);

    begin_message(&e);
    if (count != 1 || !write_scalar(&e, first)) {
        e.names = codec->names;
        if (!e.names)
            build_names(&e);
        while (write_message(&e, first) == AGAIN)
            begin_message(&e);
    }
    e.s->length = offset(&e);
    e.s->busy = 0;
    /* a finalizer that sent something has left its own scratch there */
    if (codec->scratch != e.s)
        luampC_set_scratch(L, e.base + BASE_SCRATCH);
    out->bytes = e.s->bytes;
    out->length = e.s->length;
    out->cells = e.s->cells;
    out->ncells = (uint32_t) e.s->ncells;
    lua_settop(L, e.base);
}

void
luampC_push_classes_met (lua_State *L)
{
    struct codec *codec = luampC_push_codec(L);
    int count = 0;

    lua_newtable(L);
    if (codec->names && codec->scratch && codec->scratch->met == codec->scratch->stamp) {
        const struct names *names = codec->names;
        lua_getiuservalue(L, -2, CODEC_NAMES);
        lua_insert(L, -2);
        for (size_t i = 0; i < (size_t) 1 << names->bits; i++) {
            const struct name *name = &names->name[i];
            if (!names->object[i] || name->kind != KIND_CLASS || name->met != codec->scratch->stamp)
                continue;
            lua_pushlstring(L, name->module, name->module_length);
            lua_rawseti(L, -2, ++count);
        }
        lua_remove(L, -2);
    }
    lua_remove(L, -2);
}
