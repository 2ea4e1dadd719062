/*
 * editor: see editor.h.
 *
 * libedit is used by the interface that it has in common with GNU readline, in the form where it is
 * handed one key after the other: so we wait for the keys ourselves, and a signal's handler in Lua
 * runs at once. The names below are those of libedit's <editline/readline.h>.
 *
 * The history is ~/.luamp_history, or the file that the variable LUAMP_HISTORY names; set to nothing,
 * none is kept. It has the last HISTORY_MAX statements.
 */
#include "editor.h"

#include <lauxlib.h>

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBEDIT "libedit.so.2"
#define HISTORY_MAX 1000

typedef char **completion_function(const char *text, int start, int end);
typedef void line_function(char *line);

static struct {
    void (*rl_callback_handler_install)(const char *prompt, line_function *take);
    void (*rl_callback_read_char)(void);
    void (*rl_callback_handler_remove)(void);
    int (*add_history)(const char *line);
    int (*read_history)(const char *file);
    int (*write_history)(const char *file);
    void (*stifle_history)(int most);
    const char **rl_readline_name;
    const char **rl_basic_word_break_characters;
    completion_function **rl_attempted_completion_function;
    int *rl_attempted_completion_over;
    int *rl_completion_append_character;
    int *rl_catch_signals;
    char **rl_line_buffer;
} edit;

#define SYMBOL(name) {#name, (void **) &edit.name}
static const struct {
    const char *name;
    void **address;
} symbols[] = {
    SYMBOL(rl_callback_handler_install),
    SYMBOL(rl_callback_read_char),
    SYMBOL(rl_callback_handler_remove),
    SYMBOL(add_history),
    SYMBOL(read_history),
    SYMBOL(write_history),
    SYMBOL(stifle_history),
    SYMBOL(rl_readline_name),
    SYMBOL(rl_basic_word_break_characters),
    SYMBOL(rl_attempted_completion_function),
    SYMBOL(rl_attempted_completion_over),
    SYMBOL(rl_completion_append_character),
    SYMBOL(rl_catch_signals),
    SYMBOL(rl_line_buffer),
};

static struct {
    lua_State *L;     /* of the completion */
    int complete;     /* its function's place on the stack */
    char *history;    /* the file's name, or NULL */
    bool is_reading;  /* a prompt is shown */
    bool is_complete; /* a line has come, or the end: */
    char *line;
} editor;

static bool
load_library(void)
{
    void *library = dlopen(LIBEDIT, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return false;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        *symbols[i].address = dlsym(library, symbols[i].name);
        if (*symbols[i].address == NULL)
            return false;
    }
    return true;
}

static char *
history_file(void)
{
    const char *named = getenv("LUAMP_HISTORY"), *home = getenv("HOME");
    char *path = NULL;
    if (named)
        return *named ? strdup(named) : NULL;
    if (home == NULL || asprintf(&path, "%s/.luamp_history", home) < 0)
        return NULL;
    return path;
}

/* How many bytes all of the list's texts begin with. */
static size_t
common_length(char *const *list)
{
    size_t length = strlen(list[0]);
    for (size_t i = 1; list[i] != NULL; i++) {
        size_t same = 0;
        while (same < length && list[i][same] == list[0][same])
            same++;
        length = same;
    }
    return length;
}

/* What Lua says as libedit wants it: first what all have in common, then each; NULL: nothing. */
static char **
complete(const char *text, int start, int end)
{
    (void) start, (void) end;
    *edit.rl_attempted_completion_over = 1; /* or it goes on with names of files */
    lua_State *L = editor.L;
    int top = lua_gettop(L);
    char **list = NULL;
    lua_pushvalue(L, editor.complete);
    lua_pushstring(L, text);
    if (lua_checkstack(L, LUA_MINSTACK) && lua_pcall(L, 1, 1, 0) == LUA_OK && lua_istable(L, -1)) {
        size_t n = lua_rawlen(L, -1);
        if (n > 0)
            list = calloc(n + 2, sizeof *list);
        for (size_t i = 1; list != NULL && i <= n; i++) {
            lua_rawgeti(L, -1, (lua_Integer) i);
            list[i] = strdup(lua_tostring(L, -1));
            lua_pop(L, 1);
        }
        if (list != NULL)
            list[0] = strndup(list[1], common_length(list + 1));
    }
    lua_settop(L, top);
    return list;
}

bool
editor_open(lua_State *L, int complete_index)
{
    const char *terminal = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || terminal == NULL ||
        strcmp(terminal, "dumb") == 0 || !load_library())
        return false;
    editor.L = L;
    editor.complete = complete_index;
    editor.history = history_file();
    *edit.rl_readline_name = "luamp";
    *edit.rl_catch_signals = 0;
    *edit.rl_basic_word_break_characters = " \t\n\"\\'><=;+-*/%^~#{}()[],&|";
    *edit.rl_completion_append_character = '\0';
    *edit.rl_attempted_completion_function = complete;
    edit.stifle_history(HISTORY_MAX);
    if (editor.history)
        edit.read_history(editor.history);
    return true;
}

void
editor_close(void)
{
    editor_drop();
    if (editor.history)
        edit.write_history(editor.history);
    free(editor.history);
    editor.history = NULL;
}

static void
take_line(char *line)
{
    edit.rl_callback_handler_remove(); /* now: it puts the terminal back to what it was */
    editor.is_reading = false;
    editor.is_complete = true;
    editor.line = line;
}

void
editor_drop(void)
{
    if (editor.is_reading)
        edit.rl_callback_handler_remove();
    editor.is_reading = false;
}

int
editor_read(const char *prompt, char **line)
{
    editor.is_complete = false;
    if (!editor.is_reading) {
        editor.is_reading = true;
        edit.rl_callback_handler_install(prompt, take_line);
    }
    while (!editor.is_complete) {
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&input, 1, -1) < 0) {
            if (errno == EINTR)
                return -1;
            editor_drop();
            return 0;
        }
        edit.rl_callback_read_char();
    }
    *line = editor.line;
    return editor.line != NULL;
}

void
editor_remember(const char *text)
{
    if (*text != '\0')
        edit.add_history(text);
}
