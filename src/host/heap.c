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
 *
 * And what a child allocates first lies together, in the nursery. The free blocks of an inherited heap
 * are scattered, and each that is used may be on one more page to copy, which would cost a child that
 * does little more than what it does. What is freed in the nursery is not used again.
 */
#include "heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NURSERY ((size_t) 8192)
#define NURSED 1024 /* bytes of a block that is not too large for it */

static char *nursery;       /* or NULL; nothing of it is written to before there is a child */
static size_t nursery_left; /* at its beginning; 0 in the main process */

void
heap_in_child(lua_State *L, void *unused)
{
    static bool is_open;
    (void) L, (void) unused;
    if (!is_open && nursery != NULL) /* else it was opened by our parent, and we go on in it */
        nursery_left = NURSERY;
    is_open = true;
}

static bool
is_nursed(const void *block)
{
    return (uintptr_t) block - (uintptr_t) nursery < NURSERY && nursery != NULL;
}

/* A block of the nursery, or NULL. */
static void *
nurse(size_t wanted)
{
    const size_t unit = _Alignof(max_align_t);
    size_t whole = (wanted + unit - 1) / unit * unit;
    if (wanted > NURSED || whole > nursery_left)
        return NULL;
    nursery_left -= whole;
    return nursery + nursery_left;
}

static void
release(void *block)
{
    if (!is_nursed(block))
        free(block);
}

/* As realloc, of a block that is nursed. */
static void *
outgrow(void *block, size_t size, size_t wanted)
{
    if (wanted <= size)
        return block;
    void *moved = nurse(wanted);
    if (moved == NULL)
        moved = malloc(wanted);
    if (moved != NULL)
        memcpy(moved, block, size);
    return moved;
}

static void *
resize(void *block, size_t size, size_t wanted)
{
    if (is_nursed(block))
        return outgrow(block, size, wanted);
    void *nursed = block == NULL ? nurse(wanted) : NULL;
    return nursed != NULL ? nursed : realloc(block, wanted);
}

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
        return resize(block, size, wanted);
    void *moved = malloc(wanted);
    if (moved == NULL)
        return resize(block, size, wanted);
    advise((uintptr_t) moved, (uintptr_t) moved + wanted);
    if (block != NULL)
        memcpy(moved, block, size);
    release(block);
    return moved;
}

void
heap_open(void)
{
    nursery = malloc(NURSERY);
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
        release(block);
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
    nursery = malloc(NURSERY);
}

void *
heap_allocate(void *unused, void *block, size_t size, size_t wanted)
{
    (void) unused;
    if (block == NULL)
        size = 0;
    if (wanted == 0) {
        release(block);
        return NULL;
    }
    return resize(block, size, wanted);
}

#endif
