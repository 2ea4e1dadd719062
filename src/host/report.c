/*
 * report: what the host says on standard error, and protected calls whose errors carry a traceback.
 *
 * A message is one write, so that it is never mixed with those of other processes. What the script
 * has printed before is written out first: where both streams go to one place, the order is kept.
 */
#include "report.h"

#include "bind/bind.h"

#include <lauxlib.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static void
write_error(const char *text, size_t size)
{
    fflush(stdout);
    while (size > 0) {
        ssize_t written = write(STDERR_FILENO, text, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* there is nobody left to tell */
        text += written;
        size -= (size_t)written;
    }
}

void
report_line(const char *format, ...)
{
    char line[2048];
    int used = snprintf(line, sizeof line, "luamp: ");
    va_list arguments;

    va_start(arguments, format);
    used += vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
    va_end(arguments);
    if ((size_t)used > sizeof line - 2)
        used = sizeof line - 2;
    line[used++] = '\n';
    write_error(line, (size_t)used);
}

/* Runs protected: to join the message's parts takes memory. */
static int
print_message(lua_State *L)
{
    size_t size;
    const char *text;

    luaL_tolstring(L, 1, NULL);
    lua_pushstring(L, lua_toboolean(L, 2) ? "luamp: " : "");
    lua_insert(L, -2);
    lua_pushliteral(L, "\n");
    lua_concat(L, 3);
    text = lua_tolstring(L, -1, &size);
    write_error(text, size);
    return 0;
}

void
report_error(lua_State *L, int prefix)
{
    lua_pushcfunction(L, print_message);
    lua_insert(L, -2);
    lua_pushboolean(L, prefix);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        report_line("an error that cannot be told for lack of memory");
        lua_pop(L, 1);
    }
}

int
report_call(lua_State *L, int nargs, int nresults)
{
    int base = lua_gettop(L) - nargs;
    int status;

    lua_pushcfunction(L, luampB_traceback);
    lua_insert(L, base);
    status = lua_pcall(L, nargs, nresults, base);
    lua_remove(L, base);
    return status;
}
