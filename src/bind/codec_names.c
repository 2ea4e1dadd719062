/*
 * codec_names.c: what travels by name instead of by value.
 *
 * Called by the encoder and the decoder, and by whoever registers a class.  The state keeps a map
 * from the address of each class's metatable, loaded module and library function to its name.
 *
 * Invariants:
 *   - The map is built when it is first needed, again after a class was registered, and again
 *     when the encoder sees that package.loaded has changed.
 *   - An address in the map may since have become another thing's.  What the map says of a module
 *     or function is checked (luampC_name_holds) before it is believed; a class's metatable is
 *     never collected.
 *   - A thing has one name: see is_better_name.
 *
 * Building reads tables without their metamethods and calls no Lua function; but it creates
 * strings and tables, so a finalizer can run.
 */
#include "codec_names.h"

#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "codec.h"

void
luampC_register_class (lua_State *L, const char *name, int metatable)
{
    metatable = lua_absindex(L, metatable);
    luaL_checkstack(L, 8, NULL);
    struct codec *codec = luampC_push_codec(L);
    lua_pushliteral(L, "__stays");
    if (lua_rawget(L, metatable) == LUA_TSTRING)
        luaL_error(L, "cannot register class '%s': %s", name, lua_tostring(L, -1));
    lua_pop(L, 1);
    int top = lua_gettop(L), classes = top + 1, class_names = top + 2;
    lua_getiuservalue(L, top, CODEC_CLASSES);
    lua_getiuservalue(L, top, CODEC_CLASS_NAMES);

    lua_pushvalue(L, metatable);
    if (lua_rawget(L, class_names) == LUA_TSTRING && strcmp(lua_tostring(L, -1), name) != 0)
        luaL_error(L, "cannot register class '%s': its metatable is known as '%s' already", name,
                   lua_tostring(L, -1));
    if (lua_getfield(L, classes, name) != LUA_TNIL && !lua_rawequal(L, -1, metatable))
        luaL_error(L, "cannot register class '%s': another metatable has this name", name);

    lua_pushvalue(L, metatable);
    lua_pushstring(L, name);
    lua_rawset(L, class_names);
    lua_pushvalue(L, metatable);
    lua_setfield(L, classes, name);
    codec->names = NULL;
    lua_settop(L, top - 1);
}

void
luampC_push_class (lua_State *L, const char *name)
{
    luampC_push_codec(L);
    lua_getiuservalue(L, -1, CODEC_CLASSES);
    lua_getfield(L, -1, name);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

int
luampC_is_standard_module (const char *name)
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

int
luampC_push_loaded (lua_State *L)
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

/*
 * The map
 */

/*
 * Whether a thing that has both names should go by the first.  A standard module's name is known
 * everywhere; of a module's two names the longer is the full one (luamp.ipc, ipc).
 */
static int
is_better_name (const struct name *a, const struct name *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind;
    int a_standard = luampC_is_standard_module(a->module);
    if (a_standard != luampC_is_standard_module(b->module))
        return a_standard;
    if (a->module_length != b->module_length)
        return a->module_length > b->module_length;
    int order = strcmp(a->module, b->module);
    if (order == 0 && a->key && b->key)
        order = strcmp(a->key, b->key);
    return order < 0;
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

/* Pushes the userdata of a map that is empty, and has room for so many names. */
static struct names *
push_new_names (lua_State *L, size_t count)
{
    unsigned bits = 6;

    while (((size_t) 1 << bits) < 2 * count)
        bits++;
    size_t size = (size_t) 1 << bits;
    struct names *names = lua_newuserdatauv(L, sizeof *names + size * sizeof *names->object
                                               + size * sizeof *names->name, 1);
    names->bits = bits;
    names->room = size - size / 4;
    names->name = (struct name *) (names->object + size);
    memset(names->object, 0, size * sizeof *names->object);
    memset(names->filter, 0, sizeof names->filter);
    return names;
}

/*
 * Building it
 */

/* A number that changes when package.loaded gets, loses or replaces a module. */
static uint64_t
loaded_fingerprint (lua_State *L)
{
    uint64_t sum = (uintptr_t) globals_address(L);

    if (luampC_push_loaded(L)) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            uint64_t key = (uintptr_t) lua_topointer(L, -2);
            uint64_t value = (uintptr_t) lua_topointer(L, -1);
            sum += (key * 31 + value) * UINT64_C(0x9e3779b97f4a7c15);
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
    if (luampC_push_loaded(L)) {
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

/* Adds the class whose name is at -2 and whose metatable is at -1. */
static void
add_class (lua_State *L, struct names *names, int strings)
{
    struct name name = {.kind = KIND_CLASS};

    name.module = anchor(L, -2, strings, &name.module_length);
    add_name(names, lua_topointer(L, -1), &name);
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

struct names *
luampC_build_names (lua_State *L)
{
    const void *globals = globals_address(L);
    int owner = lua_gettop(L) + 1, strings = owner + 1, codec_index = owner + 2;
    int classes = owner + 3;

    luaL_checkstack(L, 16, NULL);
    lua_pushnil(L);
    lua_newtable(L);
    struct codec *codec = luampC_push_codec(L);
    lua_getiuservalue(L, codec_index, CODEC_CLASSES);
    struct names *names = push_new_names(L, count_names(L, classes, globals));
    lua_replace(L, owner);
    names->fingerprint = loaded_fingerprint(L);
    lua_pushvalue(L, strings);
    lua_setiuservalue(L, owner, 1);

    add_name(names, globals, &(struct name) {.kind = KIND_GLOBALS, .module = LUA_GNAME});
    for (lua_pushnil(L); lua_next(L, classes); lua_pop(L, 1))
        add_class(L, names, strings);
    if (luampC_push_loaded(L)) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) == LUA_TSTRING)
                add_module(L, names, strings, globals);
        }
    }
    lua_pushvalue(L, owner);
    lua_setiuservalue(L, codec_index, CODEC_NAMES);
    codec->names = names;
    lua_settop(L, owner);
    return names;
}

/*
 * Checking what it says
 */

int
luampC_names_know_loaded (lua_State *L, const struct names *names)
{
    return names->fingerprint == loaded_fingerprint(L);
}

int
luampC_name_holds (lua_State *L, const struct name *name)
{
    int value = lua_gettop(L);
    int holds = 0;

    if (name->kind == KIND_GLOBALS)
        return lua_topointer(L, value) == globals_address(L);
    if (name->kind == KIND_CLASS)
        return 1;
    if (luampC_push_loaded(L)) {
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

/*
 * A function goes by name, and a table that has a function or a metatable of its own.  One that
 * is nothing but data is sent as data, as any table is.
 */
int
luampC_is_library (lua_State *L, const struct names *names)
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
