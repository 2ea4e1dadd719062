/*
 * A module for Lua with what cannot be done cheaper by any module in C: a method that does nothing,
 * and a copy of tables. Loaded by lua/c_calls.lua and lua/table_copy.lua. Compiled as a shared
 * object where Lua's headers are found.
 */
#include <lauxlib.h>
#include <lua.h>

static int
nothing(lua_State *L)
{
    (void) L;
    return 0;
}

static int
new_object(lua_State *L)
{
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, nothing);
    lua_setfield(L, -2, "nothing");
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}

/* Puts a copy of the table on top in its place. Tables in it are copied too; it has no cycles. */
static void
copy_table(lua_State *L)
{
    luaL_checkstack(L, 5, "tables too deep");
    int n = (int) lua_rawlen(L, -1);
    lua_createtable(L, n, n > 0 ? 0 : 4);
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        if (lua_istable(L, -1))
            copy_table(L);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_replace(L, -2);
}

static int
copy(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    copy_table(L);
    return 1;
}

int luaopen_in_lua(lua_State *L);

int
luaopen_in_lua(lua_State *L)
{
    static const luaL_Reg functions[] = {{"new_object", new_object}, {"copy", copy}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
