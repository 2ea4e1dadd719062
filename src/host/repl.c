/*
 * repl: the interactive mode.
 *
 * What is typed is first tried as an expression, by putting "return" in front of it, and then as a
 * statement. A statement that stops at the end of its text is not finished, and goes on in the next
 * line. The results of an expression are printed with the global `print`; a table that has no say in
 * how it is printed, as its contents (lua/repl.lua).
 *
 * help() shows the manual (help.h). At a terminal lines are edited, remembered and completed (editor.h).
 *
 * Ctrl-C is luamp's own (see luampB_main_process): in a running statement it ends the statement,
 * and at the prompt it drops what was typed so far.
 */
#include "repl.h"

#include "bind/bind.h"
#include "editor.h"
#include "help.h"
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

/* The stack: two functions of lua/repl.lua, then the text of a statement, then what becomes of it. */
enum { SHOW = 1, COMPLETE, BASE = COMPLETE, TEXT };

static int has_editor;

/* Pushes the prompt that the variable holds. */
static const char *
push_prompt(lua_State *L, const char *variable, const char *otherwise)
{
    if (lua_getglobal(L, variable) == LUA_TNIL)
        lua_pushstring(L, otherwise);
    else
        luaL_tolstring(L, -1, NULL);
    lua_replace(L, -2);
    return lua_tostring(L, -1);
}

/* Signal handlers run between two instructions of Lua: this gives them some. */
static int
run_pending_handlers(lua_State *L)
{
    int status = luaL_loadstring(L, "");

    return status == LUA_OK ? report_call(L, 0, 0) : status;
}

/* As editor_read: 1 with a line, 0 at the end, -1 when a signal came. */
static int
read_plain(char **line)
{
    size_t size = 0;
    ssize_t length = getline(line, &size, stdin);

    if (length < 0) {
        int interrupted = !feof(stdin) && errno == EINTR;

        free(*line);
        *line = NULL;
        clearerr(stdin);
        return interrupted ? -1 : 0;
    }
    if (length > 0 && (*line)[length - 1] == '\n')
        (*line)[length - 1] = '\0';
    return 1;
}

/* Shows the prompt, and pushes the next line, without its end. */
static enum input
read_line(lua_State *L, const char *variable, const char *otherwise)
{
    char *line = NULL;
    const char *prompt = push_prompt(L, variable, otherwise);
    int got;

    if (!has_editor) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    while ((got = has_editor ? editor_read(prompt, &line) : read_plain(&line)) < 0) {
        if (run_pending_handlers(L) != LUA_OK) {
            editor_drop();
            putchar('\n');
            report_error(L, 0);
            lua_pop(L, 1);
            return INPUT_DROPPED;
        }
    }
    lua_pop(L, 1);
    if (got == 0)
        return INPUT_ENDED;
    lua_pushstring(L, line);
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

/* With the first line on top: pushes the function, or the message of the error. */
static enum input
load_lines(lua_State *L, int *status)
{
    while (is_unfinished(L, *status = load_text(L))) {
        enum input input = read_line(L, "_PROMPT2", ">> ");

        if (input == INPUT_DROPPED)
            return INPUT_DROPPED;
        if (input == INPUT_ENDED)
            break; /* the message stands */
        lua_pushliteral(L, "\n");
        lua_replace(L, TEXT + 1); /* in place of the message, between the text and the new line */
        lua_concat(L, 3);
    }
    return INPUT_READY;
}

/* Reads a whole statement, and pushes its text, and its function or the message of its error. */
static enum input
read_statement(lua_State *L, int *status)
{
    enum input input = read_line(L, "_PROMPT", "> ");
    const char *text;

    if (input != INPUT_READY)
        return input;
    text = lua_tostring(L, TEXT);
    lua_pushfstring(L, "return %s", text[0] == '=' ? text + 1 : text);
    *status = load_text(L);
    if (*status != LUA_OK) {
        lua_settop(L, TEXT);
        if (text[0] == '=') {
            lua_pushfstring(L, "return %s", text + 1);
            lua_replace(L, TEXT);
        }
        input = load_lines(L, status);
    }
    if (has_editor && input == INPUT_READY)
        editor_remember(lua_tostring(L, TEXT));
    return input;
}

/* Prints the results, which are what is on the stack from TEXT on. */
static void
print_results(lua_State *L)
{
    int results = lua_gettop(L) - BASE;

    if (results == 0)
        return;
    luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
    for (int i = TEXT; i < TEXT + results; i++) {
        if (lua_type(L, i) == LUA_TTABLE) {
            lua_pushvalue(L, SHOW);
            lua_pushvalue(L, i);
            if (lua_pcall(L, 1, 1, 0) == LUA_OK)
                lua_replace(L, i);
            else
                lua_pop(L, 1); /* it is printed as it is */
        }
    }
    lua_getglobal(L, "print");
    lua_insert(L, TEXT);
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
    luampB_run_chunk(L, "repl", 0);
    lua_getfield(L, -1, "show");
    lua_getfield(L, -2, "complete");
    lua_remove(L, -3);
    help_open(L);
    has_editor = editor_open(L, COMPLETE);
    while ((input = read_statement(L, &status)) != INPUT_ENDED) {
        if (input == INPUT_READY) {
            if (status == LUA_OK) {
                lua_replace(L, TEXT); /* the text has done its work */
                lua_settop(L, TEXT);
                status = report_call(L, 0, LUA_MULTRET);
            }
            if (status == LUA_OK)
                print_results(L);
            else
                report_error(L, 0);
        }
        lua_settop(L, BASE);
    }
    if (has_editor)
        editor_close();
    putchar('\n');
    fflush(stdout);
}
