/*
 * The heap: blocks of all sizes keep what is written into them and do not overlap, memory goes back, and
 * what a child allocates lies together.
 */
#include "bind/heap.h"

#include "../core/tap.h"

#define BLOCKS 4000
#define LARGEST 2000
#define MIB ((size_t) 1 << 20)

static struct block {
    unsigned char *bytes;
    size_t size;
    unsigned char filling;
} blocks[BLOCKS];

static struct luampB_heap heap;
static uint64_t seed = 20261126;

static size_t
below(size_t limit)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (size_t) (seed >> 33) % limit;
}

/* Small ones mostly, as Lua's are. */
static size_t
some_size(void)
{
    return 1 + below(below(4) == 0 ? LARGEST : 130);
}

static bool
is_filled(const struct block *block, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (block->bytes[i] != block->filling)
            return false;
    }
    return true;
}

/* The block gets another size; 0: it is freed. Is what was in it there, and is it aligned? */
static bool
resize(struct block *block, size_t size)
{
    if (block->bytes && !is_filled(block, block->size))
        return false;
    size_t kept = size < block->size ? size : block->size;
    block->bytes = luampB_heap_allocate(&heap, block->bytes, block->bytes ? block->size : LUA_TSTRING, size);
    block->size = size;
    if (size == 0)
        return block->bytes == NULL;
    if (block->bytes == NULL || (uintptr_t) block->bytes % (size % 16 == 0 ? 16 : 8) != 0 || !is_filled(block, kept))
        return false;
    block->filling = (unsigned char) below(256);
    memset(block->bytes, block->filling, size);
    return true;
}

static bool
free_all(void)
{
    bool right = true;
    for (size_t i = 0; i < BLOCKS; i++)
        right = resize(&blocks[i], 0) && right;
    return right;
}

static void
test_blocks(void)
{
    _Alignas(max_align_t) static char first[32768];
    luampB_heap_open(&heap, first, sizeof first);
    ok(resize(&blocks[0], 100) && (size_t) ((char *) blocks[0].bytes - first) < sizeof first,
       "a heap begins in the memory that it is given");
    bool right = true;
    for (int i = 0; i < 300000 && right; i++)
        right = resize(&blocks[below(BLOCKS)], below(3) == 0 ? 0 : some_size());
    ok(right, "blocks that grow, shrink and go keep what is in them");
    ok(free_all(), "to the end");
    luampB_heap_close(&heap);
}

/* What the C library is asked for. */
static size_t large_bytes;

static void *
count_large(void *unused, void *block, size_t size, size_t wanted)
{
    (void) unused;
    large_bytes += wanted - (block ? size : 0);
    if (wanted > 0)
        return realloc(block, wanted);
    free(block);
    return NULL;
}

static void
test_large(void)
{
    luampB_heap_open(&heap, NULL, 0);
    heap.large = count_large;
    ok(resize(&blocks[0], LUAMPB_SMALL) && large_bytes == 0, "the largest block that is small");
    ok(resize(&blocks[0], LUAMPB_SMALL + 1) && large_bytes == LUAMPB_SMALL + 1, "one that is large");
    ok(resize(&blocks[0], 1000) && large_bytes == 1000, "a large one that grows");
    ok(resize(&blocks[0], 10) && large_bytes == 0, "and becomes small");
    ok(free_all(), "and goes");
    luampB_heap_close(&heap);
}

/* Makes a list of so many bytes in blocks of many sizes, and returns it. */
static struct node {
    struct node *next;
    size_t size, check;
} *
make_list(size_t bytes)
{
    struct node *list = NULL;
    while (bytes > 0) {
        size_t size = sizeof(struct node) + below(100);
        struct node *node = luampB_heap_allocate(&heap, NULL, 0, size);
        tap_need(node != NULL);
        *node = (struct node) {.next = list, .size = size, .check = size * 31};
        list = node;
        bytes -= size < bytes ? size : bytes;
    }
    return list;
}

/* Frees the list but for each step-th, and returns the rest; step 0: all of it. */
static struct node *
thin_list(struct node *list, size_t step)
{
    struct node *rest = NULL;
    size_t i = 0;
    while (list != NULL) {
        struct node *next = list->next;
        if (step > 0 && i++ % step == 0) {
            list->next = rest;
            rest = list;
        } else {
            luampB_heap_allocate(&heap, list, list->size, 0);
        }
        list = next;
    }
    return rest;
}

static bool
is_whole(const struct node *list)
{
    for (; list != NULL; list = list->next) {
        if (list->check != list->size * 31)
            return false;
    }
    return true;
}

static void
test_giving_back(void)
{
    luampB_heap_open(&heap, NULL, 0);
    struct node *early = make_list(MIB);
    struct node *list = make_list(200 * MIB);
    size_t most = heap.chunks_size;
    ok(most >= 201 * MIB && most < 220 * MIB, "200 MiB take not much more: %zu MiB", most / MIB);
    thin_list(list, 0);
    ok(heap.chunks_size < most / 3, "when they are free they go back: %zu MiB are left", heap.chunks_size / MIB);
    ok(is_whole(early), "and what is used stays as it is");

    list = make_list(200 * MIB);
    list = thin_list(list, 100);
    ok(is_whole(list) && heap.chunks_size > most * 9 / 10, "a block here and there keeps them: %zu MiB",
       heap.chunks_size / MIB);
    struct node *more = make_list(190 * MIB);
    ok(heap.chunks_size < most * 11 / 10 && is_whole(list) && is_whole(more), "which is used again: %zu MiB",
       heap.chunks_size / MIB);
    thin_list(more, 0);
    thin_list(list, 0);
    ok(is_whole(early), "all that is left is whole");
    thin_list(early, 0);
    is((intmax_t) heap.bytes_free + (intmax_t) heap.left, (intmax_t) heap.chunks_size, "nothing is in use");
    luampB_heap_close(&heap);
}

static void
test_sizes(void)
{
    luampB_heap_open(&heap, NULL, 0);
    struct node *early = make_list(100 * MIB), *left[8];
    for (size_t size = 64; size <= 512; size += 64) {
        struct node *list = NULL;
        for (size_t bytes = 0; bytes < 60 * MIB; bytes += size) {
            struct node *node = luampB_heap_allocate(&heap, NULL, 0, size);
            tap_need(node != NULL);
            *node = (struct node) {.next = list, .size = size, .check = size * 31};
            list = node;
        }
        left[size / 64 - 1] = thin_list(list, 500); /* one in most chunks */
    }
    ok(heap.chunks_size < 200 * MIB, "what was free in one size is used in others: 480 MiB in %zu",
       heap.chunks_size / MIB);
    bool right = is_whole(early);
    for (int i = 0; i < 8; i++) {
        right = right && is_whole(left[i]);
        thin_list(left[i], 0);
    }
    ok(right, "and what is used between it is whole");
    thin_list(early, 0);
    is((intmax_t) heap.bytes_free + (intmax_t) heap.left, (intmax_t) heap.chunks_size, "nothing is in use");
    luampB_heap_close(&heap);
}

static void
test_child(void)
{
    enum { MANY = 100 };
    void *old[MANY], *new[MANY];
    luampB_heap_open(&heap, NULL, 0);
    for (int i = 0; i < MANY; i++)
        old[i] = luampB_heap_allocate(&heap, NULL, 0, 40 + (size_t) i % 3 * 16);
    const char *border = heap.next;
    for (int i = 0; i < MANY; i++)
        luampB_heap_allocate(&heap, old[i], 40 + (size_t) i % 3 * 16, 0);

    luampB_heap_set_apart(&heap);
    bool together = true;
    for (int i = 0; i < MANY; i++) {
        new[i] = luampB_heap_allocate(&heap, NULL, 0, 40 + (size_t) i % 3 * 16);
        together = together && (char *) new[i] >= border && (char *) new[i] < border + 16384;
    }
    ok(together, "what a child allocates lies together, behind all that was there");
    luampB_heap_allocate(&heap, new[0], 40, 0);
    is((intptr_t) luampB_heap_allocate(&heap, NULL, 0, 40), (intptr_t) new[0], "what it frees it uses again");

    luampB_heap_set_apart(&heap);
    size_t one = heap.chunks_size;
    bool used[MANY] = {false};
    while (heap.chunks_size == one) {
        void *block = luampB_heap_allocate(&heap, NULL, 0, 40);
        for (int i = 0; i < MANY; i++)
            used[i] = used[i] || block == old[i];
    }
    bool all = true;
    for (int i = 0; i < MANY; i += 3)
        all = all && used[i];
    ok(all, "and what its parent had freed when nothing else is left");
    luampB_heap_close(&heap);
}

int
main(void)
{
    test_blocks();
    test_large();
    test_giving_back();
    test_sizes();
    test_child();
    return tap_done();
}
