/*
 * hint: what is told of an error that nobody caught: its message, a hint, the traceback. A hint is either what is known of
 * an error that came from another process; or advice for the most common mistake, a name that is
 * almost right: Lua's own message says which name was called or indexed, and the known names are
 * compared with it. Those of the object that was called, where it can be found on the stack: another class's
 * would mislead.
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

/* What others call a method. */
static const struct {
    const char *name, *meant;
} synonyms[] = {
    {"wait", "join"}, {"submit", "apply_async"}, {"result", "get"},
    {"push", "put"}, {"push", "append"}, {"insert", "append"}, {"pop", "get"},
    {"send", "put"}, {"write", "send"}, {"receive", "get"}, {"receive", "recv"}, {"read", "recv"},
    {"lock", "acquire"}, {"unlock", "release"}, {"signal", "notify"}, {"signal", "send_signal"}, {"broadcast", "notify_all"},
    {"cancel", "terminate"}, {"stop", "terminate"}, {NULL, NULL},
};

/* And what is no method here; of no class: in a module. */
static const struct {
    const char *class, *name, *hint;
} others[] = {
    {"ipc.Dict", "keys", "pairs(d) goes over its keys and values"},
    {"ipc.Dict", "values", "pairs(d) goes over its keys and values"},
    {"ipc.Dict", "items", "pairs(d) goes over its keys and values"},
    {"", "spawn", "process.spawn(f, ...) starts a process, thread.Thread{target = f}:start() a thread"},
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

/* The methods of a class. */
struct methods {
    char class[64];
    const char *names[40];
};

static void
methods_of_list(struct methods *methods, const char *class, const char *const *names)
{
    snprintf(methods->class, sizeof methods->class, "%s", class);
    size_t n = 0;
    for (; names[n] != NULL; n++)
        methods->names[n] = names[n];
    methods->names[n] = NULL;
}

static void
methods_of_class(struct methods *methods, const struct luampO_class *class)
{
    snprintf(methods->class, sizeof methods->class, "%s.%s", class->module, class->name);
    int n = 0;
    for (const luaL_Reg *m = class->methods; m->name != NULL && n < 39; m++)
        methods->names[n++] = m->name;
    methods->names[n] = NULL;
}

/* Has the table at the index a field, or its metatable one, that only ours have? */
static bool
has_field(lua_State *L, int index, const char *field)
{
    lua_pushstring(L, field);
    bool has = lua_rawget(L, index) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

static bool
is_of_pool(lua_State *L, int index, const char *name)
{
    bool is = false;
    if (luaL_getmetafield(L, index, "__stays") != LUA_TNIL) {
        if (luaL_getmetafield(L, index, "__name") != LUA_TNIL) {
            is = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), name) == 0;
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    return is;
}

/* Those of the value at the index, if it is one of ours. */
static bool
methods_of_value(lua_State *L, int index, struct methods *methods)
{
    struct luampO_object *object = luampO_peek(L, index);
    if (object != NULL)
        methods_of_class(methods, object->class);
    else if (lua_type(L, index) != LUA_TTABLE)
        return false;
    else if (has_field(L, index, "_process"))
        methods_of_list(methods, "process.Process", process_names);
    else if (has_field(L, index, "_thread"))
        methods_of_list(methods, "thread.Thread", thread_names);
    else if (is_of_pool(L, index, "Pool"))
        methods_of_list(methods, "pool.Pool", pool_names);
    else if (is_of_pool(L, index, "AsyncResult"))
        methods_of_list(methods, "a pool's result", result_names);
    else
        return false;
    return true;
}

static bool
hint_other(lua_State *L, const char *class, const char *name)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strcmp(others[i].name, name) == 0 && strcmp(others[i].class, class) == 0) {
            lua_pushfstring(L, "hint: %s", others[i].hint);
            return true;
        }
    }
    return false;
}

/* The method of the object's class that was meant. */
static bool
hint_method(lua_State *L, const struct methods *methods, const char *name)
{
    const char *meant = NULL;
    for (int i = 0; synonyms[i].name != NULL && meant == NULL; i++) {
        for (int j = 0; strcmp(synonyms[i].name, name) == 0 && methods->names[j] != NULL; j++) {
            if (strcmp(synonyms[i].meant, methods->names[j]) == 0)
                meant = synonyms[i].meant;
        }
    }
    if (meant == NULL)
        meant = luampO_nearest(name, methods->names);
    if (meant == NULL || strcmp(meant, name) == 0)
        return hint_other(L, methods->class, name);
    lua_pushfstring(L, "hint: %s has '%s'", methods->class, meant);
    return true;
}

/* The method that was meant of the object to the left of the call: it is the first argument, behind the nil that
   was called. Of several that may be it, among what the function that failed has on its stack, the last. Says
   whether there was any argument. */
static bool
hint_receiver(lua_State *L, const char *name, bool *has_argument)
{
    lua_Debug ar;
    struct methods methods;
    *has_argument = false;
    if (!lua_getstack(L, luampB_user_level(L), &ar))
        return false;
    lua_pushnil(L); /* the hint */
    int hint = lua_gettop(L);
    bool was_nil = false;
    const char *local;
    for (int n = 1; (local = lua_getlocal(L, &ar, n)) != NULL; n++, lua_settop(L, hint)) {
        bool is_temporary = strcmp(local, "(temporary)") == 0;
        if (is_temporary && was_nil && !lua_isnil(L, -1)) {
            *has_argument = true;
            if (methods_of_value(L, hint + 1, &methods) && hint_method(L, &methods, name))
                lua_replace(L, hint);
        }
        was_nil = is_temporary && lua_isnil(L, hint + 1);
    }
    return !lua_isnil(L, hint);
}

/* The method of any class that is nearest to the name. */
static bool
hint_any_method(lua_State *L, const char *name)
{
    unsigned best = LUAMPO_TOO_FAR(name);
    static const struct {
        const char *class;
        const char *const *names;
    } lists[] = {
        {"process.Process", process_names},
        {"thread.Thread", thread_names},
        {"pool.Pool", pool_names},
        {"a pool's result", result_names},
    };
    const char *found = NULL, *meant;
    struct methods methods;
    for (int i = 1; i < LUAMPO_CLASSES; i++) {
        if (luampO_class_of(i) == NULL)
            continue;
        methods_of_class(&methods, luampO_class_of(i));
        if ((meant = luampO_nearer(name, methods.names, &best)) != NULL)
            found = lua_pushfstring(L, "hint: %s has '%s'", methods.class, meant);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if ((meant = luampO_nearer(name, lists[i].names, &best)) != NULL)
            found = lua_pushfstring(L, "hint: %s has '%s'", lists[i].class, meant);
    }
    return found != NULL && best > 0; /* 0: it is a method, of something else than was called */
}

/* A field of a module: `sync.Lok`. */
static bool
hint_field(lua_State *L, const char *name)
{
    if (hint_other(L, "", name))
        return true;
    int top = lua_gettop(L);
    unsigned best = LUAMPO_TOO_FAR(name);
    lua_pushnil(L); /* the hint */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (int i = 0; globals[i]; i++) {
        char full[32];
        snprintf(full, sizeof full, "luamp.%s", globals[i]);
        if (lua_getfield(L, top + 2, full) == LUA_TTABLE) {
            for (lua_pushnil(L); lua_next(L, top + 3); lua_pop(L, 1)) {
                const char *known[] = {lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL, NULL};
                if (luampO_nearer(name, known, &best) == NULL)
                    continue;
                lua_pushfstring(L, "hint: %s has '%s'", globals[i], known[0]);
                lua_replace(L, top + 1);
            }
        }
        lua_settop(L, top + 2);
    }
    lua_settop(L, top + 1);
    return !lua_isnil(L, -1);
}

/* Something that is nil was called, by this name. */
static bool
hint_call(lua_State *L, const char *name, bool is_method)
{
    bool has_argument;
    if (hint_receiver(L, name, &has_argument))
        return true;
    if (!is_method)
        return hint_field(L, name);
    return !has_argument && hint_any_method(L, name); /* otherwise there is no such method */
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
    bool is_call = strstr(message, "attempt to call a nil value (") != NULL;
    if (is_call && quoted_name(message, "method", name, sizeof name))
        return hint_call(L, name, true);
    if (is_call && quoted_name(message, "field", name, sizeof name))
        return hint_call(L, name, false);
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
