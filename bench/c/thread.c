/*
 * A thread that opens a Lua state with the standard libraries and closes it, started and joined:
 * microseconds. The one floor that needs Lua.
 */
#include "floor.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static void *
open_and_close(void *argument)
{
    lua_State *L = luaL_newstate();
    if (L == NULL)
        fail("luaL_newstate");
    luaL_openlibs(L);
    lua_close(L);
    return argument;
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000);
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, open_and_close, NULL) != 0 ||
            pthread_join(thread, NULL) != 0)
            fail("thread");
    }
    print_microseconds(from, n);
    return 0;
}
