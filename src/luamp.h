/*
 * luamp.h: processes, locks, queues and pools for a Lua 5.4 state.
 *
 * A C program links with what `pkg-config --cflags --libs luamp` prints, and opens the modules in a
 * state of its own:
 *
 *     lua_State *L = luaL_newstate();
 *     luaL_openlibs(L);
 *     luamp_openlibs(L);
 *     luaL_dostring(L, "local pool = require 'luamp.pool' ...");
 *     lua_close(L);
 *
 * Beside each entry stands, as in Lua's manual, [-o, +p, x]: the function pops o values from the
 * stack and pushes p; x is `-` when it never raises an error, `m` when it raises only for lack of
 * memory, and `e` when it may raise others.
 */
#ifndef LUAMP_H
#define LUAMP_H

#include <lua.h>

/* The version. This is its only place: the build reads it from these three lines. */
#define LUAMP_VERSION_MAJOR 0
#define LUAMP_VERSION_MINOR 1
#define LUAMP_VERSION_RELEASE 0

/* A number to compare, e.g. `#if LUAMP_VERSION_NUM >= 10203` for version 1.2.3. */
#define LUAMP_VERSION_NUM \
    (LUAMP_VERSION_MAJOR * 10000 + LUAMP_VERSION_MINOR * 100 + LUAMP_VERSION_RELEASE)

/* The same as a string, "0.1.0". */
#define LUAMP_VERSION \
    LUAMP_TEXT_(LUAMP_VERSION_MAJOR) "." LUAMP_TEXT_(LUAMP_VERSION_MINOR) "." \
    LUAMP_TEXT_(LUAMP_VERSION_RELEASE)
#define LUAMP_TEXT_(number) LUAMP_TEXT_OF_(number)
#define LUAMP_TEXT_OF_(number) #number

#if defined(__GNUC__)
#define LUAMP_API extern __attribute__((visibility("default")))
#else
#define LUAMP_API extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * luamp_openlibs                                                                       [-0, +0, e]
 *
 *     void luamp_openlibs(lua_State *L);
 *
 * Makes luamp's modules known to `require` under their full names: luamp, luamp.process,
 * luamp.signal, luamp.sync, luamp.ipc, luamp.pool, luamp.thread. It sets no global variable. The
 * state's standard libraries must be open (luaL_openlibs).
 */
LUAMP_API void luamp_openlibs(lua_State *L);

/*
 * luaopen_luamp                                                                        [-0, +1, e]
 *
 *     int luaopen_luamp(lua_State *L);
 *
 * What `require "luamp"` calls: does what luamp_openlibs does, and pushes the table of the modules.
 */
LUAMP_API int luaopen_luamp(lua_State *L);

/*
 * luamp_main
 *
 *     int luamp_main(int argc, char **argv);
 *
 * The whole of the program `luamp`: makes a state, reads the command line, runs the script, waits for
 * its processes, closes the state. Returns the status to exit with. It changes the process (the
 * handler of SIGINT, the standard descriptors where they were closed), so it is for a program that
 * does nothing but to return its result from main.
 */
LUAMP_API int luamp_main(int argc, char **argv);

/*
 * luamp_version
 *
 *     const char *luamp_version(void);
 *
 * The version of the library that runs, which may be newer than LUAMP_VERSION, the one that the
 * program was compiled with.
 */
LUAMP_API const char *luamp_version(void);

#ifdef __cplusplus
}
#endif

#endif
