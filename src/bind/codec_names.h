/*
 * codec_names.h: what travels by name instead of by value.
 *
 * Included by the encoder, which looks each table and function up here, and by the decoder, which
 * finds the receiver's own.  See codec_names.c for how the names come about.
 */
#ifndef LUAMP_CODEC_NAMES_H
#define LUAMP_CODEC_NAMES_H

#include "codec_state.h"

enum kind {
    KIND_GLOBALS,                       /* in order of precedence */
    KIND_CLASS,
    KIND_MODULE,
    KIND_MEMBER
};

/* The strings belong to the table that is the names' user value. */
struct name {
    enum kind kind;
    const char *module;                 /* the class's or the module's name */
    size_t module_length;
    const char *key;                    /* of a member of the module */
    size_t key_length;
    uint64_t met;                       /* of a class: the stamp of the last message with it */
};

/*
 * An open-addressing map.  Each table that is sent is looked up, and hardly one is found: the
 * filter has a bit set for each object, and answers most of the time.
 */
#define FILTER_BITS 12

struct names {
    uint64_t filter[1 << (FILTER_BITS - 6)];
    uint64_t fingerprint;               /* of package.loaded, when this was built */
    unsigned bits;
    size_t room;                        /* for so many more */
    struct name *name;
    const void *object[];
};

/* The name that was given to the object at this address, or NULL. */
static inline struct name *
find_name (const struct names *names, const void *object)
{
    size_t bit = hash_pointer(object, FILTER_BITS);

    if (!(names->filter[bit >> 6] >> (bit & 63) & 1))
        return NULL;
    size_t mask = ((size_t) 1 << names->bits) - 1;
    size_t i = hash_pointer(object, names->bits);
    while (names->object[i]) {
        if (names->object[i] == object)
            return &names->name[i];
        i = (i + 1) & mask;
    }
    return NULL;
}

/* Builds the state's names anew: codec->names.  Pushes the userdata that they are. */
struct names *luampC_build_names (lua_State *L);

/* Are the modules in package.loaded those that the names were built from? */
int luampC_names_know_loaded (lua_State *L, const struct names *names);

/* Is the value on the top of the stack still what is known by this name? */
int luampC_name_holds (lua_State *L, const struct name *name);

/* Does the module on the top of the stack go by its name, rather than as the data that it is? */
int luampC_is_library (lua_State *L, const struct names *names);

/* Is this a module of Lua's own, which every receiver has? */
int luampC_is_standard_module (const char *name);

/* Pushes package.loaded, as the registry has it; returns whether it is a table. */
int luampC_push_loaded (lua_State *L);

#endif
