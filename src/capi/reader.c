/*
 * reader: the bytes of a message to values, as bind/codec_format.h lays them out. What
 * bind/codec_decode.c is to Lua.
 *
 * Invariants:
 *   - No recursion: tables and functions that are being read are in the array `frames`.
 *   - Nothing is trusted. No byte at or behind `end` is read. What is announced is paid for from a budget of
 *     one entry a byte. A frame takes two bytes of the message at least, and what can be referred to two
 *     as well, so memory stays in proportion.
 *   - Each call goes forward in the message, so a loop over it ends.
 *   - A reference is followed to strings only. To a table it is told, and not followed: what is circular has
 *     no end, and what is shared again and again is longer than any memory.
 *
 * Functions are Lua's. What they consist of is read as well, to find their end, and not told.
 *
 * A reader is private memory of its thread. The objects of the message are held by the thread until
 * another is got; a handle that is taken of one keeps it for longer.
 */
#include "capi.h"

#include "bind/codec_format.h"

#include <math.h>
#include <stdlib.h>

/* What the next value is to a table or function. */
enum expects {
    EXPECTS_ITEM,
    EXPECTS_KEY,
    EXPECTS_FIELD,
    EXPECTS_UPVALUE
};

struct frame {
    uint32_t left;   /* items, or upvalues, that are still to come */
    unsigned char expects;
    unsigned char has_pairs;
};

/* What can be referred to: what was marked as shared. In the order in which they stand in the message. */
struct seen {
    size_t where;    /* its tag */
    int type;        /* as of struct luamp_Item; LUAMP_TNONE: an upvalue, which is no value */
    const char *bytes;
    size_t length;   /* of a string */
};

struct slot {
    const char *bytes;
    size_t length;
};

struct luamp_Reader {
    const unsigned char *start, *at, *end;
    size_t budget;
    int failure;
    bool has_begun;  /* the first byte has been looked at */
    bool is_plain;   /* the message is one plain value */

    struct frame *frames;
    size_t depth, frames_room;
    size_t hidden;   /* the depth of the function that is being read past; 0: none */
    struct seen *seen;
    size_t nseen, seen_room;
    struct slot slots[SLOTS];
    unsigned nslots, used_slots;

    bool has_next;   /* luamp_peek was called */
    luamp_Item next;
    struct luampO_wire wire; /* of the object that was read last */
    size_t next_depth;       /* of the value that is in `next`: the depth before it was read */

    unsigned char *buffer;   /* the bytes, of our own */
    size_t buffer_room;
    struct amp_message message; /* where there was no memory for them: it stays in the queue's */
    bool is_in_place;
    uint64_t *cells;         /* the objects of the message */
    uint32_t ncells;
    size_t cells_room;
};

/*
 * Messages.
 */

luamp_Reader *
luamp_reader_new(void)
{
    return calloc(1, sizeof(luamp_Reader));
}

/* The objects of the message are let go of, but for those of which there is a handle. */
static void
drop_objects(const uint64_t *cells, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!amp_is_kept(cells[i]))
            amp_unhold(cells[i]);
    }
}

static void
drop_message(luamp_Reader *r)
{
    if (r->is_in_place) {
        drop_objects(r->message.cells, r->message.ncells);
        amp_message_done(&r->message);
        r->is_in_place = false;
    }
    drop_objects(r->cells, r->ncells);
    r->ncells = 0;
    r->start = r->at = r->end = NULL;
}

void
luamp_reader_free(luamp_Reader *r)
{
    if (r == NULL)
        return;
    drop_message(r);
    free(r->frames);
    free(r->seen);
    free(r->buffer);
    free(r->cells);
    free(r);
}

static void
begin_message(luamp_Reader *r, const void *bytes, size_t length)
{
    r->start = r->at = bytes;
    r->end = r->start + length;
    r->budget = length;
    r->failure = 0;
    r->has_begun = r->is_plain = r->has_next = false;
    r->depth = r->hidden = r->nseen = 0;
    r->nslots = r->used_slots = 0;
}

static bool
has_room(luamp_Reader *r, size_t length, uint32_t ncells)
{
    unsigned char *buffer = luampA_grow(r->buffer, &r->buffer_room, length, 1);
    if (buffer == NULL)
        return false;
    r->buffer = buffer;
    uint64_t *cells = luampA_grow(r->cells, &r->cells_room, ncells, sizeof *cells);
    if (cells == NULL)
        return false;
    r->cells = cells;
    return true;
}

void
luampA_read_message(luamp_Reader *r, struct amp_message *message)
{
    drop_message(r);
    if (has_room(r, message->length, message->ncells)) {
        if (message->length > 0)
            memcpy(r->buffer, message->bytes, message->length);
        if (message->ncells > 0)
            memcpy(r->cells, message->cells, message->ncells * sizeof *r->cells);
        r->ncells = message->ncells;
        begin_message(r, r->buffer, message->length);
        amp_message_done(message);
    } else {
        r->message = *message;
        r->is_in_place = true;
        begin_message(r, message->bytes, message->length);
    }
}

int
luamp_reader_load(luamp_Reader *r, const void *bytes, size_t length)
{
    if (r == NULL || (bytes == NULL && length > 0))
        return LUAMP_MISUSE;
    drop_message(r);
    if (!has_room(r, length, 0))
        return LUAMP_NO_MEMORY;
    if (length > 0)
        memcpy(r->buffer, bytes, length);
    begin_message(r, r->buffer, length);
    return LUAMP_OK;
}

/* Does the message carry the object? Only then is it the thread's. */
static bool
is_carried(const luamp_Reader *r, amp_handle handle)
{
    const uint64_t *cells = r->is_in_place ? r->message.cells : r->cells;
    uint32_t n = r->is_in_place ? r->message.ncells : r->ncells;
    for (uint32_t i = 0; i < n; i++) {
        if (cells[i] == handle)
            return true;
    }
    return false;
}

/*
 * Bytes. What fails sets the failure, and gives zeroes.
 */

static int
malformed(luamp_Reader *r)
{
    if (r->failure == 0)
        r->failure = LUAMP_MALFORMED;
    return r->failure;
}

static const unsigned char *
take(luamp_Reader *r, uint64_t length)
{
    const unsigned char *at = r->at;
    if ((uint64_t) (r->end - at) < length) {
        malformed(r);
        return NULL;
    }
    r->at += length;
    return at;
}

static unsigned
take_byte(luamp_Reader *r)
{
    const unsigned char *at = take(r, 1);
    return at ? *at : 0;
}

static uint64_t
take_count(luamp_Reader *r)
{
    uint64_t count = 0;
    for (unsigned shift = 0; shift < 64 && r->failure == 0; shift += 7) {
        unsigned byte = take_byte(r);
        count |= (uint64_t) (byte & 0x7f) << shift;
        if (byte < 0x80)
            return count;
    }
    malformed(r);
    return 0;
}

/*
 * What stands elsewhere in the message.
 */

static void
remember(luamp_Reader *r, size_t where, const luamp_Item *item)
{
    struct seen *all = luampA_grow(r->seen, &r->seen_room, r->nseen + 1, sizeof *all);
    if (all == NULL) {
        r->failure = LUAMP_NO_MEMORY;
        return;
    }
    r->seen = all;
    struct seen *seen = &all[r->nseen++];
    *seen = (struct seen) {.where = where, .type = item->type};
    if (item->type == LUAMP_TSTRING) {
        seen->bytes = item->as.string.bytes;
        seen->length = item->as.string.length;
    }
}

static const struct seen *
find_seen(luamp_Reader *r)
{
    uint64_t where = take_count(r);
    size_t low = 0, high = r->nseen;
    while (r->failure == 0 && low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->seen[middle].where == where)
            return &r->seen[middle];
        if (r->seen[middle].where < where)
            low = middle + 1;
        else
            high = middle;
    }
    malformed(r);
    return NULL;
}

static void
set_string(luamp_Item *item, const char *bytes, size_t length)
{
    item->type = LUAMP_TSTRING;
    item->as.string.bytes = bytes;
    item->as.string.length = length;
}

static void
read_common(luamp_Reader *r, luamp_Item *item)
{
    unsigned tag = take_byte(r);
    if (r->failure != 0 || tag < TAG_STRING || tag > LAST_STRING || r->used_slots == r->nslots) {
        malformed(r);
        return;
    }
    const unsigned char *bytes = take(r, tag - TAG_STRING);
    if (bytes == NULL)
        return;
    set_string(item, (const char *) bytes, tag - TAG_STRING);
    r->slots[r->used_slots++] = (struct slot) {item->as.string.bytes, item->as.string.length};
}

static void
read_slot(luamp_Reader *r, unsigned slot, luamp_Item *item)
{
    if (slot >= r->used_slots)
        malformed(r);
    else
        set_string(item, r->slots[slot].bytes, r->slots[slot].length);
}

/*
 * Values.
 */

static void
read_plain_value(luamp_Reader *r, unsigned tag, luamp_Item *item)
{
    struct plain plain = read_plain(&r->at, r->end, tag);
    switch (plain.kind) {
    case PLAIN_NONE:
    case PLAIN_CUT_SHORT:
        malformed(r);
        break;
    case PLAIN_NIL:
        item->type = LUAMP_TNIL;
        break;
    case PLAIN_BOOLEAN:
        item->type = LUAMP_TBOOLEAN;
        item->as.boolean = plain.integer != 0;
        break;
    case PLAIN_INTEGER:
        item->type = LUAMP_TINTEGER;
        item->as.integer = plain.integer;
        break;
    case PLAIN_FLOAT:
        item->type = LUAMP_TNUMBER;
        item->as.number = plain.number;
        break;
    case PLAIN_STRING:
        set_string(item, plain.string.bytes, plain.string.length);
        break;
    }
}

static struct frame *
push_frame(luamp_Reader *r, enum expects expects)
{
    struct frame *frames = luampA_grow(r->frames, &r->frames_room, r->depth + 1, sizeof *frames);
    if (frames == NULL) {
        r->failure = LUAMP_NO_MEMORY;
        return NULL;
    }
    r->frames = frames;
    struct frame *frame = &r->frames[r->depth++];
    *frame = (struct frame) {.expects = (unsigned char) expects};
    return frame;
}

static void
announce(luamp_Reader *r, uint64_t entries)
{
    if (entries > r->budget)
        malformed(r);
    else
        r->budget -= (size_t) entries;
}

/* Begins a table; `where` is its tag. */
static void
read_table(luamp_Reader *r, unsigned tag, size_t where, luamp_Item *item)
{
    unsigned pairs = take_byte(r);
    uint32_t items = 0;
    if (tag == TAG_TABLE8) {
        items = take_byte(r);
    } else if (tag == TAG_TABLE32) {
        const unsigned char *bytes = take(r, sizeof items);
        if (bytes)
            memcpy(&items, bytes, sizeof items);
    } else if (tag != TAG_RECORD) {
        malformed(r);
    }
    if (r->failure != 0)
        return;
    announce(r, items);
    if (pairs > 0)
        announce(r, pairs <= MOST_PAIRS_CODE ? UINT64_C(1) << (pairs - 1) : UINT64_MAX);
    struct frame *frame = r->failure == 0 ? push_frame(r, items ? EXPECTS_ITEM : EXPECTS_KEY) : NULL;
    if (frame == NULL)
        return;
    frame->left = items;
    frame->has_pairs = pairs > 0;
    item->type = LUAMP_TTABLE;
    item->as.table.items = items;
    item->as.table.id = where;
}

static void
read_object(luamp_Reader *r, luamp_Item *item)
{
    struct luampO_wire wire = {0};
    const unsigned char *kind = take(r, sizeof wire.kind);
    wire.ncells = take_byte(r);
    if (wire.ncells > sizeof wire.cell / sizeof *wire.cell)
        malformed(r);
    size_t size = wire.ncells * sizeof *wire.cell;
    const unsigned char *cells = r->failure == 0 ? take(r, size) : NULL;
    const unsigned char *extra = r->failure == 0 ? take(r, sizeof wire.extra) : NULL;
    if (extra == NULL)
        return;
    memcpy(&wire.kind, kind, sizeof wire.kind);
    memcpy(wire.cell, cells, size);
    memcpy(&wire.extra, extra, sizeof wire.extra);
    bool is_ours = wire.ncells == 1 && is_carried(r, wire.cell[0]);
    item->type = is_ours ? LUAMP_TOBJECT : LUAMP_TOTHER;
    r->wire = wire;
}

static void
read_same(luamp_Reader *r, luamp_Item *item)
{
    const struct seen *seen = find_seen(r);
    if (seen == NULL)
        return;
    if (seen->type == LUAMP_TSTRING) {
        set_string(item, seen->bytes, seen->length);
    } else if (seen->type == LUAMP_TTABLE) {
        item->type = LUAMP_TSAME;
        item->as.table.id = seen->where;
    } else if (seen->type == LUAMP_TOBJECT) {
        const unsigned char *at = r->at;
        r->at = r->start + seen->where + 1;
        read_object(r, item);
        r->at = at;
    } else {
        item->type = LUAMP_TOTHER;
    }
}

/* A name is a string, and anything else must not even be begun: it could nest. */
static void
read_name(luamp_Reader *r, luamp_Item *name)
{
    size_t where = (size_t) (r->at - r->start);
    unsigned tag = take_byte(r);
    name->type = LUAMP_TNONE;
    if (r->failure != 0)
        return;
    if (tag == TAG_COMMON) {
        read_common(r, name);
    } else if (tag == TAG_SAME) {
        read_same(r, name);
    } else if (tag >= TAG_SLOT && tag < FIRST_NEGATIVE) {
        read_slot(r, tag - TAG_SLOT, name);
    } else if (tag >= TAG_STRING8 && tag <= (TAG_STRING64 | SHARED)) {
        read_plain_value(r, tag & ~(unsigned) SHARED, name);
        if ((tag & SHARED) && r->failure == 0)
            remember(r, where, name);
    } else if (tag >= TAG_STRING && tag <= LAST_STRING) {
        read_plain_value(r, tag, name);
    }
    if (name->type != LUAMP_TSTRING)
        malformed(r);
}

/* A table that has a class. */
static void
read_instance(luamp_Reader *r, size_t where, luamp_Item *item)
{
    luamp_Item name;
    read_name(r, &name);
    unsigned tag = take_byte(r) & ~(unsigned) SHARED;
    if (r->failure == 0)
        read_table(r, tag, where, item);
    if (r->failure != 0)
        return;
    item->as.table.name = name.as.string.bytes;
    item->as.table.name_length = name.as.string.length;
}

/* Begins a function, which is read past. */
static void
read_function(luamp_Reader *r, luamp_Item *item)
{
    uint64_t length = take_count(r);
    item->type = LUAMP_TOTHER;
    if (r->failure == 0)
        take(r, length);
    struct frame *frame = r->failure == 0 ? push_frame(r, EXPECTS_UPVALUE) : NULL;
    if (frame == NULL)
        return;
    frame->left = take_byte(r);
    if (r->hidden == 0)
        r->hidden = r->depth;
}

static void
read_value(luamp_Reader *r, luamp_Item *item)
{
    size_t where = (size_t) (r->at - r->start);
    unsigned tag = take_byte(r);
    luamp_Item name;
    bool is_shared = false;
    if (r->failure != 0)
        return;
    if (tag < TAG_COMMON || tag >= FIRST_NEGATIVE) {
        read_plain_value(r, tag, item);
        return;
    }
    if (tag >= TAG_SLOT) {
        read_slot(r, tag - TAG_SLOT, item);
        return;
    }
    if (tag >= TAG_STRING8 && tag <= (TAG_OBJECT | SHARED)) {
        is_shared = tag & SHARED;
        tag &= ~(unsigned) SHARED;
    }
    /* What has parts is remembered before they are read; here that is before its name, which may be marked
       itself, so that all are in order. */
    if (is_shared && tag >= TAG_RECORD && tag <= TAG_FUNCTION) {
        item->type = tag == TAG_FUNCTION ? LUAMP_TOTHER : LUAMP_TTABLE;
        remember(r, where, item);
        is_shared = false;
        if (r->failure != 0)
            return;
    }
    switch (tag) {
    case TAG_COMMON:
        read_common(r, item);
        break;
    case TAG_SAME:
        read_same(r, item);
        break;
    case TAG_RECORD:
    case TAG_TABLE8:
    case TAG_TABLE32:
        read_table(r, tag, where, item);
        break;
    case TAG_INSTANCE:
        read_instance(r, where, item);
        break;
    case TAG_FUNCTION:
        read_function(r, item);
        break;
    case TAG_OBJECT:
        read_object(r, item);
        break;
    case TAG_MEMBER:
        read_name(r, &name);
        /* fall through */
    case TAG_CLASS:
    case TAG_MODULE:
        if (r->failure == 0)
            read_name(r, &name);
        item->type = LUAMP_TOTHER;
        break;
    case TAG_GLOBALS:
        item->type = LUAMP_TOTHER;
        break;
    default:
        read_plain_value(r, tag, item);
        break;
    }
    if (is_shared && r->failure == 0)
        remember(r, where, item);
}

/*
 * The parts of tables and functions.
 */

static void
check_key(luamp_Reader *r, const luamp_Item *item)
{
    if (item->type == LUAMP_TNIL || (item->type == LUAMP_TNUMBER && isnan(item->as.number)))
        malformed(r);
}

/* The frame's next upvalue, as far as it is not a value: true when that comes next. */
static bool
begin_upvalue(luamp_Reader *r)
{
    size_t where = (size_t) (r->at - r->start);
    unsigned tag = take_byte(r);
    if (r->failure != 0)
        return false;
    if (tag == TAG_SAME_UPVALUE) {
        const struct seen *seen = find_seen(r);
        if (seen && seen->type != LUAMP_TNONE)
            malformed(r);
        return false;
    }
    if ((tag & ~(unsigned) SHARED) != TAG_UPVALUE)
        malformed(r);
    else if (tag & SHARED)
        remember(r, where, &(luamp_Item) {.type = LUAMP_TNONE});
    return r->failure == 0;
}

/* What comes next to the innermost table or function. It has ended: true, and its frame is gone. */
static bool
read_part(luamp_Reader *r, luamp_Item *item)
{
    struct frame *frame = &r->frames[r->depth - 1];
    if (frame->expects == EXPECTS_ITEM && frame->left == 0)
        frame->expects = EXPECTS_KEY;
    switch (frame->expects) {
    case EXPECTS_ITEM:
        frame->left--;
        read_value(r, item);
        break;
    case EXPECTS_KEY:
        if (!frame->has_pairs || (r->at < r->end && *r->at == TAG_END)) {
            r->at += frame->has_pairs;
            r->depth--;
            item->type = LUAMP_TEND;
            return true;
        }
        frame->expects = EXPECTS_FIELD;
        read_value(r, item);
        check_key(r, item);
        break;
    case EXPECTS_FIELD:
        frame->expects = EXPECTS_KEY;
        read_value(r, item);
        break;
    case EXPECTS_UPVALUE:
        if (frame->left == 0) {
            r->depth--;
            return true;
        }
        frame->left--;
        if (begin_upvalue(r))
            read_value(r, item);
        break;
    }
    return false;
}

/* The first byte: what kind of message it is. */
static void
read_head(luamp_Reader *r)
{
    r->has_begun = true;
    r->is_plain = r->at == r->end || *r->at != TAG_MESSAGE;
    if (r->is_plain)
        return;
    r->at++;
    r->nslots = take_byte(r);
    if (r->nslots > SLOTS)
        malformed(r);
}

static void
read_top(luamp_Reader *r, luamp_Item *item)
{
    if (!r->is_plain) {
        if (r->at < r->end)
            read_value(r, item);
        return;
    }
    if (r->at == r->end && r->at > r->start)
        return;
    unsigned tag = take_byte(r);
    if (r->failure == 0)
        read_plain_value(r, tag, item);
    if (r->at != r->end)
        malformed(r);
}

/* Reads past what a function consists of. */
static void
read_past(luamp_Reader *r)
{
    luamp_Item part;
    while (r->failure == 0 && r->depth >= r->hidden)
        read_part(r, &part);
    r->hidden = 0;
}

static int
read_next(luamp_Reader *r, luamp_Item *item)
{
    memset(item, 0, sizeof *item);
    if (r->failure == 0 && !r->has_begun)
        read_head(r);
    if (r->failure != 0)
        return r->failure;
    if (r->depth > 0)
        read_part(r, item);
    else
        read_top(r, item);
    if (r->failure == 0 && r->hidden > 0)
        read_past(r);
    if (r->failure != 0)
        memset(item, 0, sizeof *item);
    return r->failure;
}

/*
 * For the program.
 */

int
luamp_peek(luamp_Reader *r, luamp_Item *item)
{
    if (r == NULL || item == NULL || r->start == NULL)
        return LUAMP_MISUSE;
    if (!r->has_next) {
        r->next_depth = r->depth;
        int result = read_next(r, &r->next);
        if (result != LUAMP_OK)
            return result;
        r->has_next = true;
    }
    *item = r->next;
    return LUAMP_OK;
}

int
luamp_read(luamp_Reader *r, luamp_Item *item)
{
    int result = luamp_peek(r, item);
    if (result == LUAMP_OK)
        r->has_next = false;
    return result;
}

/* Reads what comes next if it is of the type, or of the other one. */
static int
read_typed(luamp_Reader *r, int type, int other, luamp_Item *item)
{
    int result = luamp_peek(r, item);
    if (result != LUAMP_OK)
        return result;
    if (item->type != type && item->type != other)
        return LUAMP_WRONG_TYPE;
    r->has_next = false;
    return LUAMP_OK;
}

int
luamp_read_boolean(luamp_Reader *r, int *boolean)
{
    luamp_Item item;
    int result = read_typed(r, LUAMP_TBOOLEAN, LUAMP_TBOOLEAN, &item);
    if (result == LUAMP_OK && boolean)
        *boolean = item.as.boolean;
    return result;
}

int
luamp_read_integer(luamp_Reader *r, int64_t *n)
{
    luamp_Item item;
    int result = read_typed(r, LUAMP_TINTEGER, LUAMP_TINTEGER, &item);
    if (result == LUAMP_OK && n)
        *n = item.as.integer;
    return result;
}

int
luamp_read_number(luamp_Reader *r, double *number)
{
    luamp_Item item;
    int result = read_typed(r, LUAMP_TNUMBER, LUAMP_TINTEGER, &item);
    if (result == LUAMP_OK && number)
        *number = item.type == LUAMP_TINTEGER ? (double) item.as.integer : item.as.number;
    return result;
}

int
luamp_read_string(luamp_Reader *r, const char **bytes, size_t *length)
{
    luamp_Item item;
    int result = read_typed(r, LUAMP_TSTRING, LUAMP_TSTRING, &item);
    if (result == LUAMP_OK && bytes)
        *bytes = item.as.string.bytes;
    if (result == LUAMP_OK && length)
        *length = item.as.string.length;
    return result;
}

int
luamp_read_table(luamp_Reader *r, size_t *items)
{
    luamp_Item item;
    int result = read_typed(r, LUAMP_TTABLE, LUAMP_TTABLE, &item);
    if (result == LUAMP_OK && items)
        *items = item.as.table.items;
    return result;
}

int
luamp_read_end(luamp_Reader *r)
{
    luamp_Item item;
    return read_typed(r, LUAMP_TEND, LUAMP_TEND, &item);
}

int
luamp_read_object(luamp_Reader *r, luamp_Object **object)
{
    luamp_Item item;
    if (object == NULL)
        return LUAMP_MISUSE;
    *object = NULL;
    int result = luamp_peek(r, &item);
    if (result != LUAMP_OK)
        return result;
    if (item.type != LUAMP_TOBJECT)
        return LUAMP_WRONG_TYPE;
    if (r->wire.extra != 0) /* a lock that is a part of another object */
        return LUAMP_WRONG_KIND;
    result = luampA_handle(r->wire.cell[0], (enum luampO_class_id) r->wire.kind, object);
    if (result == LUAMP_OK)
        r->has_next = false;
    return result;
}

int
luamp_skip(luamp_Reader *r)
{
    luamp_Item item;
    int result = luamp_peek(r, &item);
    if (result != LUAMP_OK)
        return result;
    if (item.type == LUAMP_TEND || item.type == LUAMP_TNONE)
        return LUAMP_WRONG_TYPE;
    r->has_next = false;
    for (size_t depth = r->next_depth; result == LUAMP_OK && r->depth > depth;)
        result = luamp_read(r, &item);
    return result;
}
