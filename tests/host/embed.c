/*
 * embed: a program in C with a Lua state of its own, linked with libluamp. Prints TAP.
 */
#include "luamp.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count;
static int failed;

static void
ok(int kept, const char *promise)
{
    count++;
    if (!kept)
        failed++;
    printf("%s %d - %s\n", kept ? "ok" : "not ok", count, promise);
}

static int
succeeds(lua_State *L, const char *text)
{
    if (luaL_dostring(L, text) == LUA_OK)
        return 1;
    printf("# %s\n", lua_tostring(L, -1));
    lua_settop(L, 0);
    return 0;
}

int
main(void)
{
    lua_State *L = luaL_newstate();

    if (L == NULL)
        return EXIT_FAILURE;
    luaL_openlibs(L);
    ok(strcmp(luamp_version(), LUAMP_VERSION) == 0, "the library is of the header's version");
    succeeds(L, "before = {} for name in pairs(_G) do before[name] = true end");
    luamp_openlibs(L);
    ok(succeeds(L, "for name in pairs(_G) do assert(before[name] or name == 'before', name) end"),
        "luamp_openlibs sets no global variable");
    ok(succeeds(L, "for _, name in ipairs {'process', 'signal', 'sync', 'ipc', 'pool'} do "
                   "assert(type(require('luamp.' .. name)) == 'table') end"),
        "every module can be required by its full name");
    ok(succeeds(L, "assert(type(require 'luamp') == 'table')"), "and so can all of them as one");
    lua_close(L);

    L = luaL_newstate();
    if (L == NULL)
        return EXIT_FAILURE;
    luaL_openlibs(L);
    luaL_requiref(L, "luamp", luaopen_luamp, 0);
    ok(lua_istable(L, -1), "luaopen_luamp gives the modules' table");
    lua_close(L);

    printf("1..%d\n", count);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
