/*
 * probe: a module in C, as any other. It is linked without Lua, and finds Lua's functions in the
 * program that loads it.
 */
#include <lauxlib.h>

static int
add(lua_State *L)
{
    lua_pushinteger(L, luaL_checkinteger(L, 1) + luaL_checkinteger(L, 2));
    return 1;
}

__attribute__((visibility("default"))) int
luaopen_probe(lua_State *L)
{
    static const luaL_Reg functions[] = {{"add", add}, {NULL, NULL}};

    luaL_newlib(L, functions);
    return 1;
}
