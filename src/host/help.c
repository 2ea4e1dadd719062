/*
 * help: see help.h.
 *
 * The pages of the manual are in the program as they are in docs/ (pages.c, made by the build). They are
 * looked at when help() is called first: lua/reference.lua reads them, and lua/help.lua shows them.
 */
#include "help.h"

#include "bind/bind.h"

#include <lauxlib.h>

extern const struct luampB_chunk host_pages[];

/* Pushes a list of {name =, file =, text =}. */
static void
push_pages(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; host_pages[i].name != NULL; i++) {
        lua_createtable(L, 0, 3);
        luaL_gsub(L, host_pages[i].name, ".md", "");
        lua_setfield(L, -2, "name");
        lua_pushfstring(L, "docs/%s", host_pages[i].name);
        lua_setfield(L, -2, "file");
        lua_pushlstring(L, host_pages[i].text, host_pages[i].size);
        lua_setfield(L, -2, "text");
        lua_rawseti(L, -2, i + 1);
    }
}

/* help(x). What lua/help.lua returns is kept as the upvalue. */
static int
help(lua_State *L)
{
    if (lua_isnil(L, lua_upvalueindex(1))) {
        luampB_run_chunk(L, "reference", 0);
        push_pages(L);
        luampB_run_chunk(L, "help", 2);
        lua_replace(L, lua_upvalueindex(1));
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
}

void
help_open(lua_State *L)
{
    if (lua_getglobal(L, "help") == LUA_TNIL) {
        lua_pushnil(L);
        lua_pushcclosure(L, help, 1);
        lua_setglobal(L, "help");
    }
    lua_pop(L, 1);
}
