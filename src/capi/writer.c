/*
 * writer: values to the bytes of a message, as bind/codec_format.h lays them out.
 *
 * The buffer begins with the two bytes that a message of more than a plain value has; of a plain value the
 * message begins behind them. A table's head says how many items and pairs it has, so it is written again
 * when the table ends. Strings and tables are not looked for again: each is written out.
 *
 * A writer is private memory of its thread. The objects in it are kept until it is cleared, so they live
 * until the message carries them.
 */
#include "capi.h"

#include "bind/codec_format.h"

#include <errno.h>
#include <stdlib.h>

#define HEAD 2 /* MESSAGE, and the number of slots: none */

enum open_kind {
    OPEN_LIST,
    OPEN_KEY,  /* a table that expects a key */
    OPEN_FIELD /* or the value of one */
};

/* A table that is being written. */
struct open {
    size_t start;    /* of its head */
    uint64_t count;  /* items, or pairs */
    enum open_kind kind;
};

struct luamp_Writer {
    unsigned char *bytes;
    size_t length, room;
    struct open *open;
    size_t depth, open_room;
    uint64_t *cells;
    uint32_t ncells;
    size_t cells_room;
    int failure;     /* the first one */
    bool is_whole;
    bool is_plain;   /* the whole value is */
};

luamp_Writer *
luamp_writer_new(void)
{
    luamp_Writer *w = calloc(1, sizeof *w);
    if (w)
        w->length = HEAD;
    return w;
}

void
luamp_writer_clear(luamp_Writer *w)
{
    for (uint32_t i = 0; i < w->ncells; i++) {
        if (amp_unkeep(w->cells[i]))
            amp_unhold(w->cells[i]);
    }
    w->ncells = 0;
    w->length = HEAD;
    w->depth = 0;
    w->failure = 0;
    w->is_whole = w->is_plain = false;
}

void
luamp_writer_free(luamp_Writer *w)
{
    if (w == NULL)
        return;
    luamp_writer_clear(w);
    free(w->bytes);
    free(w->open);
    free(w->cells);
    free(w);
}

static int
fail(luamp_Writer *w, int failure)
{
    if (w->failure == 0)
        w->failure = failure;
    return w->failure;
}

/* Where so many bytes more can be written, or NULL. */
static unsigned char *
room_for(luamp_Writer *w, size_t more)
{
    unsigned char *bytes = luampA_grow(w->bytes, &w->room, w->length + more, 1);
    if (bytes == NULL) {
        fail(w, LUAMP_NO_MEMORY);
        return NULL;
    }
    w->bytes = bytes;
    return bytes + w->length;
}

/* The list has one item more, which is about to be written. A head that counts up to 255 becomes one that
   counts up to 2^32. */
static int
count_item(luamp_Writer *w, struct open *open)
{
    if (open->count == UINT32_MAX)
        return fail(w, LUAMP_TOO_LONG);
    if (++open->count == UINT8_MAX + 1) {
        size_t behind = open->start + 3;
        if (room_for(w, 3) == NULL)
            return w->failure;
        memmove(w->bytes + behind + 3, w->bytes + behind, w->length - behind);
        w->length += 3;
        w->bytes[open->start] = TAG_TABLE32;
    }
    return 0;
}

/* What is said of each value before it is written: LUAMP_OK when it may stand here. `key`: it can be the key
   of a table. */
static int
begin_value(luamp_Writer *w, bool can_be_key)
{
    if (w == NULL)
        return LUAMP_MISUSE;
    if (w->failure != 0)
        return w->failure;
    if (w->is_whole)
        return fail(w, LUAMP_MISUSE);
    if (w->depth == 0)
        return LUAMP_OK;
    struct open *open = &w->open[w->depth - 1];
    switch (open->kind) {
    case OPEN_LIST:
        return count_item(w, open);
    case OPEN_KEY:
        if (!can_be_key)
            return fail(w, LUAMP_MISUSE);
        open->kind = OPEN_FIELD;
        open->count++;
        break;
    case OPEN_FIELD:
        open->kind = OPEN_KEY;
        break;
    }
    return LUAMP_OK;
}

/* A value, or a table with all its parts, ends here. */
static int
end_value(luamp_Writer *w, const unsigned char *end, bool is_plain)
{
    w->length = (size_t) (end - w->bytes);
    if (w->depth == 0) {
        w->is_whole = true;
        w->is_plain = is_plain;
    }
    return LUAMP_OK;
}

static int
write_byte(luamp_Writer *w, unsigned char byte, bool can_be_key)
{
    if (begin_value(w, can_be_key) != LUAMP_OK)
        return w ? w->failure : LUAMP_MISUSE;
    unsigned char *at = room_for(w, 1);
    if (at == NULL)
        return w->failure;
    *at = byte;
    return end_value(w, at + 1, true);
}

int
luamp_write_nil(luamp_Writer *w)
{
    return write_byte(w, TAG_NIL, false);
}

int
luamp_write_boolean(luamp_Writer *w, int boolean)
{
    return write_byte(w, boolean ? TAG_TRUE : TAG_FALSE, true);
}

int
luamp_write_integer(luamp_Writer *w, int64_t n)
{
    int result = begin_value(w, true);
    if (result != LUAMP_OK)
        return result;
    unsigned char *at = room_for(w, LONGEST_ATOM);
    return at ? end_value(w, write_integer(at, n), true) : w->failure;
}

int
luamp_write_number(luamp_Writer *w, double number)
{
    int result = begin_value(w, number == number);
    if (result != LUAMP_OK)
        return result;
    unsigned char *at = room_for(w, LONGEST_ATOM);
    return at ? end_value(w, write_float(at, number), true) : w->failure;
}

int
luamp_write_string(luamp_Writer *w, const void *bytes, size_t length)
{
    int result = begin_value(w, true);
    if (result != LUAMP_OK)
        return result;
    if (bytes == NULL && length > 0)
        return fail(w, LUAMP_MISUSE);
    if (length > AMP_MESSAGE_MAX)
        return fail(w, LUAMP_TOO_LONG);
    unsigned char *at = room_for(w, LONGEST_STRING_HEAD + length);
    return at ? end_value(w, write_string(at, length > 0 ? bytes : "", length), true) : w->failure;
}

int
luamp_write_text(luamp_Writer *w, const char *text)
{
    return luamp_write_string(w, text, text ? strlen(text) : 1);
}

/* Keeps the object until the writer is cleared. */
static int
keep(luamp_Writer *w, amp_handle handle)
{
    uint64_t *cells = luampA_grow(w->cells, &w->cells_room, (size_t) w->ncells + 1, sizeof *cells);
    if (cells == NULL)
        return fail(w, LUAMP_NO_MEMORY);
    w->cells = cells;
    if (amp_keep_room(amp_handle_index(handle)) != 0)
        return fail(w, LUAMP_NO_MEMORY);
    amp_hold(handle);
    amp_keep(handle);
    w->cells[w->ncells++] = handle;
    return LUAMP_OK;
}

int
luamp_write_object(luamp_Writer *w, luamp_Object *object)
{
    int result = luampA_enter(object, LUAMPA_ANY);
    if (result != LUAMP_OK)
        return w && w->failure == 0 ? fail(w, result) : result;
    result = begin_value(w, true);
    if (result != LUAMP_OK)
        return result;
    unsigned char *at = room_for(w, LONGEST_OBJECT);
    if (at == NULL || keep(w, object->handle) != LUAMP_OK)
        return w->failure;
    struct luampO_wire wire = {
        .kind = (uint32_t) object->class, .ncells = 1, .cell = {object->handle},
    };
    return end_value(w, write_wire(at, &wire), false);
}

/* The head of a table: its tag, and zeroes for what is counted. */
static int
begin_table(luamp_Writer *w, enum open_kind kind)
{
    int result = begin_value(w, true);
    if (result != LUAMP_OK)
        return result;
    unsigned char *at = room_for(w, 3);
    struct open *open = luampA_grow(w->open, &w->open_room, w->depth + 1, sizeof *open);
    if (open != NULL)
        w->open = open;
    if (at == NULL || open == NULL)
        return fail(w, LUAMP_NO_MEMORY);
    open[w->depth++] = (struct open) {.start = w->length, .kind = kind};
    at[0] = kind == OPEN_LIST ? TAG_TABLE8 : TAG_RECORD;
    at[1] = at[2] = 0;
    w->length += kind == OPEN_LIST ? 3 : 2;
    return LUAMP_OK;
}

int
luamp_write_list(luamp_Writer *w)
{
    return begin_table(w, OPEN_LIST);
}

int
luamp_write_table(luamp_Writer *w)
{
    return begin_table(w, OPEN_KEY);
}

int
luamp_write_end(luamp_Writer *w)
{
    if (w == NULL)
        return LUAMP_MISUSE;
    if (w->failure != 0)
        return w->failure;
    if (w->depth == 0 || w->open[w->depth - 1].kind == OPEN_FIELD)
        return fail(w, LUAMP_MISUSE);
    unsigned char *at = room_for(w, 1);
    if (at == NULL)
        return w->failure;
    const struct open *open = &w->open[--w->depth];
    unsigned char *head = w->bytes + open->start;
    if (open->kind == OPEN_LIST && open->count <= UINT8_MAX) {
        head[2] = (unsigned char) open->count;
    } else if (open->kind == OPEN_LIST) {
        uint32_t count = (uint32_t) open->count;
        memcpy(head + 2, &count, sizeof count);
    } else {
        head[1] = pairs_code(open->count);
        if (open->count > 0)
            *at++ = TAG_END;
    }
    return end_value(w, at, false);
}

int
luampA_written(luamp_Writer *w, const void **bytes, size_t *length, const uint64_t **cells,
               uint32_t *ncells)
{
    if (w == NULL)
        return LUAMP_MISUSE;
    if (w->failure != 0 || !w->is_whole)
        return w->failure != 0 ? w->failure : LUAMP_MISUSE;
    w->bytes[0] = TAG_MESSAGE;
    w->bytes[1] = 0;
    size_t skipped = w->is_plain ? HEAD : 0;
    *bytes = w->bytes + skipped;
    *length = w->length - skipped;
    *cells = w->cells;
    *ncells = w->ncells;
    return LUAMP_OK;
}

int
luamp_writer_bytes(luamp_Writer *w, const void **bytes, size_t *length)
{
    const uint64_t *cells;
    uint32_t ncells;
    if (bytes == NULL || length == NULL)
        return LUAMP_MISUSE;
    return luampA_written(w, bytes, length, &cells, &ncells);
}
