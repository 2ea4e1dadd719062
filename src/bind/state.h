/*
 * state: a Lua state that luamp makes; see state.c.
 */
#ifndef LUAMP_STATE_H
#define LUAMP_STATE_H

#include "heap.h"

#include <stdbool.h>

struct luampB_state {
    struct luampB_heap heap; /* to be opened before the state is made, closed when it is closed */
    bool warns, is_within_warning;
};

/* As luaL_newstate, in the heap; NULL if there is not enough memory. */
lua_State *luampB_newstate(struct luampB_state *state);

/* To be called in each child before it allocates, with any state. */
void luampB_state_in_child(lua_State *L);

#endif
