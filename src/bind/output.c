/*
 * output: lines of output that stay whole, whoever writes them.
 *
 * Processes: from the first fork on stdout is line-buffered with a large buffer, so that a line is
 * one write of the system's.
 *
 * Threads: they share the C library's streams, and Lua's own print and write hand over a line piece
 * by piece. So these are replaced by ones that lock the stream for the whole of a call. What a value
 * reads as is found out before, since that may run Lua code.
 *
 * A fork must not fall into a line of another thread, and must not find something in a buffer, which
 * parent and child would then both write. So the calls here, and a fork, exclude each other; while
 * other threads live, only stdout and stderr are written out before a fork, because one of them may
 * sleep in a read and have its stream locked for as long.
 */
#include "output.h"

#include "bind.h"
#include "thread.h"

#include <lualib.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BUFFERED 65536 /* a line up to this is one write */

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static bool is_line_buffered; /* under the mutex */
static bool has_read_stdin;   /* the same; as it was before the fork */

/*
 * Whole calls.
 */

static int
print(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&line, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_addchar(&line, '\n');
    luaL_pushresult(&line);
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    pthread_mutex_lock(&output);
    fwrite(text, 1, length, stdout);
    fflush(stdout);
    pthread_mutex_unlock(&output);
    return 0;
}

/* Writes the `count` arguments from `first` on, as Lua's own write does, and returns the file, which
   stands behind them. */
static int
write_all(lua_State *L, FILE *stream, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        if (lua_type(L, i) != LUA_TNUMBER)
            luaL_checkstring(L, i);
    }
    int error = 0;
    bool is_standard = stream == stdout || stream == stderr;
    if (is_standard)
        pthread_mutex_lock(&output);
    flockfile(stream);
    for (int i = first; i < first + count; i++) {
        bool is_written;
        if (lua_isinteger(L, i)) {
            is_written = fprintf(stream, LUA_INTEGER_FMT, (LUAI_UACINT) lua_tointeger(L, i)) > 0;
        } else if (lua_type(L, i) == LUA_TNUMBER) {
            is_written = fprintf(stream, LUA_NUMBER_FMT, (LUAI_UACNUMBER) lua_tonumber(L, i)) > 0;
        } else {
            size_t length;
            const char *text = lua_tolstring(L, i, &length);
            is_written = fwrite(text, 1, length, stream) == length;
        }
        if (!is_written && error == 0)
            error = errno;
    }
    funlockfile(stream);
    if (is_standard)
        pthread_mutex_unlock(&output);
    errno = error;
    return error == 0 ? 1 : luaL_fileresult(L, 0, NULL);
}

static int
file_write(lua_State *L)
{
    luaL_Stream *file = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    if (file->closef == NULL)
        return luaL_error(L, "attempt to use a closed file");
    int count = lua_gettop(L) - 1;
    lua_pushvalue(L, 1);
    return write_all(L, file->f, 2, count);
}

static int
io_write(lua_State *L)
{
    int count = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
    luaL_Stream *file = luaL_testudata(L, -1, LUA_FILEHANDLE);
    if (file == NULL || file->closef == NULL)
        return luaL_error(L, "default output file is closed");
    return write_all(L, file->f, 1, count);
}

/* Pushes the table of the file's methods. */
static void
push_file_methods(lua_State *L)
{
    if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE)
        lua_getfield(L, -1, "__index");
    else
        lua_pushnil(L);
    lua_remove(L, -2);
}

/* The three functions, ours and Lua's own: those are the same in every state. */
static struct replaced {
    const char *field;
    lua_CFunction own, ours;
} replaced[] = {
    {"print", NULL, print}, {"write", NULL, io_write}, {"write", NULL, file_write},
};

/* Pushes the table that the function is a field of. */
static void
push_place(lua_State *L, const struct replaced *function)
{
    if (function->ours == print)
        lua_pushglobaltable(L);
    else if (function->ours == io_write)
        lua_getglobal(L, LUA_IOLIBNAME);
    else
        push_file_methods(L);
}

static void
find_own(void)
{
    lua_State *L = luaL_newstate();
    if (L == NULL)
        return;
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    luaL_requiref(L, LUA_IOLIBNAME, luaopen_io, 1);
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        push_place(L, &replaced[i]);
        lua_getfield(L, -1, replaced[i].field);
        replaced[i].own = lua_tocfunction(L, -1);
    }
    lua_close(L);
}

void
luampB_open_output(lua_State *L, bool is_new)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!is_new)
        pthread_once(&once, find_own);
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        push_place(L, &replaced[i]);
        bool is_own = is_new;
        if (!is_new && lua_istable(L, -1)) {
            lua_getfield(L, -1, replaced[i].field);
            is_own = replaced[i].own != NULL && lua_tocfunction(L, -1) == replaced[i].own;
            lua_pop(L, 1);
        }
        if (is_own) {
            lua_pushcfunction(L, replaced[i].ours);
            lua_setfield(L, -2, replaced[i].field);
        }
        lua_pop(L, 1);
    }
}

/*
 * Forks, and the end.
 */

void
luampB_hold_output(void)
{
    pthread_mutex_lock(&output);
    if (luampB_threads_live()) {
        fflush(stdout);
        fflush(stderr);
    } else {
        fflush(NULL);
    }
    if (!is_line_buffered) /* on the heap: in .bss it would part our variables by 16 pages */
        setvbuf(stdout, malloc(LINE_MAX_BUFFERED), _IOLBF, LINE_MAX_BUFFERED);
    is_line_buffered = true;
    has_read_stdin = __fbufsize(stdin) > 0;
}

void
luampB_release_output(void)
{
    pthread_mutex_unlock(&output);
}

/* Its stdin is empty, and what the parent had read ahead is not its own. */
void
luampB_output_in_child(void)
{
    output = (pthread_mutex_t) PTHREAD_MUTEX_INITIALIZER;
    if (has_read_stdin) {
        __fpurge(stdin);
        clearerr(stdin);
    }
}

bool
luampB_flush_output(const char *name)
{
    bool threads_live = luampB_threads_live();
    if (!threads_live)
        fflush(NULL);
    else if (__fpending(stdout) > 0)
        fflush(stdout);
    bool failed = ferror_unlocked(stdout);
    int error = failed ? errno : 0;
    if (threads_live)
        fcloseall(); /* writes all streams out, and waits for no lock of theirs */
    if (failed)
        dprintf(STDERR_FILENO, "%s: cannot write to standard output: %s\n", name, strerror(error));
    return !failed;
}
