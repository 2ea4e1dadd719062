/*
 * state: a Lua state that luamp makes, the program's own or a thread's, in a heap of luamp's (heap.c). What
 * luaL_newstate sets up besides is made here, since that takes no allocator. In a state that another program made, all
 * of this is his.
 */
#include "state.h"

#include <lauxlib.h>

#include <stdio.h>
#include <string.h>

#define CALLS 16 /* so many, one in another, are no cause to allocate */

static int
panic(lua_State *L)
{
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "PANIC: unprotected error in call to Lua API (%s)\n",
            message != NULL ? message : "error object is not a string");
    return 0; /* to abort */
}

/* A lua_WarnFunction: off at first, and "@on" and "@off" change that. */
static void
warn(void *argument, const char *message, int goes_on)
{
    struct luampB_state *state = argument;
    if (!state->is_within_warning && !goes_on && message[0] == '@') {
        if (strcmp(message, "@on") == 0)
            state->warns = true;
        else if (strcmp(message, "@off") == 0)
            state->warns = false;
        return;
    }
    if (state->warns)
        fprintf(stderr, "%s%s%s", state->is_within_warning ? "" : "Lua warning: ", message, goes_on ? "" : "\n");
    state->is_within_warning = goes_on;
}

/* Lua makes a record for a call when one goes deeper than any before, and keeps it. Those of the first are made at
   once, and so lie together: a child that was forked in some calls writes to each of theirs. */
static int
call_deeper(lua_State *L)
{
    lua_Integer more = lua_tointeger(L, 1);
    if (more > 0) {
        lua_pushcfunction(L, call_deeper);
        lua_pushinteger(L, more - 1);
        lua_call(L, 1, 0);
    }
    return 0;
}

lua_State *
luampB_newstate(struct luampB_state *state)
{
    state->warns = state->is_within_warning = false;
    lua_State *L = lua_newstate(luampB_heap_allocate, &state->heap);
    if (L == NULL)
        return NULL;
    lua_atpanic(L, panic);
    lua_setwarnf(L, warn, state);
    lua_pushcfunction(L, call_deeper);
    lua_pushinteger(L, CALLS - 2); /* beside the first record, and that of the call from here */
    lua_pcall(L, 1, 0, 0);
    lua_settop(L, 0);
    return L;
}

void
luampB_state_in_child(lua_State *L)
{
    void *heap;
    if (lua_getallocf(L, &heap) == luampB_heap_allocate)
        luampB_heap_set_apart(heap);
}
