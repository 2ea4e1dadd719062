/*
 * heap: the memory of the program's own Lua state.
 */
#ifndef LUAMP_HOST_HEAP_H
#define LUAMP_HOST_HEAP_H

#include <lua.h>
#include <stddef.h>

/* To be called once, before the state is made and before there are threads. */
void heap_open(void);

/* The state's allocator, a lua_Alloc; for one state, whose first blocks luaL_newstate may have
   allocated. */
void *heap_allocate(void *unused, void *block, size_t size, size_t wanted);

/* To be called in each child before anything of Lua is: an in_child of luamp_Options. */
void heap_in_child(lua_State *L, void *unused);

#endif
