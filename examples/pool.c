/*
 * pool: a host that runs a script in a pool of its own processes.
 *
 *     cc pool.c $(pkg-config --cflags --libs luamp) && ./a.out
 */
#include <luamp.h>

#include <lauxlib.h>
#include <lualib.h>

#include <stdio.h>

static const char script[] =
    "local pool = require 'luamp.pool'\n"
    "local workers <close> = pool.Pool(3)\n"
    "local total = 0\n"
    "for _, square in workers:imap(function(n) return n * n end, {1, 2, 3, 4, 5}) do\n"
    "    total = total + square\n"
    "end\n"
    "return total\n";

int
main(void)
{
    int status = 1;
    lua_State *L = luaL_newstate();
    if (L == NULL)
        return status;
    luaL_openlibs(L);
    luamp_openlibs(L);
    if (luaL_dostring(L, script) == LUA_OK) {
        printf("%d\n", (int) lua_tointeger(L, -1));
        status = 0;
    } else {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
    }
    lua_close(L); /* ends the pool's processes */
    return status;
}
