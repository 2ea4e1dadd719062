/*
 * codec_state.c: what the codec keeps in each Lua state, and room on that state's stack.
 *
 * Called by the codec's own files only.  The record lives as long as the Lua state: it is in the
 * registry, under the address of a variable that only this file has.
 */
#include "codec_state.h"

#include <limits.h>
#include <string.h>

#include <lauxlib.h>

static const char codec_key;            /* its address is the record's key in the registry */

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

struct codec *
luampC_push_codec (lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &codec_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct codec *codec = lua_newuserdatauv(L, sizeof *codec, CODEC_VALUES);
    memset(codec, 0, sizeof *codec);
    int index = lua_gettop(L);
    new_table_value(L, index, CODEC_CLASSES, NULL);
    new_table_value(L, index, CODEC_CLASS_NAMES, NULL);
    new_table_value(L, index, CODEC_DUMPS, "k");
    lua_pushvalue(L, index);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &codec_key);
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
