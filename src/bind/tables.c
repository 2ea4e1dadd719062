/*
 * tables: ipc.Dict and ipc.List, shared tables with no server process.
 *
 * Keys of a dict are strings, numbers and booleans, encoded as messages; a float with an
 * integer's value is that integer, as in any table. What is stored is copied. Fields that are
 * methods' names are reached by get and set.
 */
#include "ipc.h"

#include <math.h>
#include <string.h>

static const struct luampO_class dict_class, list_class;

#define KEY_ON_STACK 64

/* An encoded key: short ones in place. */
struct key {
    struct amp_bytes bytes;
    unsigned char room[KEY_ON_STACK];
};

static void
encode_key(lua_State *L, int index, struct key *key)
{
    index = lua_absindex(L, index);
    int type = lua_type(L, index);
    if (type == LUA_TNUMBER && !lua_isinteger(L, index)) {
        int is_integer;
        lua_Integer n = lua_tointegerx(L, index, &is_integer);
        if (isnan(lua_tonumber(L, index)))
            luaL_error(L, "a key of a Dict cannot be NaN");
        if (is_integer) {
            lua_pushinteger(L, n);
            lua_replace(L, index);
        }
    } else if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN) {
        luaL_error(L, "a key of a Dict is a string, number or boolean, not a %s",
                   luaL_typename(L, index));
    }
    key->bytes.length = luampC_scalar_size(L, index);
    unsigned char *room = key->room;
    if (key->bytes.length > KEY_ON_STACK)
        room = lua_newuserdatauv(L, key->bytes.length, 0);
    luampC_write_scalar(L, index, room);
    key->bytes.bytes = room;
}

/* `told` says for which key or item it is. */
static void
encode_value(lua_State *L, int index, const struct luampC_told *told, struct amp_stored *stored)
{
    struct luampC_message message;
    luampC_encode_for(L, index, 1, told, LUAMPC_FUNCTIONS | LUAMPC_OBJECTS, &message);
    *stored = (struct amp_stored) {
        .value = {message.bytes, message.length},
        .handles = message.cells,
        .n = message.ncells,
    };
}

static int
check_stored(lua_State *L, int failure)
{
    if (failure != 0 && failure != -ESTALE)
        luampB_raise(L, "store a value", failure);
    return failure;
}

/* `"n"`, `5`, `true`: a key as a script writes it. */
static const char *
push_key(lua_State *L, int key)
{
    if (lua_type(L, key) == LUA_TSTRING)
        return lua_pushfstring(L, "\"%s\"", lua_tostring(L, key));
    return luaL_tolstring(L, key, NULL);
}

static void
push_for_key(lua_State *L, int key)
{
    lua_pushfstring(L, "it is for the key %s", push_key(L, key));
}

static void
push_for_item(lua_State *L, int index)
{
    lua_pushfstring(L, "it is for the item %s", luaL_tolstring(L, index, NULL));
}

/*
 * Dict.
 */

static int
get_entry(lua_State *L, struct amp_cell *dict, int index, uint64_t *version)
{
    struct key key;
    struct amp_message message;
    encode_key(L, index, &key);
    int result = amp_dict_get(dict, key.bytes, &message, version);
    if (result == 0)
        return luampB_decode(L, &message);
    if (result != -ENOENT)
        luampB_raise(L, "read a Dict", result);
    lua_pushnil(L);
    return 1;
}

/*
 * An update whose function is called again, since the entry has changed meanwhile. If the function changes
 * it, that has no end; so an entry that is noted here is not the thread's to set. What notes it is
 * a variable to be closed of dict_update.
 */
struct retry {
    const struct amp_cell *dict;
    struct retry *outer; /* in the function of which this update is called */
    uint32_t thread;     /* a child that the function forks is another */
    struct amp_bytes key;
    unsigned char room[];
};

static __thread struct retry *retries;

static int
retry_close(lua_State *L)
{
    struct retry *retry = lua_touserdata(L, 1);
    retries = retry->outer;
    return 0;
}

/* Notes the update of the key at index 2, and leaves the variable at 4. */
static void
push_retry(lua_State *L, const struct amp_cell *dict)
{
    struct key key;
    lua_settop(L, 3);
    encode_key(L, 2, &key);
    struct retry *retry = lua_newuserdatauv(L, sizeof *retry + key.bytes.length, 0);
    *retry = (struct retry) {
        .dict = dict,
        .outer = retries,
        .thread = amp_self.tid,
        .key = {retry->room, key.bytes.length},
    };
    memcpy(retry->room, key.bytes.bytes, key.bytes.length);
    if (luaL_newmetatable(L, "luamp.retry")) {
        lua_pushcfunction(L, retry_close);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_insert(L, 4);
    lua_settop(L, 4);
    lua_toclose(L, 4);
    retries = retry;
}

/* Raises if one of these updates is of this entry. */
static void
check_not_updated(lua_State *L, const struct amp_cell *dict, int index, const struct key *key,
                  const struct retry *retry)
{
    for (; retry != NULL; retry = retry->outer) {
        if (retry->dict == dict && retry->thread == amp_self.tid && retry->key.length == key->bytes.length &&
            memcmp(retry->key.bytes, key->bytes.bytes, key->bytes.length) == 0)
            luaL_error(L, "update of %s in Dict \"%s\": its function changes this entry itself; return "
                       "the new value instead", push_key(L, index), dict->c_name);
    }
}

/* `updates` are those in the functions of which this is called. */
static int
set_entry(lua_State *L, struct amp_cell *dict, int index, int value, uint64_t version,
          const struct retry *updates)
{
    struct amp_stored stored;
    struct key key;
    bool removes = lua_isnil(L, value);
    encode_key(L, index, &key);
    if (__builtin_expect(updates != NULL, 0))
        check_not_updated(L, dict, index, &key, updates);
    if (!removes) {
        struct luampC_told told = {.root = "value", .push_rest = push_for_key, .index = index};
        encode_value(L, value, &told, &stored);
    }
    return check_stored(L, amp_dict_set(dict, key.bytes, removes ? NULL : &stored, version));
}

static int
dict_get(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &dict_class);
    uint64_t version;
    luaL_checkany(L, 2);
    return get_entry(L, object->cell, 2, &version);
}

static int
dict_set(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &dict_class);
    lua_settop(L, 3);
    set_entry(L, object->cell, 2, 3, AMP_ANY_VERSION, retries);
    return 0;
}

static int
dict_index(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &dict_class);
    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
            return 1;
        lua_pop(L, 1);
    }
    if (lua_isnil(L, 2))
        return 0;
    uint64_t version;
    return get_entry(L, object->cell, 2, &version);
}

static int
dict_newindex(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &dict_class);
    if (lua_type(L, 2) == LUA_TSTRING) {
        if (luaL_getmetafield(L, 1, "__methods") == LUA_TTABLE) {
            lua_pushvalue(L, 2);
            if (lua_rawget(L, -2) != LUA_TNIL)
                return luaL_error(L, "'%s' is a method of Dict; store under this key by "
                                  "d:set(\"%s\", value)", lua_tostring(L, 2), lua_tostring(L, 2));
        }
        lua_settop(L, 3);
    }
    set_entry(L, object->cell, 2, 3, AMP_ANY_VERSION, retries);
    return 0;
}

/* Calls the function at 3 with the value of the key at 2, and stores and leaves on top what it gives: 0; or
   -ESTALE, and nothing is stored. */
static int
update_once(lua_State *L, struct amp_cell *dict, const struct retry *outer)
{
    int result = lua_gettop(L) + 1;
    uint64_t version;
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    get_entry(L, dict, result + 1, &version);
    lua_insert(L, result + 1);
    lua_settop(L, result + 1);
    lua_call(L, 1, 1);
    int failure = set_entry(L, dict, 2, result, version, outer);
    lua_settop(L, result);
    return failure;
}

/*
 * update(k, f): stores f(the value) and returns it. f runs with nothing held; when another
 * process has changed the entry meanwhile, it is called again with what is there now.
 */
static int
dict_update(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &dict_class);
    luaL_checkany(L, 2);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    const struct retry *outer = retries;
    lua_settop(L, 3);
    if (update_once(L, object->cell, outer) == -ESTALE) {
        push_retry(L, object->cell);
        while (update_once(L, object->cell, outer) == -ESTALE)
            lua_settop(L, 4);
    }
    return 1;
}

static int
dict_len(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL || (object->class != &dict_class && object->class != &list_class) ||
        object->cell == NULL)
        object = luampO_check(L, 1, &dict_class);
    lua_pushinteger(L, amp_dict_count(object->cell));
    return 1;
}

/* pairs goes through the entries as of the moment of the call. */
struct snapshot {
    struct amp_snapshot snapshot;
    lua_Integer position; /* of a list */
};

static int
snapshot_gc(lua_State *L)
{
    struct snapshot *s = lua_touserdata(L, 1);
    struct amp_bytes key;
    struct amp_message value;
    s->snapshot.position = 0;
    while (amp_snapshot_next(&s->snapshot, &key, &value)) { /* objects that became no userdata */
        struct luampO_arrival arrival;
        luampO_arriving(&arrival, value.cells, value.ncells);
        luampO_arrived(&arrival);
    }
    amp_snapshot_done(&s->snapshot);
    return 0;
}

static int
snapshot_next(lua_State *L)
{
    struct snapshot *s = lua_touserdata(L, lua_upvalueindex(1));
    struct amp_bytes key;
    struct amp_message value;
    if (!amp_snapshot_next(&s->snapshot, &key, &value))
        return 0;
    if (key.length > 0)
        luampC_decode(L, key.bytes, key.length, 0);
    else
        lua_pushinteger(L, ++s->position);
    struct luampO_arrival arrival;
    if (value.ncells > 0)
        luampO_arriving(&arrival, value.cells, value.ncells);
    int top = lua_gettop(L);
    lua_pushcfunction(L, luampB_decode_message);
    lua_pushlightuserdata(L, &value);
    int status = lua_pcall(L, 1, 1, 0);
    if (value.ncells > 0)
        luampO_arrived(&arrival);
    if (status != LUA_OK)
        return lua_error(L);
    lua_settop(L, top + 1);
    return 2;
}

static int
table_pairs(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL || (object->class != &dict_class && object->class != &list_class) ||
        object->cell == NULL)
        object = luampO_check(L, 1, &dict_class);
    struct snapshot *s = lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    if (luaL_newmetatable(L, "luamp.snapshot")) {
        lua_pushcfunction(L, snapshot_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    int failure = amp_dict_snapshot(object->cell, &s->snapshot);
    if (failure != 0)
        return luampB_raise(L, "read a table", failure);
    lua_pushcclosure(L, snapshot_next, 1);
    return 1;
}

static void
describe_table(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    lua_pushfstring(L, "%d", (int) amp_dict_count(object->cell));
    luaL_addvalue(text);
}

/* (init[, options]): the initial table, and a table of options. */
static struct luampO_object *
new_table(lua_State *L, const struct luampO_class *class)
{
    if (!lua_isnoneornil(L, 1))
        luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_pushnil(L);
    } else {
        luaL_checktype(L, 2, LUA_TTABLE);
        for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "name") != 0)
                luaL_error(L, "unknown option '%s' of ipc.%s; there is 'name'",
                           luaL_tolstring(L, -2, NULL), class->name);
        }
        int type = lua_getfield(L, 2, "name");
        if (type != LUA_TNIL && type != LUA_TSTRING)
            luaL_error(L, "option 'name' of ipc.%s: a string expected, got %s", class->name,
                       lua_typename(L, type));
    }
    struct luampO_object *object = luampO_push_new(L, class);
    luampO_made(L, object, luampO_new_cell(L, class, 3));
    return object; /* at 4 */
}

int
luampB_new_dict(lua_State *L)
{
    struct luampO_object *object = new_table(L, &dict_class);
    if (!lua_isnil(L, 1)) {
        for (lua_pushnil(L); lua_next(L, 1); lua_settop(L, 5)) {
            lua_pushvalue(L, 5); /* the key is changed in place */
            set_entry(L, object->cell, 7, 6, AMP_ANY_VERSION, NULL);
        }
    }
    lua_settop(L, 4);
    return 1;
}

static const luaL_Reg dict_methods[] = {
    {"get", dict_get}, {"set", dict_set}, {"update", dict_update}, {NULL, NULL},
};
static const luaL_Reg dict_metamethods[] = {
    {"__newindex", dict_newindex}, {"__len", dict_len}, {"__pairs", table_pairs}, {NULL, NULL},
};
static const struct luampO_class dict_class = {
    .name = "Dict",
    .module = "ipc",
    .id = LUAMPO_DICT,
    .kind = AMP_DICT,
    .methods = dict_methods,
    .metamethods = dict_metamethods,
    .own_index = dict_index,
    .describe = describe_table,
};

/*
 * List.
 */

static int
list_index(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &list_class);
    int is_integer;
    lua_Integer i = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &is_integer) : 0;
    if (lua_type(L, 2) == LUA_TNUMBER && is_integer) {
        struct amp_message message;
        int result = i < 1 ? -ENOENT : amp_list_get(object->cell, (uint64_t) i, &message);
        if (result == 0)
            return luampB_decode(L, &message);
        if (result != -ENOENT)
            luampB_raise(L, "read a List", result);
        return 0;
    }
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

static int
list_newindex(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &list_class);
    lua_Integer i = luampB_check_integer(L, 2);
    if (lua_isnil(L, 3)) {
        if (i < 1 || i != (lua_Integer) amp_dict_count(object->cell))
            return luaL_error(L, "nil can be stored in a List only at its end; use l:pop(%I)", i);
        struct amp_message message;
        if (amp_list_pop(object->cell, (uint64_t) i, &message) == 0) {
            struct luampO_arrival arrival;
            luampO_arriving(&arrival, message.cells, message.ncells);
            luampO_arrived(&arrival);
            amp_message_done(&message);
        }
        return 0;
    }
    struct amp_stored stored;
    encode_value(L, 3, &(struct luampC_told) {.root = "value", .push_rest = push_for_item, .index = 2}, &stored);
    int failure = i < 1 ? -ERANGE : amp_list_set(object->cell, (uint64_t) i, &stored);
    if (failure == -ERANGE)
        return luaL_error(L, "index %I of List \"%s\": it has %d items, and grows by one at its "
                          "end", (LUAI_UACINT) i, object->cell->c_name,
                          (int) amp_dict_count(object->cell));
    check_stored(L, failure);
    return 0;
}

static int
list_append(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &list_class);
    if (lua_isnoneornil(L, 2))
        return luaL_error(L, "nil cannot be an item of a List");
    struct amp_stored stored;
    encode_value(L, 2, &(struct luampC_told) {.root = "value"}, &stored);
    check_stored(L, amp_list_append(object->cell, &stored));
    return 0;
}

/* pop([i]): removes and returns the last item, or that at i; nil where there is none. */
static int
list_pop(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &list_class);
    lua_Integer i = luampB_opt_integer(L, 2, 0);
    struct amp_message message;
    int result = -ENOENT;
    if (i >= 1 || lua_isnoneornil(L, 2))
        result = amp_list_pop(object->cell, (uint64_t) i, &message);
    if (result == 0)
        return luampB_decode(L, &message);
    if (result != -ENOENT)
        luampB_raise(L, "read a List", result);
    lua_pushnil(L);
    return 1;
}

int
luampB_new_list(lua_State *L)
{
    struct luampO_object *object = new_table(L, &list_class);
    lua_Integer n = lua_isnil(L, 1) ? 0 : luaL_len(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        struct amp_stored stored;
        if (lua_geti(L, 1, i) == LUA_TNIL)
            return luaL_error(L, "nil cannot be an item of a List, as at index %I",
                              (LUAI_UACINT) i);
        lua_pushinteger(L, i);
        encode_value(L, 5, &(struct luampC_told) {.root = "value", .push_rest = push_for_item, .index = 6},
                     &stored);
        check_stored(L, amp_list_append(object->cell, &stored));
        lua_settop(L, 4);
    }
    return 1;
}

static const luaL_Reg list_methods[] = {
    {"append", list_append}, {"pop", list_pop}, {NULL, NULL},
};
static const luaL_Reg list_metamethods[] = {
    {"__newindex", list_newindex}, {"__len", dict_len}, {"__pairs", table_pairs}, {NULL, NULL},
};
static const struct luampO_class list_class = {
    .name = "List",
    .module = "ipc",
    .id = LUAMPO_LIST,
    .kind = AMP_LIST,
    .methods = list_methods,
    .metamethods = list_metamethods,
    .own_index = list_index,
    .describe = describe_table,
};

void
luampB_define_tables(lua_State *L)
{
    luampO_define(L, &dict_class);
    luampO_define(L, &list_class);
}
