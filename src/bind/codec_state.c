/*
 * codec_state.c: what the codec keeps in each Lua state, and room on that state's stack.
 *
 * Called by the codec's own files only.  The record lives as long as the Lua state: it is in the
 * registry, under the address of a variable that only this file has.
 *
 * Each message needs it, and to look into the registry costs more than to write a field.  So each
 * thread remembers the record that it used last, together with the address of that registry.
 * Another state's registry can only get this address after the first state has been closed; that
 * calls codec_gc(), which makes every thread forget: what it remembers is of an earlier epoch.  A
 * record without this finalizer is not remembered.
 */
#include "codec_state.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include <lauxlib.h>

static const char codec_key;            /* its address is the record's key in the registry */

/*
 * How many records are no more.  Relaxed: who sees another registry at an old address has also
 * seen its memory being freed, and this was counted before.
 */
static atomic_uint epoch;

static __thread struct {
    const void *registry;
    struct codec *codec;
    unsigned epoch;
} last_used;

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

static void
push_new_codec (lua_State *L)
{
    struct codec *codec = lua_newuserdatauv(L, sizeof *codec, CODEC_VALUES);
    memset(codec, 0, sizeof *codec);
    int index = lua_gettop(L);
    new_table_value(L, index, CODEC_CLASSES, NULL);
    new_table_value(L, index, CODEC_CLASS_NAMES, NULL);
    new_table_value(L, index, CODEC_DUMPS, "k");
}

struct codec *
luampC_push_codec (lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &codec_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    push_new_codec(L);
    /* to make it may have run a finalizer that sent something, and has one made by now */
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &codec_key) == LUA_TUSERDATA) {
        lua_replace(L, -2);
    } else {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &codec_key);
    }
    return lua_touserdata(L, -1);
}

static int
codec_gc (lua_State *L)
{
    struct codec *codec = lua_touserdata(L, 1);

    codec->closed = 1;                  /* finalizers that come after this one can still send */
    atomic_fetch_add_explicit(&epoch, 1, memory_order_relaxed);
    return 0;
}

/*
 * The record on the top of the stack gets its finalizer.  A state that is being closed takes none
 * any more; so not while a finalizer runs, which may be one of these.
 */
static void
finalize_codec (lua_State *L, struct codec *codec)
{
    if (codec->has_finalizer || lua_gc(L, LUA_GCISRUNNING) != 1)
        return;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, codec_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    codec->has_finalizer = 1;
}

struct codec *
luampC_codec (lua_State *L)
{
    const void *registry = lua_topointer(L, LUA_REGISTRYINDEX);
    unsigned now = atomic_load_explicit(&epoch, memory_order_relaxed);

    if (last_used.registry == registry && last_used.epoch == now)
        return last_used.codec;
    struct codec *codec = luampC_push_codec(L);
    finalize_codec(L, codec);
    lua_pop(L, 1);
    if (codec->has_finalizer && !codec->closed) {
        last_used.registry = registry;
        last_used.codec = codec;
        last_used.epoch = now;
    }
    return codec;
}

int
luampC_grow_stack (lua_State *L, size_t depth)
{
    int more = depth > 64 && depth < INT_MAX / 4 ? (int) depth : 64;

    if (lua_checkstack(L, more))
        return more;
    more = SLOTS_OF_WORK + 4;
    return lua_checkstack(L, more) ? more : 0;
}
