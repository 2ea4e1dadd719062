/*
 * large_pages: a large heap of the program's own Lua state lies in large pages where the system has them
 * ("madvise" or "always" in /sys/kernel/mm/transparent_hugepage/enabled): a fork copies an entry for each page that is
 * there, and of a heap of 1 GiB there are 512 large ones or 262,144 small ones.
 *
 * A page is large only if the kernel knows that it may be when it is first touched. So a C library's heap that
 * has grown by ADVISED is made to grow by STEP, and the kernel is told of each step before it is
 * used. A small heap stays as it is: it would take more memory than it needs.
 *
 * The thresholds are set because the C library adapts its own only as long as none is set; these are
 * what it would arrive at when large blocks are freed.
 */
#include "large_pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__GLIBC__) && defined(MADV_HUGEPAGE)

#include <malloc.h>

#define MIB ((size_t) 1 << 20)
#define LARGE_PAGE (2 * MIB)
#define ADVISED (8 * MIB) /* bytes of growth from which on it is worth the while */
#define STEP (32 * MIB)
#define LARGE_BLOCK (32 * MIB) /* has a mapping of its own */

static uintptr_t first_end, advised; /* of the C library's heap: where it ended, and what the kernel knows of; 0: nothing yet */

static void
advise(uintptr_t from, uintptr_t to)
{
    from = (from + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    to &= ~(LARGE_PAGE - 1);
    if (from < to)
        madvise((void *) from, to - from, MADV_HUGEPAGE); /* or not: it is advice */
}

/* To be called when something has been allocated, before it is written to. */
static void
look_at_end(void)
{
    uintptr_t end = (uintptr_t) sbrk(0);
    if (end == advised || end - first_end < ADVISED)
        return;
    if (advised == 0)
        mallopt(M_TOP_PAD, (int) STEP);
    else if (end > advised)
        advise(advised - LARGE_PAGE, end); /* the last step may have ended within a page */
    advised = end;
}

/* A lua_Alloc. A block that is large indeed is told of before it is written to; one that realloc grew would be
   moved by its pages, to where large ones do not fit. */
static void *
allocate_large(void *unused, void *block, size_t size, size_t wanted)
{
    (void) unused;
    if (wanted == 0) {
        free(block);
        return NULL;
    }
    void *moved = NULL;
    if (wanted >= LARGE_BLOCK && wanted > size)
        moved = malloc(wanted);
    if (moved == NULL) {
        moved = realloc(block, wanted);
        look_at_end();
        return moved;
    }
    advise((uintptr_t) moved, (uintptr_t) moved + wanted);
    if (block != NULL)
        memcpy(moved, block, size);
    free(block);
    return moved;
}

void
large_pages_for(struct luampB_heap *heap)
{
    mallopt(M_MMAP_THRESHOLD, (int) LARGE_BLOCK);
    mallopt(M_TRIM_THRESHOLD, (int) (2 * LARGE_BLOCK));
    first_end = (uintptr_t) sbrk(0);
    heap->large = allocate_large;
    heap->chunk_added = look_at_end;
}

#else

void
large_pages_for(struct luampB_heap *heap)
{
    (void) heap;
}

#endif
