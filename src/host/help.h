/*
 * help: the function help() of the interactive mode.
 */
#ifndef LUAMP_HOST_HELP_H
#define LUAMP_HOST_HELP_H

#include <lua.h>

/* Sets the global `help`, unless the script has one. */
void help_open(lua_State *L);

#endif
