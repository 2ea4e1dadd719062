/*
 * heap: the memory of the program's own Lua state is the C library's, as in lua. What this file adds is
 * that a large heap lies in large pages where the system has them ("madvise" or "always" in
 * /sys/kernel/mm/transparent_hugepage/enabled): a fork copies an entry for each page that is there,
 * and of a heap of 1 GiB there are 512 large ones or 262,144 small ones.
 *
 * A page is large only if the kernel knows that it may be when it is first touched. So a heap that
 * has grown to ADVISED is made to grow by STEP, and the kernel is told of each step before it is
 * used. A small heap stays as it is: it would take more memory than it needs.
 *
 * The thresholds are set because the C library adapts its own only as long as none is set; these are
 * what it would arrive at when large blocks are freed.
 */
#include "heap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__GLIBC__) && defined(MADV_HUGEPAGE)

#include <malloc.h>

#define MIB ((size_t) 1 << 20)
#define LARGE_PAGE (2 * MIB)
#define ADVISED (ptrdiff_t) (8 * MIB) /* bytes in use from which on it is worth the while */
#define STEP (32 * MIB)
#define LARGE_BLOCK (32 * MIB) /* has a mapping of its own */
#define LOOK (ptrdiff_t) (1 * MIB) /* so much growth, and the end of the heap is looked at */

/* Bytes: now, and when the end was looked at. Without what luaL_newstate had allocated, so it may be
   below zero when that is freed. */
static ptrdiff_t in_use, seen;
static uintptr_t advised; /* end of what the kernel knows of; 0: nothing yet */

static void
advise(uintptr_t from, uintptr_t to)
{
    from = (from + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    to &= ~(LARGE_PAGE - 1);
    if (from < to)
        madvise((void *) from, to - from, MADV_HUGEPAGE); /* or not: it is advice */
}

static void
look_at_end(void)
{
    uintptr_t end = (uintptr_t) sbrk(0);
    if (advised == 0)
        mallopt(M_TOP_PAD, (int) STEP);
    else if (end > advised)
        advise(advised - LARGE_PAGE, end); /* the last step may have ended within a page */
    advised = end;
    seen = in_use;
}

/* As realloc. A large block is told of before it is written to; one that realloc grew would be moved by
   its pages, to where large ones do not fit. */
static void *
reallocate(void *block, size_t size, size_t wanted)
{
    if (wanted < LARGE_BLOCK || wanted <= size)
        return realloc(block, wanted);
    void *moved = malloc(wanted);
    if (moved == NULL)
        return realloc(block, wanted);
    advise((uintptr_t) moved, (uintptr_t) moved + wanted);
    if (block != NULL)
        memcpy(moved, block, size);
    free(block);
    return moved;
}

void
heap_open(void)
{
    mallopt(M_MMAP_THRESHOLD, (int) LARGE_BLOCK);
    mallopt(M_TRIM_THRESHOLD, (int) (2 * LARGE_BLOCK));
}

void *
heap_allocate(void *unused, void *block, size_t size, size_t wanted)
{
    (void) unused;
    if (block == NULL)
        size = 0; /* then it is the kind of the object */
    if (wanted == 0) {
        free(block);
        in_use -= (ptrdiff_t) size;
        return NULL;
    }
    void *moved = reallocate(block, size, wanted);
    if (moved == NULL)
        return NULL;
    in_use += (ptrdiff_t) wanted - (ptrdiff_t) size;
    if (in_use > ADVISED && in_use - seen > LOOK)
        look_at_end();
    if (in_use < seen)
        seen = in_use;
    return moved;
}

#else

void
heap_open(void)
{
}

void *
heap_allocate(void *unused, void *block, size_t size, size_t wanted)
{
    (void) unused;
    (void) size;
    if (wanted == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, wanted);
}

#endif
