/*
 * bind: luamp's modules for Lua. What the files of this folder, and the host, share.
 *
 * The modules never include each other. What they have in common is here and in object.h (objects
 * as userdata), codec.h (values as bytes).
 */
#ifndef LUAMP_BIND_H
#define LUAMP_BIND_H

#include "core/family.h"
#include "luamp.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdbool.h>
#include <stddef.h>

/*
 * For the host.
 */

/* luamp.h has luamp_openlibs_with, which adds the modules by their full names, luamp.process and so on, to
   package.preload, and makes `luamp` itself loadable. It loads none of them. These are the options that
   the state was opened with; LUAMP_OPTIONS_INIT's, if none. */
luamp_Options luampB_options(lua_State *L);

/* Adds the short names: globals process, signal, sync, ipc, pool, and the same in
   package.preload. */
void luampB_short_names(lua_State *L);
bool luampB_has_short_names(lua_State *L);

/* This process is luamp's own: Ctrl-C raises "interrupted!" in the script, os.exit is
   process.exit. */
void luampB_main_process(lua_State *L);
bool luampB_is_host(void);

/* This process was started by a script. */
bool luampB_is_child(void);

/* It is one of a pool's workers. */
bool luampB_is_worker(void);

/* The end of the program's own code: flushes, ends daemons, joins children, runs atexit functions.
   Returns the exit status to use. */
int luampB_finish(lua_State *L, int status);

/* The program was interrupted: ends all children at once. Returns 130. */
int luampB_abandon(lua_State *L);

/* Is this the error that Ctrl-C raised? */
int luampB_is_interrupt(lua_State *L, int index);

/* The line of the script that ran when it came last, as "example.lua:3: ", or an empty string. */
const char *luampB_interrupted_at(void);

/* Pushes a line of advice for an error message and returns 1, or returns 0 and pushes nothing. */
int luampB_hint(lua_State *L, int message);

/* A message handler: the error, a hint where there is one, the traceback. What Ctrl-C raised, and
   what ends a thread, comes back untouched. */
int luampB_traceback(lua_State *L);

/* For a pool's own message handler: trace(e) gives what luampB_traceback puts below the message. */
int luampB_trace(lua_State *L);

/* With the value of an error and a text on the stack: luampB_hint tells the text when this value
   is the error. Pops both. */
void luampB_note_remote(lua_State *L);

/*
 * Modules. Each pushes its table.
 */
int luampB_open_process(lua_State *L);
int luampB_open_signal(lua_State *L);
int luampB_open_sync(lua_State *L);
int luampB_open_ipc(lua_State *L);
int luampB_open_members(lua_State *L);
int luampB_open_pool(lua_State *L);
int luampB_open_thread(lua_State *L);

/* The Lua halves, made from lua/ by the build. */
struct luampB_chunk {
    const char *name;
    const char *text;
    size_t size;
};
extern const struct luampB_chunk luampB_chunks[];

/* Runs a Lua half with the topmost values as its arguments, and leaves what it returns in their
   place. */
void luampB_run_chunk(lua_State *L, const char *name, int arguments);

/* Pushes what lua/class.lua returns. */
void luampB_push_classes(lua_State *L);

/* nearest(name, table), for the Lua halves: the key of the table that was probably meant, or nil. */
int luampB_nearest(lua_State *L);

/* The calling thread is a member of a family from here on, or an error is raised. */
void luampB_join_family(lua_State *L);

/*
 * Numbers, of which one rule holds everywhere: a float that has an integer's value is that integer, and a
 * string is no number.
 */
lua_Integer luampB_check_integer(lua_State *L, int index);
lua_Integer luampB_opt_integer(lua_State *L, int index, lua_Integer otherwise);
lua_Number luampB_check_number(lua_State *L, int index);
bool luampB_is_integer(lua_State *L, int index, lua_Integer least, lua_Integer most);

/*
 * Waiting.
 */

/* The deadline that `block` at `index` and `timeout` behind it say; see the conventions. */
amp_time luampB_deadline(lua_State *L, int index);

/* The deadline that a timeout says: nil is for ever. */
amp_time luampB_timeout(lua_State *L, int index);

/* Runs the script's handlers of the signals that have come, and obeys orders to the thread; may
   raise. Nothing is held. */
void luampB_run_handlers(lua_State *L);

/* The same, but what they raise is left on the stack: true when there is something. */
bool luampB_run_handlers_protected(lua_State *L);

/* A call that may block, again and again until it ends otherwise than by a signal. */
#define LUAMPB_BLOCKING(L, result, call)  \
    do {                                  \
        while ((result = (call)) == -EINTR) \
            luampB_run_handlers(L);       \
    } while (0)

/* Pushes where the error of the C function that runs is, as luaL_where: at the line that called it; where
   that is one of luamp's own, at that which called luamp. */
void luampB_push_where(lua_State *L);

/* Raises what a failure of the core means, as "cannot DO: WHY", or as luampO_raise_deadlock. Never
   returns. */
int luampB_raise(lua_State *L, const char *what, int failure);

/* Pushes nil and a reason: the two results of a call that gives up. */
int luampB_give_up(lua_State *L, const char *reason);
int luampB_refuse(lua_State *L, const char *reason); /* the same with false */

/*
 * Interrupts: interrupt.c, which brings them between two instructions; signal.c and thread.c, from
 * which they come.
 */

/* From here on this state, which runs in the calling thread, is the one of it that can be
   interrupted. */
void luampB_interruptible(lua_State *L);
bool luampB_is_interruptible(lua_State *L);

/* For handlers of the process: luampB_run_handlers is called soon, in the calling thread. */
void luampB_interrupt_soon(void);

/* What has come and is not yet dealt with is forgotten. */
void luampB_interrupt_no_more(void);

/* Between the two, which nest, handlers of the script wait. */
void luampB_defer_handlers(bool on);

/* For the modules' Lua halves: undisturbed(f, ...) gives f's results; handlers of signals and finalizers run when
   it has returned. So what is done and what is noted of it are one. */
int luampB_undisturbed(lua_State *L);

/* In a child that was forked by such an f: finalizers run. */
void luampB_release_collector(lua_State *L);

/* At the beginning of a child, with all signals blocked, and of a thread: what was left by the life
   before is forgotten. */
void luampB_interrupts_anew(void);

/* In a child, with all signals blocked: what becomes of the parent's handlers. */
void luampB_signals_in_child(lua_State *L);

/* signal.c: has a signal come that the state with this registry handles? And its handlers. */
bool luampB_signals_are_pending(const void *registry);
void luampB_handle_signals(lua_State *L);

/* thread.c: has the calling thread been told to end, or the program by another thread? Does so, past
   any pcall. */
bool luampB_thread_is_ordered(void);
void luampB_obey_orders(lua_State *L);

/* Is this the error by which a thread is ended? */
bool luampB_is_stop(lua_State *L, int index);

/* Is the calling thread one of the module `thread`? */
bool luampB_in_thread(void);

/* The signal by which a thread is told to look at its orders. */
int luampB_nudge_signal(void);

/* Raises the error that Ctrl-C raises. */
int luampB_interrupt(lua_State *L);

/* From here on Ctrl-C does so. */
void luampB_handle_interrupt(lua_State *L);

#endif
