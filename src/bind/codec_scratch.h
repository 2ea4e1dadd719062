/*
 * codec_scratch.h: the encoder's memory, which it keeps from message to message.
 *
 * Included by the encoder, and by codec_path.c for struct open.  A scratch holds the message's
 * bytes and all that is needed to write them.  See codec_scratch.c for whose it is and when.
 */
#ifndef LUAMP_CODEC_SCRATCH_H
#define LUAMP_CODEC_SCRATCH_H

#include "codec_state.h"

/* Where in the message something was first written.  Valid when its stamp is the scratch's. */
struct place {
    const void *thing;
    uint64_t where;                     /* the stamp, and OFFSET_BITS of offset */
};

#define OFFSET_BITS 40
#define LONGEST_MESSAGE ((UINT64_C(1) << OFFSET_BITS) - 1)

/*
 * A short string, and its slot if it was seen twice in this message.  One that two messages had is
 * known: its size is not 0, the scratch's user value of the same place keeps it alive, and so its
 * address says what it is.
 */
struct common {
    const void *string;
    uint64_t stamp;                     /* of the last message with it */
    unsigned char has_slot;
    unsigned char slot;
    unsigned char size;                 /* how much of `bytes` is written for it, or 0 */
    unsigned char bytes[24];
};

#define COMMON_BITS 7

/* An open table or function. */
struct open {
    size_t start;                       /* of a table: its tag; of a function: `upvalues` */
    uint64_t items;                     /* list items, or upvalues, written so far */
    uint64_t pairs;                     /* pairs begun so far */
    uint64_t border;                    /* of a list: no item lies beyond */
    int index;                          /* where it stands on the Lua stack */
    unsigned char doing;                /* enum doing */
    unsigned char at_key;               /* the key is being written, not the value */
    unsigned char tag;                  /* of a table: TAG_RECORD, TAG_TABLE8 or TAG_TABLE32 */
};

enum doing {
    DOING_ITEMS,                        /* while the keys come as 1, 2, 3 */
    DOING_PAIRS,
    DOING_UPVALUES
};

struct scratch {
    lua_Alloc allocate;
    void *allocator;
    int closed;                         /* the Lua state is being closed */
    int busy;                           /* an encode is under way, or was ended by an error */

    unsigned char *bytes;
    size_t capacity;
    size_t length;                      /* of the last message */

    struct open *open;
    size_t open_capacity;
    size_t depth;

    uint64_t *cells;
    size_t cells_capacity;
    size_t ncells;

    struct place *place;                /* an open-addressing map */
    unsigned place_bits;
    size_t nplaces;

    uint64_t stamp;                     /* of this message */
    uint64_t met;                       /* the stamp of the last one with a class in it */
    unsigned nslots;
    struct common common[1 << COMMON_BITS];

    size_t size;                        /* of all that is allocated */
    unsigned spacious;                  /* so many messages have needed little of a huge scratch */
};

/*
 * The state's scratch, to encode with; it is busy from now on.  It may go once other Lua code has
 * run: who lets that happen pushes its userdata before.  Raises when the Lua state is being closed.
 */
struct scratch *luampC_take_scratch (lua_State *L, struct codec *codec);

/* Makes the scratch at index the state's: the one for the next message, and for luampC_keep(). */
void luampC_set_scratch (lua_State *L, int index);

/* Forgets what was written.  For the beginning of a message. */
void luampC_clear_scratch (struct scratch *s);

/* These return 0 when there is no memory. */
int luampC_grow_bytes (struct scratch *s, size_t length, size_t more);
int luampC_grow_open (struct scratch *s);
int luampC_grow_cells (struct scratch *s);
int luampC_grow_places (struct scratch *s);

#endif
