/*
 * heap: the memory of a Lua state that luamp makes (state.c): the program's own, and each thread's.
 *
 * Lua says of each block how large it is when it gives it back. So a small block needs no header, and
 * no search: there is a list of free blocks for each size, in units of eight bytes, and a block is taken
 * from the front of its list and put back there. No lock is needed, since a state is one thread's.
 *
 * When its list is empty a block is cut from the latest chunk. So blocks of all sizes lie in a chunk in the order in
 * which they were wanted, and as they die in some order of the kind, those that come next in their lists are not far
 * from each other either. Around a fork that counts: each page that a process writes to it has to copy first.
 *
 * All that is free is looked at when that is nearly all of the heap (too_many), when the heap grows although much of it
 * is free, in blocks of other sizes (too_large), and when there is no memory. Neighbours become one: a chunk in
 * which nothing is used goes back to the C library, and what is long enough for many blocks is a span, to be cut
 * anew. That is seldom enough to cost nothing: a program in which as much dies as is born, and of the same sizes, never
 * comes to it.
 *
 * Invariants: a block of `size` bytes, of at most LUAMPB_SMALL, is round(size) units long, and at a multiple of 16 if that is
 * one, as a value that must be aligned so is a multiple of 16 long. Each unit of a chunk behind its header that is
 * not `left` is in exactly one block or span.
 */
#include "heap.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A chunk and the C library's own word lie in CHUNK bytes, so that chunks can follow each other. */
#define CHUNK ((size_t) 65536)
#define CHUNK_USED (CHUNK - 2 * sizeof(size_t) - sizeof(struct luampB_chunk))
#define UNITS (CHUNK / LUAMPB_UNIT)
#define SPAN ((size_t) 1024)     /* bytes of the shortest */
#define KEPT ((size_t) 32 << 20) /* bytes that may be free for good */

struct luampB_block {
    struct luampB_block *next;
};

struct luampB_span {
    struct luampB_span *next;
    size_t size;
};

struct luampB_chunk {
    struct luampB_chunk *next;
    size_t bytes_free;                /* as the last look has counted, */
    unsigned char is_free[UNITS / 8]; /* and which: a bit for each unit */
};

static size_t
class_of(size_t size)
{
    return (size + LUAMPB_UNIT - 1) / LUAMPB_UNIT;
}

static void
put(struct luampB_heap *heap, void *place, size_t class)
{
    struct luampB_block *block = place;
    block->next = heap->free[class];
    heap->free[class] = block;
    heap->bytes_free += class * LUAMPB_UNIT;
}

/* Puts so many bytes into the lists, in blocks as long as they can be. */
static void
put_all(struct luampB_heap *heap, char *from, size_t size)
{
    while (size > 0) {
        size_t class = (size < LUAMPB_SMALL ? size : LUAMPB_SMALL) / LUAMPB_UNIT;
        if (class % 2 == 0 && (uintptr_t) from % (2 * LUAMPB_UNIT) != 0)
            class--;
        put(heap, from, class);
        from += class * LUAMPB_UNIT;
        size -= class * LUAMPB_UNIT;
    }
}

/* What blocks are cut from next. */
static void
use(struct luampB_heap *heap, void *memory, size_t size)
{
    heap->next = memory;
    heap->left = size / LUAMPB_UNIT * LUAMPB_UNIT;
}

/*
 * The look at all that is free.
 */

/* NULL: the block lies in the memory that the heap began with. */
static struct luampB_chunk *
chunk_of(const struct luampB_heap *heap, const void *block)
{
    if ((uintptr_t) block - (uintptr_t) heap->first < heap->first_size)
        return NULL;
    return (struct luampB_chunk *) ((uintptr_t) block & ~(CHUNK - 1));
}

static void
mark(struct luampB_chunk *chunk, const void *from, size_t size)
{
    size_t unit = ((uintptr_t) from - (uintptr_t) chunk) / LUAMPB_UNIT;
    for (size_t end = unit + size / LUAMPB_UNIT; unit < end; unit++)
        chunk->is_free[unit / 8] |= (unsigned char) (1u << unit % 8);
    chunk->bytes_free += size;
}

/* Takes the blocks that are in chunks out of the list, and marks them there. */
static void
mark_list(struct luampB_heap *heap, struct luampB_block **list, size_t class)
{
    while (*list != NULL) {
        struct luampB_block *block = *list;
        struct luampB_chunk *chunk = chunk_of(heap, block);
        if (chunk == NULL) {
            list = &block->next;
            continue;
        }
        *list = block->next;
        heap->bytes_free -= class * LUAMPB_UNIT;
        mark(chunk, block, class * LUAMPB_UNIT);
    }
}

static void
mark_spans(struct luampB_heap *heap)
{
    while (heap->spans != NULL) {
        struct luampB_span *span = heap->spans;
        heap->spans = span->next;
        heap->bytes_free -= span->size;
        mark(chunk_of(heap, span), span, span->size);
    }
}

/* Makes spans of the units that are marked, and blocks of what is too short. Returns the bytes in spans. */
static size_t
join_marked(struct luampB_heap *heap, const struct luampB_chunk *chunk)
{
    size_t in_spans = 0;
    for (size_t unit = 0; unit < UNITS; unit++) {
        size_t begin = unit;
        while (unit < UNITS && (chunk->is_free[unit / 8] >> unit % 8 & 1))
            unit++;
        size_t size = (unit - begin) * LUAMPB_UNIT;
        char *from = (char *) chunk + begin * LUAMPB_UNIT;
        if (size < SPAN) {
            put_all(heap, from, size);
            continue;
        }
        struct luampB_span *span = (struct luampB_span *) from;
        *span = (struct luampB_span) {.next = heap->spans, .size = size};
        heap->spans = span;
        heap->bytes_free += size;
        in_spans += size;
    }
    return in_spans;
}

/* Three quarters may be free; and an eighth more than what is free already, which was found to be in chunks that
   are used. */
static void
set_too_many(struct luampB_heap *heap)
{
    size_t most = heap->chunks_size / 4 * 3;
    size_t more = heap->bytes_free + heap->chunks_size / 8;
    heap->too_many = most > more ? most : more;
    if (heap->too_many < KEPT)
        heap->too_many = KEPT;
}

/* True when there are spans, or chunks went back. What was gained is to be used before the next look that a growing
   heap takes; where that is little, the heap grows first. */
static bool
look(struct luampB_heap *heap)
{
    for (struct luampB_chunk *chunk = heap->chunks; chunk != NULL; chunk = chunk->next) {
        chunk->bytes_free = 0;
        memset(chunk->is_free, 0, sizeof chunk->is_free);
    }
    mark_spans(heap);
    for (size_t class = 1; class < LUAMPB_CLASSES; class++) {
        mark_list(heap, &heap->free[class], class);
        mark_list(heap, &heap->inherited[class], class);
    }
    size_t gained = 0;
    for (struct luampB_chunk **link = &heap->chunks; *link != NULL;) {
        struct luampB_chunk *chunk = *link;
        if (chunk->bytes_free == CHUNK_USED) {
            *link = chunk->next;
            heap->chunks_size -= CHUNK_USED;
            gained += CHUNK_USED;
            free(chunk);
        } else {
            gained += join_marked(heap, chunk);
            link = &chunk->next;
        }
    }
    heap->too_large = gained > heap->chunks_size / 16 ? 0 : heap->chunks_size + heap->chunks_size / 8;
    set_too_many(heap);
    return gained > 0;
}

/*
 * What blocks are cut from.
 */

static bool
use_chunk(struct luampB_heap *heap)
{
    void *memory;
    if (posix_memalign(&memory, CHUNK, CHUNK - 2 * sizeof(size_t)) != 0)
        return false;
    if (heap->chunk_added)
        heap->chunk_added();
    struct luampB_chunk *chunk = memory;
    chunk->next = heap->chunks;
    heap->chunks = chunk;
    heap->chunks_size += CHUNK_USED;
    set_too_many(heap);
    use(heap, chunk + 1, CHUNK_USED);
    return true;
}

static bool
use_span(struct luampB_heap *heap)
{
    struct luampB_span *span = heap->spans;
    if (span == NULL)
        return false;
    heap->spans = span->next;
    heap->bytes_free -= span->size;
    use(heap, span, span->size);
    return true;
}

static bool
use_more(struct luampB_heap *heap)
{
    put_all(heap, heap->next, heap->left);
    heap->left = 0;
    if (use_span(heap))
        return true;
    bool is_to_look = heap->chunks_size >= heap->too_large && heap->bytes_free > KEPT &&
                      heap->bytes_free > heap->chunks_size / 4;
    if ((is_to_look && look(heap) && use_span(heap)) || use_chunk(heap))
        return true;
    return look(heap) && (use_span(heap) || use_chunk(heap));
}

/* A block from what is left; NULL if that is not enough. */
static void *
cut(struct luampB_heap *heap, size_t class)
{
    size_t size = class * LUAMPB_UNIT;
    size_t gap = class % 2 == 0 ? (uintptr_t) heap->next % (2 * LUAMPB_UNIT) : 0;
    if (heap->left < gap + size)
        return NULL;
    if (gap > 0)
        put(heap, heap->next, gap / LUAMPB_UNIT);
    void *block = heap->next + gap;
    heap->next += gap + size;
    heap->left -= gap + size;
    return block;
}

/*
 * Blocks.
 */

/* A block of a class that has none in its list. */
static void *
take_unused(struct luampB_heap *heap, size_t class)
{
    void *block = cut(heap, class);
    if (block != NULL)
        return block;
    struct luampB_block *list = heap->inherited[class];
    if (list != NULL) {
        heap->inherited[class] = NULL;
        heap->free[class] = list->next;
        heap->bytes_free -= class * LUAMPB_UNIT;
        return list;
    }
    return use_more(heap) ? cut(heap, class) : NULL;
}

static void *
resize_large(struct luampB_heap *heap, void *block, size_t size, size_t wanted)
{
    void *moved = heap->large(NULL, block, size, wanted);
    if (moved == NULL && look(heap))
        moved = heap->large(NULL, block, size, wanted);
    return moved;
}

static void *
take(struct luampB_heap *heap, size_t size)
{
    if (size > LUAMPB_SMALL)
        return resize_large(heap, NULL, 0, size);
    size_t class = class_of(size);
    struct luampB_block *block = heap->free[class];
    if (block == NULL)
        return take_unused(heap, class);
    heap->free[class] = block->next;
    heap->bytes_free -= class * LUAMPB_UNIT;
    return block;
}

static void
release(struct luampB_heap *heap, void *block, size_t size)
{
    if (size > LUAMPB_SMALL) {
        heap->large(NULL, block, size, 0);
        return;
    }
    put(heap, block, class_of(size));
    if (heap->bytes_free > heap->too_many)
        look(heap);
}

static void *
resize(struct luampB_heap *heap, void *block, size_t size, size_t wanted)
{
    if (size > LUAMPB_SMALL && wanted > LUAMPB_SMALL)
        return resize_large(heap, block, size, wanted);
    if (size <= LUAMPB_SMALL && wanted <= LUAMPB_SMALL && class_of(size) == class_of(wanted))
        return block;
    void *moved = take(heap, wanted);
    if (moved != NULL) {
        memcpy(moved, block, size < wanted ? size : wanted);
        release(heap, block, size);
    }
    return moved;
}

void *
luampB_heap_allocate(void *argument, void *block, size_t size, size_t wanted)
{
    struct luampB_heap *heap = argument;
    if (block == NULL)
        return wanted > 0 ? take(heap, wanted) : NULL;
    if (wanted > 0)
        return resize(heap, block, size, wanted);
    release(heap, block, size);
    return NULL;
}

static void *
allocate_large(void *unused, void *block, size_t size, size_t wanted)
{
    (void) unused, (void) size;
    if (wanted > 0)
        return realloc(block, wanted);
    free(block);
    return NULL;
}

/*
 * The heap as a whole.
 */

void
luampB_heap_open(struct luampB_heap *heap, void *first, size_t size)
{
    *heap = (struct luampB_heap) {.large = allocate_large, .first = first, .first_size = size};
    set_too_many(heap);
    use(heap, first, size);
}

void
luampB_heap_close(struct luampB_heap *heap)
{
    while (heap->chunks != NULL) {
        struct luampB_chunk *chunk = heap->chunks;
        heap->chunks = chunk->next;
        free(chunk);
    }
}

void
luampB_heap_set_apart(struct luampB_heap *heap)
{
    for (size_t class = 1; class < LUAMPB_CLASSES; class++) {
        if (heap->inherited[class] == NULL) { /* else this is a child's child */
            heap->inherited[class] = heap->free[class];
            heap->free[class] = NULL;
        }
    }
}
