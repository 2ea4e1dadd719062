/*
 * arena: the memory that a family of processes shares.
 *
 * One memfd, mapped before the first fork and never moved while a member lives: a large
 * reservation of address space whose pages cost nothing until they are touched. Everything in it
 * is addressed by offset. It has five regions, in this order:
 *
 *    header | roster of members | holders' bits | cells of objects | map of pages | pages
 *
 * This file makes the mapping and hands out runs of pages. Page 0 and cell 0 are nobody's, so
 * that 0 can mean "none". Who lives in the other regions is said in roster.h and handle.h.
 *
 * Pages. The map has one 64-bit word for each page. The word of the first page of a run says how
 * long the run is, whether it is used, and by which object; the words of its other pages are
 * zero. Runs lie end to end from the first page up to `h_top`. Taking a run, freeing it,
 * splitting it and joining it with the next are each committed by one store of the first page's
 * word, under the arena's lock. There are no lists: `h_recent` is a guess at free runs, checked
 * before use and dropped when a lock's owner died. A run that is taken belongs to an object from
 * that same store on, so a death leaks nothing: who repairs the object compares the runs that
 * carry its index with those it knows (amp_arena_reclaim).
 *
 * Memory is backed by the kernel before it is handed out, so that a full system is an error at the
 * call and not a bus error later. Long free runs are given back to the kernel when much is free.
 */
#ifndef AMP_ARENA_H
#define AMP_ARENA_H

#include "lock.h"

#include <stdint.h>

#define AMP_PAGE 4096u
#define AMP_ROWS 2048u            /* rows of bits: one for each member, and one more */
#define AMP_MEMBERS_MAX 2047u     /* threads and processes of one family at a time */
#define AMP_ROSTER_SLOT 512u
#define AMP_CELL_SIZE 512u
#define AMP_ROW_CHUNK 512u /* cells for which a member has one 64-byte piece of bits */
#define AMP_ROW_PIECE (AMP_ROW_CHUNK / 8)

#define AMP_RECENT_LENGTHS 16u
#define AMP_RECENT_EACH 8u

struct amp_header {
    uint64_t h_magic;
    uint64_t h_layout;        /* hash of the sizes that all members must agree on */
    uint64_t h_pid_namespace; /* ids of threads mean nothing outside it */
    uint64_t h_size;          /* of the reservation */
    uint64_t h_roster, h_rows, h_cells, h_map, h_pages; /* where the regions begin */
    uint32_t h_cells_max;
    uint32_t h_pages_max;

    struct amp_lock h_arena_lock;    /* guards what follows down to h_warm */
    uint32_t h_top;                  /* first page that was never part of a run */
    uint32_t h_backed;               /* pages up to here have memory, but for those of cold runs */
    uint32_t h_rover;                /* where the next search begins */
    uint32_t h_free;                 /* pages in free runs; a guess that the repair recounts */
    uint32_t h_warm;                 /* those of them in warm runs; the same */
    uint32_t h_recent[AMP_RECENT_LENGTHS][AMP_RECENT_EACH];

    struct amp_lock h_roster_lock;   /* guards the taking of slots */
    _Atomic uint32_t h_members_top;  /* slots from here on are not in use */
    _Atomic uint32_t h_members_rover; /* where the next search begins; a guess */

    struct amp_lock h_recovery_lock; /* one at a time recovers the dead */

    struct amp_lock h_table_lock;    /* guards the making and freeing of cells */
    _Atomic uint32_t h_cells_top;    /* cells from here on were never used */
    uint32_t h_cells_backed;
    uint32_t h_cells_free;           /* free cells below the top; a guess */
    uint32_t h_cells_rover;
    uint32_t h_recent_cells[64];     /* a guess at free cells */
    uint32_t h_recent_cells_n;
    uint32_t h_dying;                /* the cell whose end has begun, or 0 */
    _Atomic uint32_t h_transfers;    /* messages with objects that were received */
    _Atomic uint32_t h_lapses;       /* deaths that may have left an object's c_carried too high */
    _Atomic uint32_t h_deaths;       /* how many members were recovered */
};

struct amp_arena {
    char *base;   /* NULL until made */
    int descriptor;
    struct amp_header *header;
    _Atomic uint64_t *map;
};

extern struct amp_arena amp_arena;

/* Makes the arena of a new family: 0, or a negative errno. `reservation` is in bytes, 0 for the
   usual one; what the limits of the process do not allow is tried smaller. */
int amp_arena_make(uint64_t reservation);

/* Unmaps it: for tests, and for the last state of an embedding program. */
void amp_arena_drop(void);

static inline void *
amp_at(uint64_t offset)
{
    return amp_arena.base + offset;
}

static inline uint64_t
amp_offset(const void *address)
{
    return (uint64_t) ((const char *) address - amp_arena.base);
}

/* A run of pages is known by the index of its first page. */
static inline void *
amp_page_at(uint32_t page)
{
    return amp_arena.base + amp_arena.header->h_pages + (uint64_t) page * AMP_PAGE;
}

/* Takes a run of at least `size` bytes for the object with this cell. The contents are arbitrary.
   0, or -ENOMEM (the arena, or the machine, is full). */
int amp_arena_take(uint64_t size, uint32_t owner, uint32_t *page);

/* Gives a run back. */
void amp_arena_free(uint32_t page);

/* Bytes in the run. */
uint64_t amp_arena_run_size(uint32_t page);

/* Frees every run of this owner for which keep() is not true. */
void amp_arena_reclaim(uint32_t owner, bool (*keep)(uint32_t page, void *argument), void *argument);

/* Bytes in used runs. */
uint64_t amp_arena_used(void);

/* Sees to it that the bytes from `offset` on have memory: 0 or a negative errno. */
int amp_arena_back(uint64_t offset, uint64_t length);

/* The same for the bits that say who of the members `from` to `to` - 1 holds which of the cells
   below `cells`, and which of those carry others. */
int amp_arena_back_rows(uint32_t from, uint32_t to, uint32_t cells);

#endif
