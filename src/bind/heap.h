/*
 * heap: the memory of a Lua state that luamp makes; see heap.c.
 */
#ifndef LUAMP_HEAP_H
#define LUAMP_HEAP_H

#include <lua.h>

#include <stddef.h>

/* Bytes of the largest block that is small. An address sanitizer is to see each block, so then none is. */
#ifndef LUAMPB_SMALL
#if defined(__SANITIZE_ADDRESS__)
#define LUAMPB_SMALL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LUAMPB_SMALL 0
#endif
#endif
#endif
#ifndef LUAMPB_SMALL
#define LUAMPB_SMALL 512
#endif

#define LUAMPB_UNIT 8 /* sizes of small blocks are rounded up to a multiple of this */
#define LUAMPB_CLASSES (LUAMPB_SMALL / LUAMPB_UNIT + 1)

struct luampB_block;
struct luampB_chunk;
struct luampB_span;

struct luampB_heap {
    /* What may be changed before there are blocks. */
    lua_Alloc large;           /* for what is not small; called without an argument */
    void (*chunk_added)(void); /* or NULL */

    char *first; /* the memory that the heap began with */
    size_t first_size;
    struct luampB_chunk *chunks; /* the latest is first */
    size_t chunks_size;
    char *next;                /* what blocks are cut from: of the latest chunk, of a span, or of `first` */
    size_t left;               /* bytes of it */
    struct luampB_span *spans; /* what comes next */

    /* The free blocks of each size, in units; and those that a child has apart. */
    struct luampB_block *free[LUAMPB_CLASSES], *inherited[LUAMPB_CLASSES];
    size_t bytes_free; /* in both, and in spans */
    size_t too_many;   /* of these, so that it is time to look at them; */
    size_t too_large;  /* the same of chunks_size, when the heap grows beside much that is free */
};

/* Begins in `first`, `size` bytes, aligned as malloc's, or in nothing (NULL, 0). */
void luampB_heap_open(struct luampB_heap *heap, void *first, size_t size);

/* Gives back all chunks: no small block may be in use. */
void luampB_heap_close(struct luampB_heap *heap);

/* A lua_Alloc; its argument is the heap. */
void *luampB_heap_allocate(void *heap, void *block, size_t size, size_t wanted);

/* In a child: what is allocated from here on lies together, and not where free blocks were at the fork. Each of those
   may be on a page that would have to be copied; they are used when nothing else is left. */
void luampB_heap_set_apart(struct luampB_heap *heap);

#endif
