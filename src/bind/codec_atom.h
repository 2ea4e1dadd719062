/*
 * codec_atom.h: a nil, boolean or number of Lua's into a message. Does not raise, and leaves the
 * Lua stack alone.
 */
#ifndef LUAMP_CODEC_ATOM_H
#define LUAMP_CODEC_ATOM_H

#include "codec_format.h"

#include <lua.h>

_Static_assert(sizeof(lua_Integer) == 8 && sizeof(lua_Number) == 8, "Lua has 64-bit numbers");

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

#endif
