/*
 * output.h: lines of output that stay whole; see output.c.
 */
#ifndef LUAMP_OUTPUT_H
#define LUAMP_OUTPUT_H

#include <lua.h>

#include <stdbool.h>

/* Puts luamp's `print`, `io.write` and `file:write` in the place of Lua's own. Where the state is not
   new, only if they still are Lua's own. */
void luampB_open_output(lua_State *L, bool is_new);

/* Before a fork, and after it in the parent: between the two no thread writes, and nothing that was
   written is left in a buffer for both to write. */
void luampB_hold_output(void);
void luampB_release_output(void);

/* In the child. */
void luampB_output_in_child(void);

/* Writes out what an ending process still has to write. False, and a line on stderr, when it
   cannot. */
bool luampB_flush_output(const char *name);

#endif
