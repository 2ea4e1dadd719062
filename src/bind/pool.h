/*
 * pool.h: what the files of the pool module share: how its messages begin.
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

extern const luaL_Reg luampB_items_natives[];

#endif
