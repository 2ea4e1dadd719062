/*
 * repl: the interactive mode.
 */
#ifndef LUAMP_HOST_REPL_H
#define LUAMP_HOST_REPL_H

#include <lua.h>

/* Reads statements and expressions from standard input until it ends, and runs them. */
void repl_run(lua_State *L);

#endif
