/*
 * thread.h: what the process module must know of threads.
 */
#ifndef LUAMP_THREAD_H
#define LUAMP_THREAD_H

#include "object.h"

/* Natives of lua/process.lua, for the end of a process. */

/* join_threads(): waits for all threads that are no daemons. */
int luampB_join_threads(lua_State *L);

/* stop_threads(seconds): tells the others to end, and waits so long for it. */
int luampB_stop_threads(lua_State *L);

/* ordered_status(status): the exit status that a thread has ordered, else the one given. */
int luampB_ordered_status(lua_State *L);

/* From a thread: the main thread is told to end the process with this status, and the thread ends.
   Never returns. */
int luampB_order_exit(lua_State *L, int status);

/* Ends the calling thread, past any pcall. Never returns. */
int luampB_end_thread(lua_State *L);

/* In a forked child, with all signals blocked: the thread that forked is its main thread. */
void luampB_threads_in_child(lua_State *L);

#define LUAMPB_THREAD_WIRE 65u /* the kind of a thread in a message; see luampO_class_id */

int luampB_thread_to_wire(lua_State *L, int index, struct luampO_wire *out);
int luampB_thread_from_wire(lua_State *L, const struct luampO_wire *wire);

/* Does this process have other threads of the module `thread` now? */
bool luampB_threads_live(void);

#endif
