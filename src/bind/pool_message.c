/*
 * pool_message: how the items and the values of a list are written into messages and read from them; for
 * both sides, items.c and worker.c.
 */
#include "pool.h"

#include <stdlib.h>

static int
text_gc(lua_State *L)
{
    struct luampB_text *text = lua_touserdata(L, 1);
    free(text->bytes);
    *text = (struct luampB_text) {.bytes = NULL};
    return 0;
}

struct luampB_text *
luampB_push_text(lua_State *L)
{
    static const char key;
    struct luampB_text *text = lua_newuserdatauv(L, sizeof *text, 0);
    *text = (struct luampB_text) {.bytes = NULL};
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, text_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    }
    lua_setmetatable(L, -2);
    return text;
}

bool
luampB_add_scalar(lua_State *L, struct luampB_text *text)
{
    for (;;) {
        size_t room = text->capacity - text->length;
        size_t size = luampC_put_scalar(L, -1, text->bytes + text->length, room);
        if (size == 0)
            return false;
        if (size <= room) {
            text->length += size;
            return true;
        }
        size_t capacity = 2 * text->capacity + size + 4096;
        unsigned char *bytes = realloc(text->bytes, capacity);
        if (bytes == NULL)
            return false;
        text->bytes = bytes;
        text->capacity = capacity;
    }
}

void
luampB_spread_scalars(lua_State *L, const unsigned char *at, const unsigned char *end, int table,
                      lua_Integer first, lua_Integer n)
{
    for (lua_Integer i = 0; i < n; i++) {
        luampC_get_scalar(L, &at, end);
        lua_rawseti(L, table, first + i);
    }
}

/* encode(outgoing, root, value) */
static int
encode(lua_State *L)
{
    luampB_encode(L, 3, lua_tostring(L, 2), lua_touserdata(L, 1));
    return 0;
}

int
luampB_try_to_encode(lua_State *L, const char *root, struct luampB_outgoing *out)
{
    int value = lua_gettop(L);
    out->message.length = luampC_scalar_size(L, value);
    if (out->message.length > 0) {
        luampB_encode(L, value, root, out);
        return LUA_OK;
    }
    lua_pushcfunction(L, encode);
    lua_pushlightuserdata(L, out);
    lua_pushstring(L, root);
    lua_pushvalue(L, value);
    return lua_pcall(L, 3, 0, 0);
}

void
luampB_put_encoded(lua_State *L, struct amp_cell *queue, struct luampB_outgoing *out)
{
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    int result = luampB_send(L, queue, out, AMP_FOREVER, &what);
    if (result != 0)
        luampB_raise(L, "send to a pool", result);
}

int
luampB_decode_behind(lua_State *L, const struct amp_message *message, size_t behind)
{
    struct amp_message values = *message;
    values.bytes += behind;
    values.length -= behind;
    if (message->ncells == 0 && luampC_is_number(values.bytes, values.length)) {
        luampC_decode(L, values.bytes, values.length, 0);
        return LUA_OK;
    }
    lua_pushcfunction(L, luampB_decode_message);
    lua_pushlightuserdata(L, &values);
    return lua_pcall(L, 1, LUA_MULTRET, 0);
}

int
luampB_receive(lua_State *L, struct amp_message *message)
{
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, message->cells, message->ncells);
    int status = luampB_decode_behind(L, message, sizeof(struct luampB_task));
    luampO_arrived(&arrival);
    amp_message_done(message);
    return status;
}
