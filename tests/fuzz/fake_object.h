/* fake_object.h: a Lua function that makes the objects of fake_object.c. */
#ifndef FAKE_OBJECT_H
#define FAKE_OBJECT_H

#include <lua.h>

/* object(n) -> an object; sending one with a negative n is refused, receiving 13 finds it dead. */
int fake_object_new (lua_State *L);

#endif
