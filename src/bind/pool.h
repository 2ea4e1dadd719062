/*
 * pool.h: what the files of the pool module share: how its messages begin, and what both sides do
 * with them.
 */
#ifndef LUAMP_POOL_H
#define LUAMP_POOL_H

#include "ipc.h"

enum luampB_form {
    LUAMPB_VALUES,  /* any values, for lua/pool.lua */
    LUAMPB_ONE,     /* an item by itself, or the one value that its call returned */
    LUAMPB_SCALARS, /* numbers, strings, booleans and nils, one after the other: items or values */
    LUAMPB_LIST,    /* a list of items, or of the values that their calls returned */
};

/* What begins each message. The number comes first, for the leases (core/ring.h); 0 is the pool's own.
   Then, of a task with items, its head: the function, and whether its items are lists of arguments. */
struct luampB_task {
    int64_t number;
    uint64_t form;        /* enum luampB_form */
    uint64_t n;           /* items */
    uint64_t head_length; /* bytes */
};

/* The kernel ends this worker when so many seconds are over, whatever it does then; 0: it no longer
   does. */
void luampB_limit_task(lua_State *L, struct amp_cell *tasks, uint32_t lease, double seconds);

/* A table with room for so many, which may come in any order. */
void luampB_push_list(lua_State *L, lua_Integer n);

/* Scalars one after the other, in memory that grows: a userdata. */
struct luampB_text {
    unsigned char *bytes;
    size_t length, capacity;
};

struct luampB_text *luampB_push_text(lua_State *L);

/* Adds the value on the top of the stack: false when it is no scalar, or there is no memory. */
bool luampB_add_scalar(lua_State *L, struct luampB_text *text);

/* Puts n scalars into the table at the index, from its `first` on. */
void luampB_spread_scalars(lua_State *L, const unsigned char *at, const unsigned char *end, int table,
                           lua_Integer first, lua_Integer n);

/* Encodes the value on the top of the stack: LUA_OK, or a status with the error pushed. In the error the path
   of what cannot be sent begins with the root: "list[1]" is the first item of a chunk, which of one that
   goes by itself is the whole. */
int luampB_try_to_encode(lua_State *L, const char *root, struct luampB_outgoing *out);

/* Puts a message into one of the pool's queues; raises. */
void luampB_put_encoded(lua_State *L, struct amp_cell *queue, struct luampB_outgoing *out);

/* Decodes the values behind so many bytes of a message whose objects are arriving. LUA_OK: they are pushed;
   otherwise the error is. */
int luampB_decode_behind(lua_State *L, const struct amp_message *message, size_t behind);

/* The same of one that has only its header before the values; and ends it. */
int luampB_receive(lua_State *L, struct amp_message *message);

extern const luaL_Reg luampB_items_natives[], luampB_worker_natives[];

#endif
