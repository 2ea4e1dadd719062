/*
 * repl: the interactive mode.
 *
 * What is typed is first tried as an expression, by putting "return" in front of it, and then as a
 * statement. A statement that stops at the end of its text is not finished, and goes on in the next
 * line. The results of an expression are printed with the global `print`.
 *
 * Ctrl-C is luamp's own (see luampB_main_process): in a running statement it ends the statement,
 * and at the prompt it drops what was typed so far.
 */
#include "repl.h"

#include "report.h"

#include <lauxlib.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum input {
    INPUT_READY,   /* a line, or a statement, is on top of the stack */
    INPUT_DROPPED, /* by Ctrl-C */
    INPUT_ENDED
};

static void
show_prompt(lua_State *L, const char *variable, const char *otherwise)
{
    int top = lua_gettop(L);

    if (lua_getglobal(L, variable) != LUA_TNIL)
        otherwise = luaL_tolstring(L, -1, NULL);
    fputs(otherwise, stdout);
    fflush(stdout);
    lua_settop(L, top);
}

/* Signal handlers run between two instructions of Lua: this gives them some. */
static int
run_pending_handlers(lua_State *L)
{
    int status = luaL_loadstring(L, "");

    return status == LUA_OK ? report_call(L, 0, 0) : status;
}

/* Pushes the next line, without its end. */
static enum input
read_line(lua_State *L)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;

    while ((length = getline(&line, &size, stdin)) < 0) {
        free(line);
        line = NULL;
        if (feof(stdin) || errno != EINTR)
            return INPUT_ENDED;
        clearerr(stdin);
        if (run_pending_handlers(L) != LUA_OK) {
            putchar('\n');
            report_error(L, 0);
            return INPUT_DROPPED;
        }
    }
    if (length > 0 && line[length - 1] == '\n')
        length--;
    lua_pushlstring(L, line, (size_t)length);
    free(line);
    return INPUT_READY;
}

static int
load_text(lua_State *L)
{
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);

    return luaL_loadbuffer(L, text, length, "=stdin");
}

/* Is the message on top of the stack that of a text that only lacks its end? */
static int
is_unfinished(lua_State *L, int status)
{
    static const char mark[] = "<eof>";
    const size_t mark_length = sizeof mark - 1;
    size_t length;
    const char *message;

    if (status != LUA_ERRSYNTAX)
        return 0;
    message = lua_tolstring(L, -1, &length);
    return length >= mark_length && strcmp(message + length - mark_length, mark) == 0;
}

/* With the first line alone on the stack: pushes the function, or the message of the error. */
static enum input
load_lines(lua_State *L, int *status)
{
    while (is_unfinished(L, *status = load_text(L))) {
        enum input input;

        show_prompt(L, "_PROMPT2", ">> ");
        input = read_line(L);
        if (input == INPUT_DROPPED)
            return INPUT_DROPPED;
        if (input == INPUT_ENDED)
            break; /* the message stands */
        lua_pushliteral(L, "\n");
        lua_replace(L, 2); /* in place of the message, between the text and the new line */
        lua_concat(L, 3);
    }
    return INPUT_READY;
}

/* Reads a whole statement, and pushes its function or the message of its error. */
static enum input
read_statement(lua_State *L, int *status)
{
    enum input input;
    const char *text;

    show_prompt(L, "_PROMPT", "> ");
    input = read_line(L);
    if (input != INPUT_READY)
        return input;
    text = lua_tostring(L, 1);
    if (text[0] == '=') {
        lua_pushfstring(L, "return %s", text + 1);
        lua_replace(L, 1);
        text = lua_tostring(L, 1);
    }
    lua_pushfstring(L, "return %s", text);
    *status = load_text(L);
    if (*status == LUA_OK)
        return INPUT_READY;
    lua_settop(L, 1);
    return load_lines(L, status);
}

/* Prints what is on the stack. */
static void
print_results(lua_State *L)
{
    int results = lua_gettop(L);

    if (results == 0)
        return;
    luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
    lua_getglobal(L, "print");
    lua_insert(L, 1);
    if (lua_pcall(L, results, 0, 0) != LUA_OK) {
        lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1));
        report_error(L, 0);
    }
}

void
repl_run(lua_State *L)
{
    int status;
    enum input input;

    lua_settop(L, 0);
    while ((input = read_statement(L, &status)) != INPUT_ENDED) {
        if (input == INPUT_READY) {
            if (status == LUA_OK) {
                lua_replace(L, 1); /* the text has done its work */
                lua_settop(L, 1);
                status = report_call(L, 0, LUA_MULTRET);
            }
            if (status == LUA_OK)
                print_results(L);
            else
                report_error(L, 0);
        }
        lua_settop(L, 0);
    }
    putchar('\n');
    fflush(stdout);
}
