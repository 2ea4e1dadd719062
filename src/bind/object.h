/*
 * object: userdata of every class, made alike.
 *
 * A luamp object in Lua is a userdata that begins with struct luampO_object: its class, and the
 * cell it stands for. One Lua state has at most one for a cell and class, so that an object that
 * comes back is the same value. The state's member holds the cell for as long as the userdata
 * lives.
 *
 * "Is it of the right class" costs a compare: the first word of the userdata is the address of
 * the class.
 */
#ifndef LUAMP_OBJECT_H
#define LUAMP_OBJECT_H

#include "bind.h"
#include "wire.h"

#include <string.h>

struct luampO_object;

struct luampO_class {
    const char *name;   /* "Lock" */
    const char *module; /* "sync" */
    const char *maker;  /* of its objects; NULL: the function has the class's name */
    enum luampO_class_id id;
    enum amp_kind kind;
    const luaL_Reg *methods;
    const luaL_Reg *metamethods; /* or NULL */
    /* Pushes the value of the field at index 2, or nothing and returns 0; NULL: methods are all. */
    int (*field)(lua_State *L, struct luampO_object *object);
    /* Instead: __index itself, with the methods as its upvalue. */
    lua_CFunction own_index;
    /* Adds what stands in brackets when it is printed; NULL: nothing. */
    void (*describe)(lua_State *L, struct luampO_object *object, luaL_Buffer *text);
    /* Why the object cannot be sent, or NULL. */
    const char *(*stays)(struct luampO_object *object);
    /* Whether an object that arrives is of the class; NULL: when the cell is of its kind. Raises
       when it is, and cannot be used in this process. */
    bool (*arrives)(lua_State *L, struct amp_cell *cell);
    /* Frees what is in `attached`. Called once, while the cell is still held. */
    void (*detach)(struct luampO_object *object);
};

/* Those that are known, by id. A state that opens a module writes what the others have written. */
extern const struct luampO_class *_Atomic luampO_classes[LUAMPO_CLASSES];

static inline const struct luampO_class *
luampO_class_of(int id)
{
    return atomic_load_explicit(&luampO_classes[id], memory_order_relaxed); /* it is constant data */
}

struct luampO_object {
    const struct luampO_class *class;
    struct amp_cell *cell; /* NULL once closed */
    amp_handle handle;
    void *attached;        /* this process's own, of the class; NULL: nothing */
    bool is_part;          /* of another object, which its user value keeps alive */
    bool owes_error;       /* a queue: its user value is what the next get raises */
};

/* The class with this id, or NULL. Its module may not have been needed here so far: then it is required. */
const struct luampO_class *luampO_known_class(lua_State *L, uint32_t id);

/* Makes the class known to the state: its metatable. */
void luampO_define(lua_State *L, const struct luampO_class *class);

/* Raises: the argument is no object of the class. */
int luampO_wrong(lua_State *L, int index, const struct luampO_class *class);
int luampO_closed(lua_State *L, struct luampO_object *object);

/* The userdata at the index that is large enough to be an object, or NULL: a light one has no length. */
static inline void *
luampO_userdata(lua_State *L, int index)
{
    void *userdata = lua_touserdata(L, index);
    return userdata && lua_rawlen(L, index) >= sizeof(struct luampO_object) ? userdata : NULL;
}

/* The object of any class at the index, or NULL. */
static inline struct luampO_object *
luampO_peek(lua_State *L, int index)
{
    struct luampO_object *object = luampO_userdata(L, index);
    if (object == NULL)
        return NULL;
    for (int i = 1; i < LUAMPO_CLASSES; i++) {
        if (object->class == luampO_class_of(i) && object->class != NULL)
            return object;
    }
    return NULL;
}

/* The object of this class at the index, open; raises otherwise. */
static inline struct luampO_object *
luampO_check(lua_State *L, int index, const struct luampO_class *class)
{
    struct luampO_object *object = luampO_userdata(L, index);
    if (__builtin_expect(object == NULL || object->class != class, 0))
        luampO_wrong(L, index, class);
    if (__builtin_expect(object->cell == NULL, 0))
        luampO_closed(L, object);
    return object;
}

/*
 * Making. The arguments of a constructor are either plain or one table of options: afterwards
 * the values stand at 1 ... n in the order of `options`, which ends with NULL, and the name, a
 * string or nil, behind them. What is misspelt or unknown raises, and so does an option of the table
 * that has another type than it says: "maxsize:integer". Of a table, positional entries count as
 * plain arguments.
 */
void luampO_arguments(lua_State *L, const struct luampO_class *class, const char *const *options);

/* Takes a cell, named by the value at `name` or, when that is nil, by the line that calls.
   Between this and luampO_made nothing may raise. */
struct amp_cell *luampO_new_cell(lua_State *L, const struct luampO_class *class, int name);

/* The same with an enum amp_kind and name given; for parts of objects. -ENOMEM etc. raise. */
struct amp_cell *luampO_new_part(lua_State *L, enum amp_kind kind, const char *name);

/* Pushes a userdata for a new object, not yet one. Before luampO_new_cell, since it may raise. */
struct luampO_object *luampO_push_new(lua_State *L, const struct luampO_class *class);

/* Ties the two: the object exists. */
void luampO_made(lua_State *L, struct luampO_object *object, struct amp_cell *cell);

/* Tells the collector of so much shared memory: it sees the userdata only. May run finalizers. */
void luampO_charge(lua_State *L, size_t bytes);

/* Gives the cell up after a failure, and raises. */
int luampO_failed(lua_State *L, const struct luampO_class *class, struct amp_cell *cell,
                  int failure);

/* Pushes the object of a cell that the member holds already. */
void luampO_push(lua_State *L, const struct luampO_class *class, amp_handle handle);

/* Pushes a class's view of the object at `whole`: it lives as long. */
void luampO_push_part(lua_State *L, const struct luampO_class *class, int whole);

/* Lets go of the cell: the userdata stays, closed. */
void luampO_close(lua_State *L, struct luampO_object *object);

/*
 * Sending.
 */

int luampO_to_wire(lua_State *L, int index, struct luampO_wire *out, const char **why);
int luampO_from_wire(lua_State *L, const struct luampO_wire *wire);

/* Objects of a message that is being decoded are held by the member, but nobody's userdata yet:
   they stay until luampO_arrived, which lets go of those that did not become one. */
struct luampO_arrival {
    const uint64_t *cells;
    uint32_t n;
    struct luampO_arrival *before;
};
void luampO_arriving(struct luampO_arrival *arrival, const uint64_t *cells, uint32_t n);
void luampO_arrived(struct luampO_arrival *arrival);

/*
 * Names.
 */

/* Pushes a name for what the running line of the script makes: the variable that it assigns the
   call's result of this number to, from 0 on; else file:line. */
void luampO_push_name(lua_State *L, int result);

/* Pushes `Lock "tickets" (held by Process-2)`. */
void luampO_push_description(lua_State *L, struct luampO_object *object);

/* The name of the member that holds a lock, or NULL when nobody does. The buffer is the
   caller's. */
const char *luampO_holder(const struct amp_lock *lock, char buffer[AMP_NAME_SIZE]);

/* What objects of this kind are called. */
const char *luampO_kind_name(uint32_t kind);

/* Pushes what a wait is for, in words. */
void luampO_push_awaited(lua_State *L, const struct amp_what *what);

/* Pushes the error of the deadlock for which a wait just gave -EDEADLK, telling who waits for whom; or
   raises it. */
void luampO_push_deadlock(lua_State *L);
int luampO_raise_deadlock(lua_State *L);

/* The known name most like this one, if it is close enough to be meant; names ends with NULL. */
const char *luampO_nearest(const char *name, const char *const *names);

/* The same for several lists: only a name that is nearer than *best is found, and *best then
   says how near. It begins as LUAMPO_TOO_FAR: further away it is another word. */
#define LUAMPO_TOO_FAR(name) (strlen(name) <= 3 ? 2u : 3u)
const char *luampO_nearer(const char *name, const char *const *names, unsigned *best);

#endif
