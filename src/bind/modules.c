/*
 * modules: how luamp's modules come into a state, and what all of them use.
 */
#include "codec.h"
#include "object.h"

#include "luamp.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct module {
    const char *name;
    const char *full_name;
    lua_CFunction open;
    bool is_short; /* has a short name */
} modules[] = {
#define MODULE(name, open, is_short) {name, "luamp." name, open, is_short}
    MODULE("process", luampB_open_process, true), MODULE("signal", luampB_open_signal, true),
    MODULE("sync", luampB_open_sync, true),       MODULE("ipc", luampB_open_ipc, true),
    MODULE("pool", luampB_open_pool, true),       MODULE("thread", luampB_open_thread, true),
    MODULE("codec", luampC_open, false),          MODULE("members", luampB_open_members, false),
};

#define MODULES (sizeof modules / sizeof *modules)
#define PREFIX "luamp."

static const char options_key; /* registry: a userdata, the state's struct luamp_Options */
static const char stubs_key; /* registry: name -> the table that the global holds until it is loaded */

static const struct module *
find_module(const char *name)
{
    for (size_t i = 0; i < MODULES; i++) {
        if (strcmp(modules[i].name, name) == 0)
            return &modules[i];
    }
    return NULL;
}

/* Moves what stands in the table on top into the module's stub, and leaves that in its place. */
static void
fill_stub(lua_State *L, const char *name)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &stubs_key) != LUA_TTABLE ||
        lua_getfield(L, -1, name) != LUA_TTABLE) {
        lua_settop(L, 1);
        return;
    }
    lua_remove(L, -2);
    for (lua_pushnil(L); lua_next(L, 1);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 2);
    }
    lua_pushnil(L);
    lua_setmetatable(L, 2);
}

/* The loader of a full name, by require. */
static int
load_module(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1) + sizeof PREFIX - 1;
    const struct module *module = find_module(name);
    lua_settop(L, 0);
    module->open(L);
    if (module->is_short)
        fill_stub(L, module->name);
    return 1;
}

static void
require(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushfstring(L, PREFIX "%s", name);
    lua_call(L, 1, 1);
}

/* The loader of a short name: the same table as the full one's. */
static int
load_by_full_name(lua_State *L)
{
    require(L, luaL_checkstring(L, 1));
    return 1;
}

/*
 * Options.
 */

#define ALL_SIGNALS (LUAMP_SIGINT | LUAMP_SIGCHLD | LUAMP_SIGQUIT | LUAMP_SIGNALS_OTHER)

/* NULL: luamp was not opened in the state. */
static const luamp_Options *
find_options(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &options_key);
    const luamp_Options *options = lua_touserdata(L, -1);
    lua_pop(L, 1); /* the registry keeps it */
    return options;
}

luamp_Options
luampB_options(lua_State *L)
{
    const luamp_Options *found = find_options(L);
    luamp_Options options = LUAMP_OPTIONS_INIT;
    if (found)
        options = *found;
    options.short_names = luampB_has_short_names(L);
    return options;
}

/* Copies the options, of a program that was compiled with this header, or with one that has more or fewer. */
static void
copy_options(lua_State *L, luamp_Options *to, const luamp_Options *from)
{
    const unsigned char *bytes = (const unsigned char *) from;
    size_t known = from->size < sizeof *to ? from->size : sizeof *to;
    if (from->size < offsetof(luamp_Options, short_names))
        luaL_error(L, "luamp_openlibs_with: options.size is not set; begin with LUAMP_OPTIONS_INIT");
    for (size_t i = known; i < from->size; i++) {
        if (bytes[i] != 0)
            luaL_error(L, "luamp_openlibs_with: an option is set that luamp %s does not know",
                       LUAMP_VERSION);
    }
    memcpy(to, from, known);
    to->size = sizeof *to;
}

static void
set_options(lua_State *L, const luamp_Options *options)
{
    luamp_Options *copy = lua_newuserdatauv(L, sizeof *copy, 0);
    *copy = (luamp_Options) LUAMP_OPTIONS_INIT;
    if (options)
        copy_options(L, copy, options);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &options_key);
}

/*
 * Opening.
 */

LUAMP_API int luaopen_luamp_short_names(lua_State *L);

static void
preload(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (size_t i = 0; i < MODULES; i++) {
        lua_pushcfunction(L, load_module);
        lua_setfield(L, -2, modules[i].full_name);
    }
    lua_pushcfunction(L, luaopen_luamp);
    lua_setfield(L, -2, "luamp");
    lua_pushcfunction(L, luaopen_luamp_short_names);
    lua_setfield(L, -2, "luamp.short_names");
    lua_pop(L, 1);
}

void
luamp_openlibs_with(lua_State *L, const luamp_Options *options)
{
    luaL_checkstack(L, 8, NULL);
    set_options(L, options);
    preload(L);
    if (find_options(L)->short_names && !luampB_has_short_names(L))
        luampB_short_names(L);
}

void
luamp_openlibs(lua_State *L)
{
    luamp_openlibs_with(L, NULL);
}

/* By require, and maybe in stock Lua: there the process is the script's. */
static void
open_by_require(lua_State *L)
{
    luamp_Options options = LUAMP_OPTIONS_INIT;
    options.signals = ALL_SIGNALS;
    if (find_options(L) == NULL)
        set_options(L, &options);
    preload(L);
}

int
luaopen_luamp(lua_State *L)
{
    open_by_require(L);
    lua_createtable(L, 0, MODULES + 1);
    for (size_t i = 0; i < MODULES; i++) {
        if (!modules[i].is_short)
            continue;
        require(L, modules[i].name);
        lua_setfield(L, -2, modules[i].name);
    }
    lua_pushstring(L, LUAMP_VERSION);
    lua_setfield(L, -2, "_VERSION");
    return 1;
}

#define OPEN(name)                                    \
    LUAMP_API int luaopen_luamp_##name(lua_State *L); \
    int luaopen_luamp_##name(lua_State *L)            \
    {                                                 \
        open_by_require(L);                           \
        return luampB_open_##name(L);                 \
    }
OPEN(process)
OPEN(signal)
OPEN(sync)
OPEN(ipc)
OPEN(pool)
OPEN(thread)

/* For stock Lua: `lua5.4 -l luamp.short_names script.lua` runs what was written for the program. */
int
luaopen_luamp_short_names(lua_State *L)
{
    open_by_require(L);
    if (!luampB_has_short_names(L))
        luampB_short_names(L);
    lua_pushboolean(L, 1);
    return 1;
}

/*
 * Short names are globals, like string and table. Each is a table from the start, which is filled
 * when it is first looked into: a script that uses no processes pays for none.
 */

static int
stub_index(lua_State *L)
{
    lua_settop(L, 2);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &stubs_key);
    for (size_t i = 0; i < MODULES; i++) { /* which one it is, its metatable does not say */
        bool is_it = lua_getfield(L, 3, modules[i].name) == LUA_TTABLE && lua_rawequal(L, -1, 1);
        lua_pop(L, 1);
        if (is_it) {
            require(L, modules[i].name);
            break;
        }
    }
    lua_settop(L, 2);
    lua_rawget(L, 1);
    return 1;
}

void
luampB_short_names(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_createtable(L, 0, MODULES);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, stub_index);
    lua_setfield(L, -2, "__index");
    lua_pushglobaltable(L);
    for (size_t i = 0; i < MODULES; i++) { /* preload, stubs, metatable, globals */
        if (!modules[i].is_short)
            continue;
        lua_pushcfunction(L, load_by_full_name);
        lua_setfield(L, -5, modules[i].name);
        lua_newtable(L);
        lua_pushvalue(L, -3);
        lua_setmetatable(L, -2);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, modules[i].name);
        lua_setfield(L, -4, modules[i].name);
    }
    lua_pop(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &stubs_key);
    lua_pop(L, 1);
}

bool
luampB_has_short_names(lua_State *L)
{
    bool has = lua_rawgetp(L, LUA_REGISTRYINDEX, &stubs_key) == LUA_TTABLE;
    lua_pop(L, 1);
    return has;
}

void
luampB_run_chunk(lua_State *L, const char *name, int arguments)
{
    const struct luampB_chunk *chunk = luampB_chunks;
    while (strcmp(chunk->name, name) != 0)
        chunk++;
    lua_pushfstring(L, "=luamp/%s.lua", name);
    if (luaL_loadbuffer(L, chunk->text, chunk->size, lua_tostring(L, -1)) != LUA_OK)
        lua_error(L);
    lua_remove(L, -2);
    lua_insert(L, -arguments - 1);
    lua_call(L, arguments, 1);
}

static int
register_class(lua_State *L)
{
    luampC_register_class(L, luaL_checkstring(L, 1), 2);
    return 0;
}

/* nearest(name, table): the key of the table that was probably meant. */
int
luampB_nearest(lua_State *L)
{
    const char *known[32];
    int n = 0;
    const char *name = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); n < 31 && lua_next(L, 2); lua_pop(L, 1))
        known[n++] = lua_tostring(L, -2);
    known[n] = NULL;
    lua_pushstring(L, luampO_nearest(name, known));
    return 1;
}

void
luampB_push_classes(lua_State *L)
{
    static const char classes_key;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_pushcfunction(L, register_class);
    lua_pushcfunction(L, luampB_nearest);
    luampB_run_chunk(L, "class", 2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
}

void
luampB_join_family(lua_State *L)
{
    if (amp_self.member != AMP_NOBODY)
        return;
    int failure = amp_family_join("MainProcess");
    if (failure == -ENOTSUP)
        luaL_error(L, "luamp needs a kernel that frees the locks of a thread that died (robust "
                   "futexes and FUTEX_WAKE_OP); this one does not");
    if (failure != 0)
        luampB_raise(L, "make the shared memory", failure);
}

/*
 * Numbers.
 */

lua_Integer
luampB_check_integer(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TNUMBER);
    return luaL_checkinteger(L, index);
}

lua_Integer
luampB_opt_integer(lua_State *L, int index, lua_Integer otherwise)
{
    return lua_isnoneornil(L, index) ? otherwise : luampB_check_integer(L, index);
}

lua_Number
luampB_check_number(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TNUMBER);
    return lua_tonumber(L, index);
}

bool
luampB_is_integer(lua_State *L, int index, lua_Integer least, lua_Integer most)
{
    int is_integer;
    lua_Integer n = lua_tointegerx(L, index, &is_integer);
    return lua_type(L, index) == LUA_TNUMBER && is_integer && n >= least && n <= most;
}

/*
 * Waiting.
 */

amp_time
luampB_timeout(lua_State *L, int index)
{
    return lua_isnoneornil(L, index) ? AMP_FOREVER : amp_deadline(luampB_check_number(L, index));
}

amp_time
luampB_deadline(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        return luampB_timeout(L, index);
    case LUA_TBOOLEAN:
        if (!lua_toboolean(L, index))
            return AMP_AT_ONCE;
        return luampB_timeout(L, index + 1);
    case LUA_TNONE:
    case LUA_TNIL:
        return luampB_timeout(L, index + 1);
    default:
        luaL_argerror(L, index, "a boolean (block?) or a number of seconds expected");
        return 0;
    }
}

int
luampB_give_up(lua_State *L, const char *reason)
{
    lua_pushnil(L);
    lua_pushstring(L, reason);
    return 2;
}

int
luampB_refuse(lua_State *L, const char *reason)
{
    lua_pushboolean(L, 0);
    lua_pushstring(L, reason);
    return 2;
}

void
luampB_push_where(lua_State *L)
{
    lua_Debug ar;
    int level = 1;
    while (lua_getstack(L, level, &ar) && lua_getinfo(L, "S", &ar) && strncmp(ar.source, "=luamp", 6) == 0)
        level++;
    luaL_where(L, level);
}

static const char *
no_memory(char *text, size_t size)
{
    const struct amp_header *h = amp_arena.header;
    if (h == NULL)
        return "out of memory: the machine's, its control group's limit, or the process's (ulimit -v) is used up";
    unsigned mib = (unsigned) (h->h_size >> 20);
    snprintf(text, size, "out of shared memory: the machine's memory, its control group's limit, or the family's "
             "%u %s or %u objects are used up", mib < 1024 ? mib : mib / 1024, mib < 1024 ? "MiB" : "GiB",
             (unsigned) h->h_cells_max - 1);
    return text;
}

int
luampB_raise(lua_State *L, const char *what, int failure)
{
    const char *why = strerror(-failure);
    char text[160];
    struct rlimit limit;
    switch (-failure) {
    case ENOMEM:
        why = no_memory(text, sizeof text);
        break;
    case EMSGSIZE:
        why = "a message has at most 4 GiB; send it in parts, or use an Array or SharedMemory";
        break;
    case EMFILE:
        snprintf(text, sizeof text, "too many open files: the process's limit is %lu (ulimit -n)",
                 getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (unsigned long) limit.rlim_cur : 0ul);
        why = text;
        break;
    case EDEADLK:
        return luampO_raise_deadlock(L);
    }
    luampB_push_where(L);
    lua_pushfstring(L, "cannot %s: %s", what, why);
    lua_concat(L, 2);
    return lua_error(L);
}
