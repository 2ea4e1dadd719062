/*
 * lua: where programs in C and Lua states meet: the same object as a handle, and as a value.
 */
#include "capi.h"

#include "bind/object.h"

void
luamp_push(lua_State *L, luamp_Object *object)
{
    int result = luampA_enter(object, LUAMPA_ANY);
    if (result != LUAMP_OK)
        luaL_error(L, "luamp_push: %s", luamp_strerror(result));
    luaL_checkstack(L, 4, NULL);
    const struct luampO_class *class = luampO_known_class(L, (uint32_t) object->class);
    if (class == NULL)
        luaL_error(L, "luamp_push: luamp's modules are not open in this state");
    amp_hold(object->handle); /* this thread does, whoever has the handle */
    luampO_push(L, class, object->handle);
}

int
luamp_to(lua_State *L, int index, luamp_Object **object)
{
    if (object == NULL)
        return LUAMP_MISUSE;
    *object = NULL;
    const struct luampO_object *value = luampO_peek(L, index);
    if (value == NULL || value->cell == NULL || value->is_part)
        return LUAMP_WRONG_KIND;
    int result = luampA_join(NULL);
    return result == LUAMP_OK ? luampA_handle(value->handle, value->class->id, object) : result;
}
