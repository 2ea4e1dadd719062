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
 * Chunks in which nothing is used go back to the C library when nearly all of the heap is free (too_many), or when
 * it grows although much of it is free, in blocks of other sizes (too_large): then all free blocks are counted by the chunk that
 * they lie in. That is seldom enough to cost nothing: a program in which as much dies as is born, and of the
 * same sizes, never comes to it.
 *
 * Invariants: a block of `size` bytes, of at most LUAMPB_SMALL, is round(size) units long, and at a multiple of 16 if that is
 * one, as a value that must be aligned so is a multiple of 16 long. Each byte of a chunk behind its header that is
 * not `left` is in exactly one block.
 */
#include "heap.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A chunk and the C library's own word lie in CHUNK bytes, so that chunks can follow each other. */
#define CHUNK ((size_t) 65536)
#define CHUNK_USED (CHUNK - 2 * sizeof(size_t) - sizeof(struct luampB_chunk))
#define KEPT ((size_t) 32 << 20) /* bytes that may be free for good */

struct luampB_block {
    struct luampB_block *next;
};

struct luampB_chunk {
    struct luampB_chunk *next;
    size_t bytes_free; /* as the last look has counted */
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

/*
 * Chunks.
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
use(struct luampB_heap *heap, void *memory, size_t size)
{
    heap->next = memory;
    heap->left = size / LUAMPB_UNIT * LUAMPB_UNIT;
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

static void
count_free(struct luampB_heap *heap, const struct luampB_block *list, size_t class)
{
    for (; list != NULL; list = list->next) {
        struct luampB_chunk *chunk = chunk_of(heap, list);
        if (chunk)
            chunk->bytes_free += class * LUAMPB_UNIT;
    }
}

static bool
is_unused(const struct luampB_heap *heap, const struct luampB_chunk *chunk)
{
    return chunk != NULL && chunk != heap->chunks && chunk->bytes_free == CHUNK_USED;
}

static void
forget_unused(struct luampB_heap *heap, struct luampB_block **list, size_t class)
{
    while (*list != NULL) {
        if (is_unused(heap, chunk_of(heap, *list))) {
            *list = (*list)->next;
            heap->bytes_free -= class * LUAMPB_UNIT;
        } else {
            list = &(*list)->next;
        }
    }
}

/* Gives back the chunks in which nothing is used. */
static void
give_back(struct luampB_heap *heap)
{
    for (struct luampB_chunk *chunk = heap->chunks; chunk != NULL; chunk = chunk->next)
        chunk->bytes_free = 0;
    for (size_t class = 1; class < LUAMPB_CLASSES; class++) {
        count_free(heap, heap->free[class], class);
        count_free(heap, heap->inherited[class], class);
    }
    for (size_t class = 1; class < LUAMPB_CLASSES; class++) {
        forget_unused(heap, &heap->free[class], class);
        forget_unused(heap, &heap->inherited[class], class);
    }
    for (struct luampB_chunk **link = &heap->chunks; *link != NULL;) {
        struct luampB_chunk *chunk = *link;
        if (is_unused(heap, chunk)) {
            *link = chunk->next;
            heap->chunks_size -= CHUNK_USED;
            free(chunk);
        } else {
            link = &chunk->next;
        }
    }
    set_too_many(heap);
}

static bool
add_chunk(struct luampB_heap *heap)
{
    if (heap->chunks_size >= heap->too_large && heap->bytes_free > KEPT &&
        heap->bytes_free > heap->chunks_size / 4) {
        give_back(heap);
        heap->too_large = heap->chunks_size + heap->chunks_size / 8;
    }
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

/*
 * Blocks.
 */

/* What is left becomes a block, or several where it is longer than one can be. */
static void
use_up(struct luampB_heap *heap)
{
    while (heap->left > 0) {
        size_t size = heap->left < LUAMPB_SMALL ? heap->left : LUAMPB_SMALL;
        put(heap, heap->next, size / LUAMPB_UNIT);
        heap->next += size;
        heap->left -= size;
    }
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
    use_up(heap);
    return add_chunk(heap) ? cut(heap, class) : NULL;
}

static void *
take(struct luampB_heap *heap, size_t size)
{
    if (size > LUAMPB_SMALL)
        return heap->large(NULL, NULL, 0, size);
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
        give_back(heap);
}

static void *
resize(struct luampB_heap *heap, void *block, size_t size, size_t wanted)
{
    if (size > LUAMPB_SMALL && wanted > LUAMPB_SMALL)
        return heap->large(NULL, block, size, wanted);
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
