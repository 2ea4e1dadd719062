/*
 * fake_object.c: stands in for the object layer where the codec is tested alone.
 *
 * An object is a userdata that holds a number.  It travels as one cell and an extra word that is
 * its complement, so that a wire whose two words do not agree names nothing alive.
 */
#include "fake_object.h"

#include <stdint.h>

#include <lauxlib.h>

#include "object.h"

#define FAKE_KIND 7
#define DEAD 13

static void
push_object (lua_State *L, lua_Integer n)
{
    lua_Integer *object = lua_newuserdatauv(L, sizeof *object, 0);

    *object = n;
    luaL_newmetatable(L, "fake object");
    lua_setmetatable(L, -2);
}

int
fake_object_new (lua_State *L)
{
    push_object(L, luaL_checkinteger(L, 1));
    return 1;
}

int
luampO_to_wire (lua_State *L, int index, struct luampO_wire *out, const char **why)
{
    const lua_Integer *object = luaL_testudata(L, index, "fake object");

    if (!object)
        return 0;
    if (*object < 0) {
        *why = "a negative object is staying at home";
        return -1;
    }
    *out = (struct luampO_wire) {
        .kind = FAKE_KIND,
        .ncells = 1,
        .cell = {(uint64_t) *object},
        .extra = ~(uint64_t) *object
    };
    return 1;
}

int
luampO_from_wire (lua_State *L, const struct luampO_wire *wire)
{
    if (wire->kind != FAKE_KIND || wire->ncells != 1 || wire->cell[0] != ~wire->extra
        || wire->cell[0] == DEAD)
        return 0;
    push_object(L, (lua_Integer) wire->cell[0]);
    return 1;
}
