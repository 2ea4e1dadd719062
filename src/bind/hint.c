/*
 * hint: what is told of an error that nobody caught: its message, a hint, the traceback. A hint is either what is known of
 * an error that came from another process; or advice for the most common mistake, a name that is
 * almost right: Lua's own message says which name was called or indexed, and the known names are
 * compared with it.
 */
#include "object.h"

#include "traceback.h"

#include <stdio.h>
#include <string.h>

static const char *const process_names[] = {
    "start", "run", "join", "is_alive", "terminate", "kill", "interrupt", "send_signal", "close",
    "extend", NULL,
};
static const char *const pool_names[] = {
    "apply", "apply_async", "map", "map_async", "starmap", "imap", "imap_unordered", "close",
    "terminate", "join", NULL,
};
static const char *const result_names[] = {
    "get", "wait", "ready", "successful", "traceback", NULL,
};
static const char *const thread_names[] = {
    "start", "run", "join", "is_alive", "extend", "cancel", NULL,
};
static const char *const globals[] = {
    "process", "signal", "sync", "ipc", "pool", "thread", NULL,
};

static const struct {
    const char *class;
    const char *const *names;
} tables[] = {
    {"process.Process", process_names},
    {"thread.Thread", thread_names},
    {"pool.Pool", pool_names},
    {"a pool's result", result_names},
};

/* The name that the message quotes behind `word`: "(method 'aquire')". */
static bool
quoted_name(const char *message, const char *word, char *name, size_t size)
{
    char begin[32];
    snprintf(begin, sizeof begin, "(%s '", word);
    const char *from = strstr(message, begin);
    if (from == NULL)
        return false;
    from += strlen(begin);
    const char *to = strchr(from, '\'');
    if (to == NULL || (size_t) (to - from) >= size)
        return false;
    memcpy(name, from, (size_t) (to - from));
    name[to - from] = '\0';
    return true;
}

/* The method of any class that is nearest to the name. */
static bool
hint_method(lua_State *L, const char *name)
{
    unsigned best = LUAMPO_TOO_FAR(name);
    const char *found = NULL, *meant;
    for (int i = 1; i < LUAMPO_CLASSES; i++) {
        const struct luampO_class *class = luampO_class_of(i);
        if (class == NULL)
            continue;
        const char *known[40];
        int n = 0;
        for (const luaL_Reg *m = class->methods; m->name && n < 39; m++)
            known[n++] = m->name;
        known[n] = NULL;
        if ((meant = luampO_nearer(name, known, &best)) != NULL)
            found = lua_pushfstring(L, "hint: %s.%s has '%s'", class->module, class->name, meant);
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if ((meant = luampO_nearer(name, tables[i].names, &best)) != NULL)
            found = lua_pushfstring(L, "hint: %s has '%s'", tables[i].class, meant);
    }
    return found != NULL && best > 0; /* 0: it is a method, of something else than was called */
}

/* A field of a module: `sync.Lok`. */
static bool
hint_field(lua_State *L, const char *name)
{
    bool found = false;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (int i = 0; globals[i] && !found; i++) {
        char full[32];
        snprintf(full, sizeof full, "luamp.%s", globals[i]);
        if (lua_getfield(L, -1, full) == LUA_TTABLE) {
            for (lua_pushnil(L); !found && lua_next(L, -2); lua_pop(L, 1)) {
                if (lua_type(L, -2) != LUA_TSTRING)
                    continue;
                const char *one[2] = {lua_tostring(L, -2), NULL};
                if (luampO_nearest(name, one) && strcmp(one[0], name) != 0) {
                    lua_pushfstring(L, "hint: %s has '%s'", globals[i], one[0]);
                    lua_replace(L, 1);
                    found = true;
                }
            }
            if (found)
                lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return found;
}

/* What luampB_note_remote left: the value of an error from elsewhere, and what is known of it. */
static const char remote_value_key, remote_text_key;

void
luampB_note_remote(lua_State *L)
{
    lua_rawsetp(L, LUA_REGISTRYINDEX, &remote_text_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &remote_value_key);
}

static bool
push_remote(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &remote_value_key);
    bool is_it = lua_rawequal(L, -1, 1) && !lua_isnil(L, -1);
    lua_pop(L, 1);
    return is_it && lua_rawgetp(L, LUA_REGISTRYINDEX, &remote_text_key) == LUA_TSTRING &&
           lua_rawlen(L, -1) > 0;
}

/* Advice for the error at 1. */
static int
find_advice(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_type(L, 1) != LUA_TSTRING)
        return 0;
    const char *message = lua_tostring(L, 1);
    char name[64];
    lua_pushnil(L);
    lua_insert(L, 1);
    if (quoted_name(message, "method", name, sizeof name) && hint_method(L, name))
        return 1;
    if (quoted_name(message, "field", name, sizeof name) && hint_field(L, name)) {
        lua_settop(L, 1);
        return 1;
    }
    if (quoted_name(message, "global", name, sizeof name)) {
        const char *meant = luampO_nearest(name, globals);
        if (meant && strcmp(meant, name) != 0) {
            lua_pushfstring(L, "hint: luamp has the module '%s'", meant);
            return 1;
        }
        if (strstr(message, "a nil value") == NULL)
            return 0;
        if (luampB_in_thread()) {
            lua_pushfstring(L, "hint: a thread has globals of its own; make '%s' local where it is "
                            "defined, or require it from a module", name);
            return 1;
        }
        if (luampB_is_worker()) {
            lua_pushfstring(L, "hint: a worker has the globals of when it was forked; make '%s' local where "
                            "it is defined, or define it before the pool is made", name);
            return 1;
        }
    }
    return 0;
}

static int
find_hint(lua_State *L)
{
    return push_remote(L) || find_advice(L);
}

/* Pushes what the function finds for the error; false, and nothing pushed, if there is none. */
static bool
push_found(lua_State *L, lua_CFunction find, int message)
{
    lua_pushvalue(L, message);
    lua_pushcfunction(L, find);
    lua_insert(L, -2);
    int top = lua_gettop(L) - 2;
    if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) {
        lua_settop(L, top);
        return false;
    }
    return true;
}

int
luampB_hint(lua_State *L, int message)
{
    return push_found(L, find_hint, message);
}

int
luampB_trace(lua_State *L)
{
    bool is_hinted = push_found(L, find_advice, 1);
    luampB_push_stack(L, is_hinted ? lua_tostring(L, -1) : NULL, 2);
    return 1;
}

int
luampB_traceback(lua_State *L)
{
    if (luampB_is_interrupt(L, 1) || luampB_is_stop(L, 1))
        return 1;
    if (lua_type(L, 1) != LUA_TSTRING && lua_type(L, 1) != LUA_TNUMBER) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
            return 1;
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
        lua_replace(L, 1);
        lua_settop(L, 1);
    }
    if (luampB_hint(L, 1)) {
        lua_pushliteral(L, "\n");
        lua_insert(L, -2);
        lua_pushvalue(L, 1);
        lua_insert(L, -3);
        lua_concat(L, 3);
    }
    luampB_push_stack(L, lua_tostring(L, -1), 1);
    return 1;
}
