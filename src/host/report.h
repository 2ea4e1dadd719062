/*
 * report: what the host says on standard error, and protected calls whose errors carry a traceback.
 */
#ifndef LUAMP_HOST_REPORT_H
#define LUAMP_HOST_REPORT_H

#include <lua.h>

/* Prints "luamp: " and the formatted line. For what goes wrong where there is no Lua state. */
void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Prints the error value on top of the stack as one message, and pops it. With `prefix` the message
 * begins with "luamp: "; the interactive mode does without.
 */
void report_error(lua_State *L, int prefix);

/*
 * Calls the function below its `nargs` arguments, as lua_pcall does; an error message comes back
 * with a hint, where there is one, and the traceback. What Ctrl-C raised comes back untouched.
 */
int report_call(lua_State *L, int nargs, int nresults);

#endif
