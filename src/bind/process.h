/*
 * process.h: children, for the other files that meet them: messages, and waits for several things.
 */
#ifndef LUAMP_PROCESS_H
#define LUAMP_PROCESS_H

#include "object.h"

#define LUAMPB_CHILD_WIRE 64u /* the kind of a child in a message; see luampO_class_id */

int luampB_child_to_wire(lua_State *L, int index, struct luampO_wire *out);
int luampB_child_from_wire(lua_State *L, const struct luampO_wire *wire);

/* Pushes what lua/process.lua is built on, once the process module is loaded: for the pool's half.
   */
void luampB_push_process_natives(lua_State *L);

/* The name of this process. */
const char *luampB_process_name(void);

/* A thread's end: the children that its state has are the process's from here on. */
void luampB_leave_children(lua_State *L);

/* Natives of lua/process.lua that are of use elsewhere; told in process.c. */
int luampB_call_with(lua_State *L);
int luampB_report(lua_State *L);

/* Calls the function on top of the stack, math.randomseed, with numbers that no other process or thread
   has: those of one moment must not draw the same. */
void luampB_seed(lua_State *L);

/* Ends the process as the end of its script would. For its main thread. Never returns. */
void luampB_exit_process(lua_State *L, int status);

/* os.exit of the state becomes luamp's. */
void luampB_replace_exit(lua_State *L);

/* The word that changes when the child at the index dies, with its flag for sleepers set, and its
   value; NULL when it is dead. */
amp_word *luampB_child_life(lua_State *L, int index, uint32_t *value);

/* A descriptor that is readable once the child at the index has ended. */
int luampB_child_descriptor(lua_State *L, int index);

/* What Ctrl-C does is left to the main process: this one ignores it, its children do not. */
void luampB_leave_interrupts(void);

#endif
