/*
 * luamp: the host program. `luamp script.lua args` behaves as `lua script.lua args` does, and the
 * script has luamp's modules at hand.
 *
 * The order of things: the standard descriptors, the command line, a state with all libraries, the
 * environment's LUA_INIT, the options in their order, the script or the interactive mode, and the
 * end of the process's own code, which luampB_finish knows (daemons, children, atexit functions).
 * Everything that may raise runs in one of three protected parts.
 *
 * All of this is the main process's: a child leaves inside the bindings, by _exit, and never
 * returns to here.
 */
#include "luamp.h"

#include "bind/bind.h"
#include "bind/state.h"
#include "large_pages.h"
#include "options.h"
#include "repl.h"
#include "report.h"
#include "streams.h"

#include <lauxlib.h>
#include <lualib.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a shell shows for a program that ended by SIGINT. */
enum { EXIT_INTERRUPTED = 130 };

/*
 * What the program does is a list of steps, each of which says whether the next may follow. A step
 * that fails has reported why.
 */
enum step {
    STEP_DONE,
    STEP_FAILED,
    STEP_INTERRUPTED
};

static enum step
step_from_status(lua_State *L, int status)
{
    if (status == LUA_OK)
        return STEP_DONE;
    if (luampB_is_interrupt(L, -1)) {
        lua_pop(L, 1);
        return STEP_INTERRUPTED;
    }
    report_error(L, 1);
    return STEP_FAILED;
}

static enum step
run_text(lua_State *L, const char *text, const char *name)
{
    int status = luaL_loadbuffer(L, text, strlen(text), name);

    if (status == LUA_OK)
        status = report_call(L, 0, 0);
    return step_from_status(L, status);
}

/* `name` is NULL for standard input. */
static enum step
run_file(lua_State *L, const char *name)
{
    int status = luaL_loadfile(L, name);

    if (status == LUA_OK)
        status = report_call(L, 0, 0);
    return step_from_status(L, status);
}

static enum step
run_environment(lua_State *L)
{
    const char *variable = "LUA_INIT_5_4";
    const char *text = getenv(variable);

    if (text == NULL)
        text = getenv(variable = "LUA_INIT");
    if (text == NULL)
        return STEP_DONE;
    if (text[0] == '@')
        return run_file(L, text + 1);
    lua_pushfstring(L, "=%s", variable);
    return run_text(L, text, lua_tostring(L, -1));
}

/* -l mod and -l global=mod */
static enum step
require_library(lua_State *L, const char *argument)
{
    const char *equals = strchr(argument, '=');
    const char *module = equals != NULL ? equals + 1 : argument;
    int status;

    if (equals != NULL)
        lua_pushlstring(L, argument, (size_t)(equals - argument));
    else
        lua_pushstring(L, argument);
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    status = report_call(L, 1, 1);
    if (status != LUA_OK)
        return step_from_status(L, status);
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_settable(L, -3);
    lua_pop(L, 1);
    return STEP_DONE;
}

static enum step
run_options(lua_State *L, const struct options *options)
{
    struct option_effect effect;
    enum step step = STEP_DONE;

    for (int i = 1; step == STEP_DONE && options_next(options, &i, &effect);) {
        switch (effect.letter) {
        case 'e':
            step = run_text(L, effect.argument, "=(command line)");
            break;
        case 'l':
            step = require_library(L, effect.argument);
            break;
        case 'W':
            lua_warning(L, "@on", 0);
            break;
        }
    }
    return step;
}

/*
 * Makes the global `arg`: the script is at 0, its arguments follow, and what stands before it has
 * negative indexes. Without a script, the program is at 0.
 */
static void
make_arg_table(lua_State *L, const struct options *options)
{
    int script = options->script < options->argc ? options->script : 0;

    lua_createtable(L, options->argc - script, script + 1);
    for (int i = 0; i < options->argc; i++) {
        lua_pushstring(L, options->argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

/* Pushes the script's arguments, from `arg`, which LUA_INIT and -e may have changed. */
static int
push_arguments(lua_State *L)
{
    int count;

    if (lua_getglobal(L, "arg") != LUA_TTABLE)
        luaL_error(L, "'arg' is not a table");
    count = (int)luaL_len(L, -1);
    luaL_checkstack(L, count + LUA_MINSTACK, "too many arguments to script");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, -i, i);
    lua_remove(L, -count - 1);
    return count;
}

/* Pushes the path of the module's file, and makes it `arg[0]`, as the name of any script is. */
static int
find_module(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchpath");
    lua_pushvalue(L, 1);
    lua_getfield(L, -3, "path");
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2))
        return luaL_error(L, "module '%s' not found:\n\t%s", lua_tostring(L, 1),
            lua_tostring(L, -1));
    lua_pop(L, 1);
    if (lua_getglobal(L, "arg") == LUA_TTABLE) {
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, 0);
    }
    lua_pop(L, 1);
    return 1;
}

static enum step
run_script(lua_State *L, const struct options *options)
{
    const char *name = options->stdin_named ? NULL : options->argv[options->script];
    int status;

    if (options->module != NULL) {
        lua_pushcfunction(L, find_module);
        lua_pushstring(L, options->module);
        status = lua_pcall(L, 1, 1, 0);
        if (status != LUA_OK)
            return step_from_status(L, status);
        name = lua_tostring(L, -1);
    }
    status = luaL_loadfile(L, name);
    if (status == LUA_OK)
        status = report_call(L, push_arguments(L), 0);
    return step_from_status(L, status);
}

static void
print_version(void)
{
    printf("luamp %s  %s\n", luamp_version(), LUA_COPYRIGHT);
    fflush(stdout);
}

static enum step
run_program(lua_State *L, const struct options *options)
{
    enum step step = STEP_DONE;

    if (!options->ignore_environment)
        step = run_environment(L);
    if (step == STEP_DONE)
        step = run_options(L, options);
    if (step == STEP_DONE && options->script < options->argc)
        step = run_script(L, options);
    if (step != STEP_DONE)
        return step;
    if (options->interactive) {
        repl_run(L);
    } else if (options->script == options->argc && !options->executes && !options->show_version) {
        if (isatty(STDIN_FILENO)) {
            print_version();
            repl_run(L);
        } else if (run_file(L, NULL) == STEP_INTERRUPTED) {
            return STEP_INTERRUPTED;
        }
        /* As in lua, an error in what was piped in is told and does not make the program fail. */
    }
    return STEP_DONE;
}

static void
open_libraries(lua_State *L, const struct options *options)
{
    luamp_Options ours = LUAMP_OPTIONS_INIT;

    ours.short_names = options->short_names;
    ours.signals = LUAMP_SIGINT | LUAMP_SIGCHLD | LUAMP_SIGQUIT | LUAMP_SIGNALS_OTHER;
    lua_gc(L, LUA_GCSTOP);
    if (options->ignore_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* the libraries look for it */
    }
    luaL_openlibs(L);
    luamp_openlibs_with(L, &ours);
    luampB_main_process(L);
    make_arg_table(L, options);
    lua_gc(L, LUA_GCRESTART);
    lua_gc(L, LUA_GCGEN, 0, 0); /* as lua */
}

/* Ctrl-C ended the script, or the wait for its children. */
static int
give_up(lua_State *L)
{
    char place[128];

    snprintf(place, sizeof place, "%s", luampB_interrupted_at());
    luampB_abandon(L); /* which can be interrupted, too */
    report_line("%sinterrupted!", place);
    return EXIT_INTERRUPTED;
}

static int
exit_status(lua_State *L, enum step step)
{
    switch (step) {
    case STEP_DONE:
        return EXIT_SUCCESS;
    case STEP_INTERRUPTED:
        return give_up(L);
    case STEP_FAILED:
        break;
    }
    return EXIT_FAILURE;
}

/*
 * The three parts of the program's life. Each is called protected, with one argument, and returns
 * the exit status as it stands then.
 */
static int
open_part(lua_State *L)
{
    open_libraries(L, lua_touserdata(L, 1));
    lua_pushinteger(L, EXIT_SUCCESS);
    return 1;
}

static int
script_part(lua_State *L)
{
    const struct options *options = lua_touserdata(L, 1);

    lua_settop(L, 0);
    lua_pushinteger(L, exit_status(L, run_program(L, options)));
    return 1;
}

static int
finish_part(lua_State *L)
{
    lua_pushinteger(L, luampB_finish(L, (int)lua_tointeger(L, 1)));
    return 1;
}

/* Calls a part, below its argument on the stack. */
static int
call_part(lua_State *L)
{
    enum step step = step_from_status(L, lua_pcall(L, 1, 1, 0));
    int status;

    if (step != STEP_DONE)
        return exit_status(L, step);
    status = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return status;
}

static int
run_state(lua_State *L, struct options *options)
{
    int status;

    lua_pushcfunction(L, open_part);
    lua_pushlightuserdata(L, options);
    status = call_part(L);
    if (status != EXIT_SUCCESS)
        return status;

    lua_pushcfunction(L, script_part);
    lua_pushlightuserdata(L, options);
    status = call_part(L);

    lua_pushcfunction(L, finish_part);
    lua_pushinteger(L, status);
    return call_part(L);
}

int
luamp_main(int argc, char **argv)
{
    static struct luampB_state state;
    struct options options;
    lua_State *L;
    int status;

    if (streams_open() != 0) {
        report_line("cannot open the standard streams: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    if (!options_parse(&options, argc, argv))
        return EXIT_FAILURE;
    if (options.help) {
        options_help();
        return EXIT_SUCCESS;
    }
    if (options.show_version)
        print_version();
    if (options.version_only)
        return EXIT_SUCCESS;

    luampB_heap_open(&state.heap, NULL, 0);
    large_pages_for(&state.heap);
    L = luampB_newstate(&state);
    if (L == NULL) {
        report_line("cannot create a Lua state: not enough memory");
        return EXIT_FAILURE;
    }
    status = run_state(L, &options);
    lua_close(L);
    luampB_heap_close(&state.heap);
    return status;
}
