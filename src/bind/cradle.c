/*
 * cradle: the memory that a thread's Lua state begins in.
 *
 * A state with its libraries is some six hundred blocks, and to allocate and free them by the C library
 * is a third of what a thread costs that does little. So the first blocks of a state lie one behind
 * the other in one that its thread has; they all go with it. What does not fit is the C library's, as
 * usual. What is freed in the cradle is not used again, so it is small.
 */
#include "cradle.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool
is_within(const struct luampB_cradle *cradle, const void *block)
{
    return (uintptr_t) block - (uintptr_t) cradle->bytes < sizeof cradle->bytes;
}

/* A block of the cradle or, when it is full, the C library's. */
static void *
take(struct luampB_cradle *cradle, size_t wanted)
{
    const size_t unit = _Alignof(max_align_t);
    if (wanted > sizeof cradle->bytes - cradle->used)
        return malloc(wanted);
    void *block = cradle->bytes + cradle->used;
    cradle->used += (wanted + unit - 1) / unit * unit;
    return block;
}

/* A lua_Alloc. */
static void *
allocate(void *argument, void *block, size_t size, size_t wanted)
{
    struct luampB_cradle *cradle = argument;
    if (block == NULL)
        return wanted > 0 ? take(cradle, wanted) : NULL;
    if (!is_within(cradle, block)) {
        if (wanted > 0)
            return realloc(block, wanted);
        free(block);
        return NULL;
    }
    if (wanted <= size)
        return wanted > 0 ? block : NULL;
    void *moved = take(cradle, wanted);
    if (moved != NULL)
        memcpy(moved, block, size);
    return moved;
}

void
luampB_lay_in_cradle(lua_State *L, struct luampB_cradle *cradle)
{
    cradle->used = 0;
    lua_setallocf(L, allocate, cradle);
}
