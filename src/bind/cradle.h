/*
 * cradle: the memory that a thread's Lua state begins in; see cradle.c.
 */
#ifndef LUAMP_CRADLE_H
#define LUAMP_CRADLE_H

#include <lua.h>

#include <stddef.h>

/* About what a state with its libraries takes, and half as much again. */
#define LUAMPB_CRADLE 32768

struct luampB_cradle {
    size_t used;
    _Alignas(max_align_t) char bytes[LUAMPB_CRADLE];
};

/* From here on the state allocates in the cradle, which must be there until the state is closed. */
void luampB_lay_in_cradle(lua_State *L, struct luampB_cradle *cradle);

#endif
