/*
 * codec_scratch.c: the encoder's memory, which it keeps from message to message.
 *
 * Called by the encoder, and by who keeps a message (luampC_keep).
 *
 * Invariants:
 *   - A state has one scratch, and uses it for each message in turn.  Where that is busy, because
 *     a finalizer encodes while a message is being written, a new one takes its place.  An error
 *     may leave one busy: then it is never used again, and collected.
 *   - All memory hangs from a userdata, so that no error can lose it.  It is not itself userdata:
 *     to grow runs no finalizer and raises nothing.
 *   - The stamp makes what earlier messages left in the maps worthless; nothing is erased between
 *     messages, until the stamps are used up.
 */
#include "codec_scratch.h"

#include <string.h>

#include <lauxlib.h>

#include "codec.h"

#define LAST_STAMP ((1u << (64 - OFFSET_BITS)) - 1)

#define HUGE_SCRATCH ((size_t) 1 << 20)
#define SPACIOUS_MESSAGES 16

static void *
resize (struct scratch *s, void *block, size_t old_size, size_t new_size)
{
    void *resized = s->allocate(s->allocator, block, old_size, new_size);

    if (resized || new_size == 0)
        s->size += new_size - old_size;
    return resized;
}

static size_t
size_of_places (const struct scratch *s)
{
    return s->place ? sizeof *s->place << s->place_bits : 0;
}

static void
free_scratch (struct scratch *s)
{
    resize(s, s->bytes, s->capacity, 0);
    resize(s, s->open, s->open_capacity * sizeof *s->open, 0);
    resize(s, s->cells, s->cells_capacity * sizeof *s->cells, 0);
    resize(s, s->place, size_of_places(s), 0);
    s->bytes = NULL;
    s->open = NULL;
    s->cells = NULL;
    s->place = NULL;
    s->capacity = s->open_capacity = s->cells_capacity = s->nplaces = 0;
}

static int
scratch_gc (lua_State *L)
{
    struct scratch *s = lua_touserdata(L, 1);

    free_scratch(s);
    s->closed = 1;
    return 0;
}

/* Gives the memory of a huge message back once the messages have stayed small for a while. */
static void
shrink_scratch (struct scratch *s)
{
    size_t needed = s->length + 4 * s->nplaces * sizeof *s->place;

    if (needed > s->size / 8) {
        s->spacious = 0;
    } else if (++s->spacious == SPACIOUS_MESSAGES) {
        s->spacious = 0;
        free_scratch(s);
    }
}

/*
 * The state's scratch
 */

static struct scratch *
push_new_scratch (lua_State *L)
{
    struct scratch *s = lua_newuserdatauv(L, sizeof *s, 1 << COMMON_BITS);

    memset(s, 0, sizeof *s);
    s->allocate = lua_getallocf(L, &s->allocator);
    if (luaL_newmetatable(L, "luamp.codec.scratch")) {
        lua_pushcfunction(L, scratch_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return s;
}

void
luampC_set_scratch (lua_State *L, int index)
{
    index = lua_absindex(L, index);
    struct codec *codec = luampC_push_codec(L);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, CODEC_SCRATCH);
    codec->scratch = lua_touserdata(L, index);
    lua_pop(L, 1);
}

struct scratch *
luampC_take_scratch (lua_State *L, struct codec *codec)
{
    if (!codec->scratch || codec->scratch->busy) {
        push_new_scratch(L);
        luampC_set_scratch(L, -1);
        lua_pop(L, 1);
    }
    struct scratch *s = codec->scratch;
    if (s->closed)
        luaL_error(L, "cannot send: this Lua state is being closed");
    s->busy = 1;
    if (s->size > HUGE_SCRATCH)
        shrink_scratch(s);
    return s;
}

void
luampC_keep (lua_State *L)
{
    struct codec *codec = luampC_push_codec(L);

    lua_getiuservalue(L, -1, CODEC_SCRATCH);
    lua_pushnil(L);
    lua_setiuservalue(L, -3, CODEC_SCRATCH);
    codec->scratch = NULL;
    lua_remove(L, -2);
}

/*
 * What it holds
 */

void
luampC_clear_scratch (struct scratch *s)
{
    if (s->stamp == LAST_STAMP) {
        s->stamp = 0;
        memset(s->common, 0, sizeof s->common);
        if (s->place)
            memset(s->place, 0, size_of_places(s));
    }
    s->stamp++;
    s->nslots = 0;
    s->nplaces = 0;
    s->depth = 0;
    s->ncells = 0;
}

/* Makes room for so many bytes after the first `length`, which are kept. */
int
luampC_grow_bytes (struct scratch *s, size_t length, size_t more)
{
    size_t larger = s->capacity ? s->capacity * 2 : 1024;

    if (more > LONGEST_MESSAGE - length)
        return 0;
    while (larger < length + more)
        larger *= 2;
    unsigned char *bytes = resize(s, s->bytes, s->capacity, larger);
    if (!bytes)
        return 0;
    s->bytes = bytes;
    s->capacity = larger;
    return 1;
}

/* An array twice as large, or NULL; element is its members' size. */
static void *
grow_array (struct scratch *s, void *array, size_t *capacity, size_t element)
{
    size_t larger = *capacity ? *capacity * 2 : 32;
    void *block = resize(s, array, *capacity * element, larger * element);

    if (block)
        *capacity = larger;
    return block;
}

int
luampC_grow_open (struct scratch *s)
{
    struct open *open = grow_array(s, s->open, &s->open_capacity, sizeof *open);

    if (open)
        s->open = open;
    return open != NULL;
}

int
luampC_grow_cells (struct scratch *s)
{
    uint64_t *cells = grow_array(s, s->cells, &s->cells_capacity, sizeof *cells);

    if (cells)
        s->cells = cells;
    return cells != NULL;
}

int
luampC_grow_places (struct scratch *s)
{
    unsigned bits = s->place ? s->place_bits + 1 : 6;
    size_t mask = ((size_t) 1 << bits) - 1;
    struct place *place = resize(s, NULL, 0, sizeof *place << bits);

    if (!place)
        return 0;
    memset(place, 0, sizeof *place << bits);
    for (size_t old = 0; old < size_of_places(s) / sizeof *place; old++) {
        if (s->place[old].where >> OFFSET_BITS != s->stamp)
            continue;
        size_t i = hash_pointer(s->place[old].thing, bits);
        while (place[i].thing)
            i = (i + 1) & mask;
        place[i] = s->place[old];
    }
    resize(s, s->place, size_of_places(s), 0);
    s->place = place;
    s->place_bits = bits;
    return 1;
}
