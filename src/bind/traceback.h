/*
 * traceback: see traceback.c.
 */
#ifndef LUAMP_TRACEBACK_H
#define LUAMP_TRACEBACK_H

#include "bind.h"

/* Pushes the message, if any, and the stack traceback from the level on. */
void luampB_push_stack(lua_State *L, const char *message, int level);

/* The level of the innermost function of the user's, or the one below all, which is not there. */
int luampB_user_level(lua_State *L);

/* In a child, before its function is called: what is on the stack is the parent's. */
void luampB_stack_begins(lua_State *L);

#endif
