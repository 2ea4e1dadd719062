/*
 * traceback: which functions ran when something happened, as luaL_traceback tells it.
 *
 * Where a process or a thread was started with a function, that is where its traceback ends. What stands
 * below is luamp's own, and then the parent's stack at the fork, which looks as if the parent had made the
 * call.
 */
#include "traceback.h"

#include <string.h>

/* In a child: the coroutine that runs, and how many levels of its stack are the parent's. */
static struct {
    lua_State *L;
    int levels;
} inherited;

static int
last_level(lua_State *L)
{
    lua_Debug ar;
    int low = 0, high = 1;
    while (lua_getstack(L, high, &ar)) {
        low = high;
        high *= 2;
    }
    while (low + 1 < high) { /* low is there, high is not */
        int middle = (low + high) / 2;
        if (lua_getstack(L, middle, &ar))
            low = middle;
        else
            high = middle;
    }
    return low;
}

void
luampB_stack_begins(lua_State *L)
{
    inherited.L = L;
    inherited.levels = last_level(L) + 1;
}

static bool
is_ours(lua_State *L, int level)
{
    lua_Debug ar;
    lua_getstack(L, level, &ar);
    lua_getinfo(L, "S", &ar);
    return strcmp(ar.what, "C") == 0 || strncmp(ar.source, "=luamp/", 7) == 0;
}

int
luampB_user_level(lua_State *L)
{
    lua_Debug ar;
    int level = 0;
    while (lua_getstack(L, level, &ar) && is_ours(L, level))
        level++;
    return level;
}

/* The lowest level that is the user's; `level` at least. */
static int
first_call(lua_State *L, int level)
{
    int last = last_level(L);
    if (L == inherited.L)
        last -= inherited.levels;
    while (last > level && is_ours(L, last))
        last--;
    return last;
}

enum { AT_ONCE = 10 }; /* so many are told of any stack, however deep */

/* Appends n levels, at most AT_ONCE, to the string on top. */
static void
append(lua_State *L, int level, int n)
{
    luaL_traceback(L, L, NULL, level);
    const char *text = lua_tostring(L, -1);
    const char *from = strchr(text, '\n'), *to = from;
    while (to != NULL) { /* by lines, each of which is a call, or belongs to the one before */
        if (strncmp(to, "\n\t(...tail calls...)", 20) != 0 && n-- == 0)
            break;
        to = strchr(to + 1, '\n');
    }
    if (from != NULL)
        lua_pushlstring(L, from, to != NULL ? (size_t) (to - from) : strlen(from));
    else
        lua_pushliteral(L, "");
    lua_remove(L, -2);
    lua_concat(L, 2);
}

void
luampB_push_stack(lua_State *L, const char *message, int level)
{
    if (!luampB_is_child() && !luampB_in_thread()) {
        luaL_traceback(L, L, message, level);
        return;
    }
    enum { FIRST = AT_ONCE, LAST = AT_ONCE + 1 }; /* as luaL_traceback has them */
    int last = first_call(L, level), n = last - level + 1;
    lua_pushfstring(L, "%s%sstack traceback:", message ? message : "", message ? "\n" : "");
    if (n > FIRST + LAST) {
        append(L, level, FIRST);
        lua_pushfstring(L, "\n\t...\t(skipping %d levels)", n - FIRST - LAST);
        lua_concat(L, 2);
        level = last - LAST + 1;
    }
    for (; level <= last; level += AT_ONCE)
        append(L, level, last - level + 1 < AT_ONCE ? last - level + 1 : AT_ONCE);
}
