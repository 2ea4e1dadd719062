/*
 * codec.c: Lua values to bytes and back; the only encoder.
 *
 * Called by every binding that sends or stores a value.  Runs in any process and thread, on the
 * caller's own Lua state; it knows nothing of shared memory.  A message can hold
 *
 *   - nil, booleans, numbers and strings, exactly;
 *   - tables of these, and tables of tables: shared and circular ones arrive as such;
 *   - Lua functions, as bytecode with their upvalues;
 *   - tables with a registered class's metatable;
 *   - luamp objects;
 *   - by name, as the receiver's own: classes, modules, their functions, and _G.
 *
 * How it is laid out, and the rest:
 *
 *     codec_format.h      the tags, the format's description, and plain values
 *     codec_atom.h        those of them that are of one size, from Lua
 *     codec_encode        values to bytes: luampC_encode
 *     codec_decode        bytes to values: luampC_decode
 *     codec_names         what travels by name; luampC_register_class
 *     codec_scratch       the encoder's memory from message to message; luampC_keep
 *     codec_path          where in a value the one is that cannot be sent
 *     codec_state         what is kept in each Lua state
 *
 * Here are the messages that are one plain value, written where the caller wants them, and the
 * debugging pair: the codec as a module of Lua.
 *
 * Invariants of the whole:
 *   - Neither direction recurses in C.
 *   - The encoder calls no Lua function and no metamethod.
 *   - The decoder trusts nothing.
 *   - An error leaves nothing behind: all memory hangs from userdata.
 *
 * It must not block, lock, or touch the arena.
 */
#include "codec.h"

#include <lauxlib.h>

#include "codec_atom.h"
#include "codec_format.h"

/*
 * One plain value
 */

size_t
luampC_scalar_size (lua_State *L, int index)
{
    size_t length;

    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
        return 1;
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? integer_size(lua_tointeger(L, index)) : LONGEST_ATOM;
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
    size_t length;
    int type = lua_type(L, index);

    if (type != LUA_TSTRING)
        return write_atom(at, L, index, type);
    const char *string = lua_tolstring(L, index, &length);
    return write_string(at, string, length);
}

size_t
luampC_put_scalar (lua_State *L, int index, unsigned char *at, size_t room)
{
    size_t length;
    int type = lua_type(L, index);

    if (type == LUA_TNUMBER || type == LUA_TBOOLEAN || type == LUA_TNIL)
        return room < LONGEST_ATOM ? LONGEST_ATOM : (size_t) (write_atom(at, L, index, type) - at);
    if (type != LUA_TSTRING)
        return 0;
    const char *string = lua_tolstring(L, index, &length);
    size_t size = string_head_size(length) + length;
    if (size <= room)
        write_string(at, string, length);
    return size;
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
