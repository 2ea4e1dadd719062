/*
 * codec_state.h: what the codec keeps in each Lua state.
 *
 * Included by the codec's own files.  It is one userdata in the registry: struct codec, with what
 * belongs to Lua in its user values.  Beside it stands what more than one of those files needs to
 * get along with a Lua state: room on the stack, and the hash of an address.
 */
#ifndef LUAMP_CODEC_STATE_H
#define LUAMP_CODEC_STATE_H

#include <stddef.h>
#include <stdint.h>

#include <lua.h>

struct codec {
    int has_finalizer;
    int closed;                         /* it was called: the Lua state is being closed */
    struct names *names;                /* NULL: to be built */
    struct scratch *scratch;            /* NULL: to be made */
};

enum {                                  /* the user values of struct codec */
    CODEC_CLASSES = 1,                  /* class name -> metatable */
    CODEC_CLASS_NAMES,                  /* metatable -> class name */
    CODEC_DUMPS,                        /* function -> its bytecode; weak */
    CODEC_NAMES,                        /* the userdata that is codec->names */
    CODEC_SCRATCH,                      /* the userdata that is codec->scratch */
    CODEC_VALUES = CODEC_SCRATCH
};

/* Pushes the userdata of this Lua state's struct codec, which is made when first asked for. */
struct codec *luampC_push_codec (lua_State *L);

/* The same, without pushing it, and faster.  Needs a few free stack slots all the same. */
struct codec *luampC_codec (lua_State *L);

/*
 * Stack slots that are kept free above the innermost table or function, for whatever one step of
 * the encoder or decoder pushes.
 */
#define SLOTS_OF_WORK 12

/*
 * Makes room on the Lua stack: the more, the deeper the nesting already is.  Returns how many
 * slots are free now, or 0 when Lua's stack is at its limit.
 */
int luampC_grow_stack (lua_State *L, size_t depth);

/* The place of the thing at this address in a table of 1 << bits. */
static inline size_t
hash_pointer (const void *pointer, unsigned bits)
{
    return (size_t) (((uint64_t) (uintptr_t) pointer >> 4) * UINT64_C(0x9e3779b97f4a7c15)
                     >> (64 - bits));
}

#endif
