/*
 * handle: cells of objects, bits of holders. See handle.h.
 */
#include "handle.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE(generation, kind, phase) \
    ((uint64_t) (generation) << 16 | (uint64_t) (kind) << 8 | (uint64_t) (phase))
#define GENERATION(state) ((uint32_t) ((state) >> 16))
#define PHASE(state) ((enum amp_cell_phase) ((state) & 0xff))
#define CELLS_AT_ONCE 64 /* backed by the kernel in one call */
#define ROWS_AHEAD 8u    /* of members that come while the cells of a piece are new */
#define CARRIERS AMP_MEMBERS_MAX /* the row behind the members': objects that may carry others */

#define RECENT_MAX (sizeof((struct amp_header *) 0)->h_recent_cells / sizeof(uint32_t))

/*
 * Bits.
 */

static inline _Atomic uint64_t *
bits_word(uint32_t member, uint32_t cell)
{
    uint64_t piece = (uint64_t) (cell / AMP_ROW_CHUNK) * AMP_ROWS + member;
    _Atomic uint64_t *bits = amp_at(amp_arena.header->h_rows + piece * AMP_ROW_PIECE);
    return &bits[cell % AMP_ROW_CHUNK / 64];
}

static inline uint64_t
bit_of(uint32_t cell)
{
    return UINT64_C(1) << (cell % 64);
}

/* Written by the member itself, by its parent before it is born, and by its burier. */
static inline void
set_bit(uint32_t member, uint32_t cell)
{
    atomic_fetch_or(bits_word(member, cell), bit_of(cell));
}

static inline void
clear_bit(uint32_t member, uint32_t cell)
{
    atomic_fetch_and(bits_word(member, cell), ~bit_of(cell));
}

static bool
is_held(uint32_t cell)
{
    uint32_t top = amp_members_top();
    for (uint32_t member = 0; member < top; member++) {
        if (atomic_load(bits_word(member, cell)) & bit_of(cell))
            return true;
    }
    return false;
}

/* Pieces that cells below the top can have. */
static uint32_t
pieces(void)
{
    uint32_t top = atomic_load_explicit(&amp_arena.header->h_cells_top, memory_order_acquire);
    return (top + AMP_ROW_CHUNK - 1) / AMP_ROW_CHUNK;
}

void
amp_holders_copy(uint32_t from, uint32_t to)
{
    for (uint32_t piece = 0; piece < pieces(); piece++) {
        _Atomic uint64_t *source = bits_word(from, piece * AMP_ROW_CHUNK);
        _Atomic uint64_t *target = bits_word(to, piece * AMP_ROW_CHUNK);
        for (uint32_t i = 0; i < AMP_ROW_CHUNK / 64; i++) {
            uint64_t bits = atomic_load_explicit(&source[i], memory_order_relaxed); /* our own */
            if (bits != 0)
                atomic_store(&target[i], bits);
        }
    }
    /* To who looks for holders row by row, a copy is a transfer: it may have passed the
       target's row before, and come to ours after we dropped the object. */
    amp_hold_transferred();
}

/*
 * The table. Its lock guards the step from FREE to MADE and every end.
 */

static void finish_end(struct amp_header *h, bool again);
static void look_at_all(uint32_t dead_maker);

static bool
enter(struct amp_header *h)
{
    if (amp_lock_enter(&h->h_table_lock) != AMP_OWNER_DIED)
        return false;
    h->h_recent_cells_n = 0;
    h->h_cells_free = atomic_load_explicit(&h->h_cells_top, memory_order_relaxed);
    h->h_cells_rover = 1;
    atomic_fetch_add(&h->h_lapses, 1);
    if (h->h_dying != 0)
        finish_end(h, true);
    return true;
}

static void
leave(struct amp_header *h)
{
    amp_lock_leave(&h->h_table_lock);
}

/* The locks of a cell: its dead object's words stay lock words, and may still be somebody's. */
static inline struct amp_lock *
lock_at(struct amp_cell *cell, int i)
{
    struct amp_lock *const locks[4] = {&cell->c_lock0, &cell->c_lock1, &cell->c_lock2,
                                       &cell->c_lock3};
    return locks[i];
}

static inline bool
is_free(uint32_t index)
{
    struct amp_cell *cell = amp_cell_at(index);
    if (PHASE(atomic_load_explicit(&cell->c_state, memory_order_relaxed)) != AMP_CELL_FREE)
        return false;
    for (int i = 0; i < 4; i++) {
        if (amp_lock_owner(lock_at(cell, i)) != 0)
            return false; /* its holder dropped the object without a release, and lives */
    }
    return true;
}

/* Clears what owners that died left in the words. */
static void
free_locks(struct amp_cell *cell)
{
    for (int i = 0; i < 4; i++) {
        struct amp_lock *lock = lock_at(cell, i);
        if (atomic_load_explicit(&lock->l_word, memory_order_relaxed) != 0 &&
            amp_lock_try(lock) >= 0)
            amp_lock_leave(lock);
        lock->l_depth = 0;
        lock->l_hint = 0;
    }
}

static int
find_free(struct amp_header *h, uint32_t *index)
{
    while (h->h_recent_cells_n > 0) {
        *index = h->h_recent_cells[--h->h_recent_cells_n];
        if (is_free(*index))
            return 0;
    }
    uint32_t top = atomic_load_explicit(&h->h_cells_top, memory_order_relaxed);
    if (top == 0)
        top = 1; /* cell 0 is nobody's */
    /* Cells that did not fit into the recent ones: looked for, some at a time, when a good part of
       the table should be free; and everywhere, when there are no new ones. */
    bool is_full = top == h->h_cells_max;
    uint32_t most = is_full ? top : h->h_cells_free > top / 4 ? 4096 : 0;
    if (most > top)
        most = top; /* no cell twice */
    for (uint32_t looked = 0; looked < most; looked++) {
        if (h->h_cells_rover == 0 || h->h_cells_rover >= top)
            h->h_cells_rover = 1;
        *index = h->h_cells_rover++;
        if (is_free(*index))
            return 0;
    }
    h->h_cells_free -= most < h->h_cells_free ? most : h->h_cells_free; /* the guess was too high */
    if (is_full)
        return -ENOMEM;
    if (top >= h->h_cells_backed) {
        int failure = amp_arena_back(h->h_cells + (uint64_t) h->h_cells_backed * AMP_CELL_SIZE,
                                     CELLS_AT_ONCE * AMP_CELL_SIZE);
        if (failure == 0 && h->h_cells_backed % AMP_ROW_CHUNK == 0)
            failure = amp_arena_back_rows(0, amp_members_top() + ROWS_AHEAD,
                                          h->h_cells_backed + AMP_ROW_CHUNK);
        if (failure != 0)
            return failure;
        h->h_cells_backed += CELLS_AT_ONCE;
    }
    *index = top;
    atomic_store_explicit(&h->h_cells_top, top + 1, memory_order_release);
    return 0;
}

/* Marks that this member is in the middle of something with objects. */
void
amp_handling(bool on)
{
    if (amp_self.member != AMP_NOBODY) {
        amp_self.handling += on ? 1 : -1;
        atomic_store_explicit(&amp_member_at(amp_self.member)->m_handling,
                              amp_self.handling > 0, memory_order_relaxed);
    }
    AMP_COMPILER_BARRIER();
}

amp_handle
amp_cell_handle(const struct amp_cell *cell)
{
    uint64_t state = atomic_load_explicit(&cell->c_state, memory_order_relaxed);
    return (uint64_t) GENERATION(state) << 32 | amp_cell_index(cell);
}

struct amp_cell *
amp_cell_of(amp_handle handle)
{
    uint32_t index = amp_handle_index(handle);
    if (index == 0 ||
        index >= atomic_load_explicit(&amp_arena.header->h_cells_top, memory_order_acquire))
        return NULL;
    struct amp_cell *cell = amp_cell_at(index);
    uint64_t state = atomic_load_explicit(&cell->c_state, memory_order_acquire);
    return PHASE(state) == AMP_CELL_LIVE && GENERATION(state) == handle >> 32 ? cell : NULL;
}

void
amp_cell_name(uint32_t index, char name[AMP_CELL_NAME])
{
    struct amp_header *h = amp_arena.header;
    bool repaired = enter(h); /* under its lock the names are written */
    memcpy(name, amp_cell_at(index)->c_name, AMP_CELL_NAME);
    leave(h);
    if (repaired)
        look_at_all(AMP_NOBODY);
}

uint32_t
amp_cells_top(void)
{
    return atomic_load_explicit(&amp_arena.header->h_cells_top, memory_order_acquire);
}

amp_handle
amp_cell_told(uint32_t index, enum amp_kind *kind, char name[AMP_CELL_NAME])
{
    struct amp_cell *cell = amp_cell_at(index);
    uint64_t state = atomic_load_explicit(&cell->c_state, memory_order_acquire);
    if (PHASE(state) != AMP_CELL_LIVE)
        return 0;
    amp_cell_name(index, name);
    *kind = (enum amp_kind) (state >> 8 & 0xff);
    /* acquire: the name is of the object that the state says, if that one is still there */
    return atomic_load_explicit(&cell->c_state, memory_order_acquire) == state
               ? amp_cell_handle(cell) : 0;
}

/* Zeroes all but the state and the locks. */
static void
clear(struct amp_cell *cell)
{
    cell->c_carries = 0;
    cell->c_carried = 0;
    cell->c_lapses = atomic_load(&amp_arena.header->h_lapses);
    cell->c_ending = 0;
    memset(cell->c_name, 0, sizeof cell->c_name);
    memset(cell->c_first, 0, sizeof cell->c_first);
    memset(cell->c_second, 0, sizeof cell->c_second);
    memset(cell->c_rest, 0, sizeof cell->c_rest);
}

int
amp_cell_make(enum amp_kind kind, const char *name, struct amp_cell **made)
{
    struct amp_header *h = amp_arena.header;
    amp_handling(true);
    bool repaired = enter(h);
    uint32_t top = atomic_load_explicit(&h->h_cells_top, memory_order_relaxed);
    uint32_t index;
    int failure = find_free(h, &index);
    bool is_reused = failure == 0 && index < top;
    if (failure == 0) {
        struct amp_cell *cell = amp_cell_at(index);
        uint64_t free = atomic_load_explicit(&cell->c_state, memory_order_relaxed);
        clear(cell);
        free_locks(cell);
        atomic_store_explicit(&cell->c_maker, amp_self.member, memory_order_relaxed);
        size_t length = strlen(name);
        memcpy(cell->c_name, name, length < AMP_CELL_NAME ? length : AMP_CELL_NAME - 1);
        AMP_COMPILER_BARRIER();
        atomic_store_explicit(&cell->c_state, STATE(GENERATION(free), kind, AMP_CELL_MADE),
                              memory_order_release);
        if (is_reused && h->h_cells_free > 0)
            h->h_cells_free--;
        *made = cell;
    }
    leave(h);
    if (repaired)
        look_at_all(AMP_NOBODY);
    if (failure != 0)
        amp_handling(false);
    return failure;
}

amp_handle
amp_cell_ready(struct amp_cell *cell)
{
    uint64_t state = atomic_load_explicit(&cell->c_state, memory_order_relaxed);
    set_bit(amp_self.member, amp_cell_index(cell));
    atomic_store_explicit(&cell->c_state, (state & ~UINT64_C(0xff)) | AMP_CELL_LIVE,
                          memory_order_release);
    amp_handling(false);
    return amp_cell_handle(cell);
}

/*
 * The end of objects.
 */

/* Objects that a carrier had when it ended: looked at after the table's lock is free. A list in
   private memory; what a death loses of it is found by the burial, since m_handling is set. */
static __thread struct {
    amp_handle *handles;
    size_t n, room;
    bool again; /* told by an end that was begun before: who began it may have lowered the counts */
    bool is_cut; /* there was no memory for some of them */
} doubts;

/* The carrier does not carry the object any more. */
static void
uncount(const struct amp_cell *carrier, amp_handle handle)
{
    struct amp_cell *cell = amp_cell_at(amp_handle_index(handle));
    if (cell != carrier)
        atomic_fetch_sub(&cell->c_carried, 1);
}

void
amp_handle_doubt(struct amp_cell *carrier, amp_handle handle)
{
    if (!doubts.again)
        uncount(carrier, handle);
    if (doubts.n == doubts.room) {
        size_t room = doubts.room ? 2 * doubts.room : 16;
        amp_handle *handles = realloc(doubts.handles, room * sizeof *handles);
        if (handles == NULL) {
            doubts.is_cut = true;
            return;
        }
        doubts.handles = handles;
        doubts.room = room;
    }
    doubts.handles[doubts.n++] = handle;
}

/* Ends the cell that is noted as dying. The caller has the table's lock. `again`: after a death. */
static void
finish_end(struct amp_header *h, bool again)
{
    uint32_t index = h->h_dying;
    struct amp_cell *cell = amp_cell_at(index);
    uint64_t state = atomic_load_explicit(&cell->c_state, memory_order_relaxed);
    if (PHASE(state) != AMP_CELL_FREE) {
        const struct amp_kind_operations *kind = amp_kinds[amp_cell_kind(cell)];
        doubts.again = again;
        if (kind && kind->end)
            kind->end(cell);
        doubts.again = false;
        if (atomic_load_explicit(&cell->c_carries, memory_order_relaxed))
            clear_bit(CARRIERS, index);
        AMP_COMPILER_BARRIER();
        atomic_store_explicit(&cell->c_state, STATE(GENERATION(state) + 1, 0, AMP_CELL_FREE),
                              memory_order_release);
        h->h_cells_free++;
        if (h->h_recent_cells_n < RECENT_MAX)
            h->h_recent_cells[h->h_recent_cells_n++] = index;
    }
    AMP_COMPILER_BARRIER();
    h->h_dying = 0;
}

static void
end_cell(struct amp_header *h, uint32_t index, bool again)
{
    h->h_dying = index;
    AMP_COMPILER_BARRIER();
    finish_end(h, again);
}

static void settle_doubts(void);

void
amp_cell_abandon(struct amp_cell *cell)
{
    struct amp_header *h = amp_arena.header;
    enter(h);
    end_cell(h, amp_cell_index(cell), false);
    leave(h);
    settle_doubts();
    amp_handling(false);
}

/* True when some object carries this one, in a message or as a part of it, as the carriers say
   themselves. The caller has the table's lock, so no carrier ends. */
static bool
is_carried_by_any(amp_handle handle)
{
    for (uint32_t piece = 0; piece < pieces(); piece++) {
        _Atomic uint64_t *words = bits_word(CARRIERS, piece * AMP_ROW_CHUNK);
        for (uint32_t i = 0; i < AMP_ROW_CHUNK / 64; i++) {
            uint64_t bits = atomic_load(&words[i]);
            for (; bits != 0; bits &= bits - 1) {
                uint32_t index = piece * AMP_ROW_CHUNK + i * 64 + (uint32_t) __builtin_ctzll(bits);
                struct amp_cell *cell = amp_cell_at(index);
                if (index == amp_handle_index(handle) ||
                    PHASE(atomic_load_explicit(&cell->c_state, memory_order_acquire)) !=
                        AMP_CELL_LIVE)
                    continue;
                const struct amp_kind_operations *kind = amp_kinds[amp_cell_kind(cell)];
                if (kind && kind->carries && kind->carries(cell, handle))
                    return true;
            }
        }
    }
    return false;
}

/* The same, by the count where that can be believed. */
static bool
is_carried(struct amp_cell *cell)
{
    if (atomic_load(&cell->c_carried) == 0)
        return false;
    return cell->c_lapses == atomic_load(&amp_arena.header->h_lapses) ||
           is_carried_by_any(amp_cell_handle(cell));
}

/* Ends the object if nothing refers to it. */
static void
consider(amp_handle handle)
{
    struct amp_header *h = amp_arena.header;
    uint32_t index = amp_handle_index(handle);
    if (is_held(index))
        return;
    enter(h);
    struct amp_cell *cell = amp_cell_of(handle);
    while (cell != NULL) {
        /* Pairs with amp_hold_transferred(): a receiver's bit is set before the transfer
           is counted. */
        uint32_t transfers = atomic_load(&h->h_transfers);
        if (is_held(index) || is_carried(cell))
            break;
        if (atomic_load(&h->h_transfers) == transfers) {
            end_cell(h, index, false);
            break;
        }
    }
    leave(h);
}

/* Considers what is in doubt, and what that brings into doubt: where it could not be noted, all objects. */
static void
settle_doubts(void)
{
    while (doubts.n > 0)
        consider(doubts.handles[--doubts.n]);
    if (doubts.handles != NULL) /* after the end of a carrier; a child that ends is spared a call */
        free(doubts.handles);
    doubts.handles = NULL;
    doubts.room = 0;
    if (doubts.is_cut) { /* by the end of an object: so this comes to an end, too */
        doubts.is_cut = false;
        look_at_all(AMP_NOBODY);
    }
}

/* After a death in the middle of handling: frees what the dead was making, ends what nobody
   refers to. */
static void
look_at_all(uint32_t dead_maker)
{
    struct amp_header *h = amp_arena.header;
    uint32_t top = atomic_load_explicit(&h->h_cells_top, memory_order_acquire);
    for (uint32_t i = 1; i < top; i++) {
        struct amp_cell *cell = amp_cell_at(i);
        uint64_t state = atomic_load_explicit(&cell->c_state, memory_order_acquire);
        if (PHASE(state) == AMP_CELL_LIVE) {
            consider(amp_cell_handle(cell));
        } else if (PHASE(state) == AMP_CELL_MADE && dead_maker != AMP_NOBODY &&
                   atomic_load_explicit(&cell->c_maker, memory_order_relaxed) == dead_maker) {
            enter(h);
            if (atomic_load_explicit(&cell->c_state, memory_order_relaxed) == state)
                end_cell(h, i, true); /* what it names, it may not have counted */
            leave(h);
        }
    }
    settle_doubts();
}

static void
bury_cell(uint32_t member, uint32_t index)
{
    struct amp_cell *cell = amp_cell_at(index);
    const struct amp_kind_operations *kind = amp_kinds[amp_cell_kind(cell)];
    if (kind && kind->bury)
        kind->bury(cell, member);
}

void
amp_hold(amp_handle handle)
{
    set_bit(amp_self.member, amp_handle_index(handle));
}

void
amp_hold_for(uint32_t member, const amp_handle *handles, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        set_bit(member, amp_handle_index(handles[i]));
    /* A member that is given objects one by one will be a thread of this process; see where_is(). */
    atomic_store_explicit(&amp_member_at(member)->m_pid, (uint32_t) getpid(), memory_order_release);
    amp_hold_transferred(); /* as amp_holders_copy */
}

void
amp_hold_transferred(void)
{
    atomic_fetch_add(&amp_arena.header->h_transfers, 1);
}

void
amp_unhold(amp_handle handle)
{
    /* A member that left holds nothing; and the cell may have ended and be another object by
       now. */
    if (amp_self.member == AMP_NOBODY || amp_cell_of(handle) == NULL)
        return;
    const struct amp_kind_operations *kind =
        amp_kinds[amp_cell_kind(amp_cell_at(amp_handle_index(handle)))];
    amp_handling(true);
    bury_cell(amp_self.member, amp_handle_index(handle)); /* it gives back what it has of it */
    clear_bit(amp_self.member, amp_handle_index(handle));
    consider(handle);
    settle_doubts();
    amp_handling(false);
    if (kind && kind->left)
        kind->left(handle);
}

bool
amp_holds(uint32_t member, amp_handle handle)
{
    uint32_t index = amp_handle_index(handle);
    return member != AMP_NOBODY && amp_cell_of(handle) != NULL &&
           (atomic_load(bits_word(member, index)) >> index % 64 & 1);
}

/* A slot without a process is of a child that has not begun. It has what its parent had when it
   forked, whatever the parent does since. */
static unsigned
where_is(uint32_t member)
{
    uint32_t process = atomic_load_explicit(&amp_member_at(member)->m_pid, memory_order_acquire);
    return process == (uint32_t) getpid() ? AMP_HELD_HERE : AMP_HELD_ELSEWHERE;
}

unsigned
amp_holders(amp_handle handle)
{
    struct amp_header *h = amp_arena.header;
    unsigned holders = 0;
    /* Under the table's lock no carrier ends; and no message is lost between two looks, as in
       consider(). */
    enter(h);
    struct amp_cell *cell = amp_cell_of(handle);
    for (uint32_t transfers = 0; cell != NULL;) {
        transfers = atomic_load(&h->h_transfers);
        holders = 0;
        for (uint32_t i = 0; i < amp_members_top(); i++) {
            if (amp_member_phase(amp_member_at(i)) != AMP_FREE && amp_holds(i, handle))
                holders |= where_is(i);
        }
        if (is_carried(cell))
            holders |= AMP_CARRIED;
        if (atomic_load(&h->h_transfers) == transfers)
            break;
    }
    leave(h);
    return holders;
}

void
amp_handles_taken(struct amp_cell *carrier, const uint64_t *handles, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        uncount(carrier, handles[i]);
    amp_handling(false);
}

void
amp_handles_dropped(struct amp_cell *carrier, const uint64_t *handles, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        uncount(carrier, handles[i]);
    for (uint32_t i = 0; i < n; i++)
        consider(handles[i]);
    settle_doubts();
    amp_handling(false);
}

void
amp_handle_sent(struct amp_cell *carrier, const uint64_t *handles, uint32_t n)
{
    if (n == 0)
        return;
    amp_handling(true);
    amp_self.sending = true;
    if (!atomic_load_explicit(&carrier->c_carries, memory_order_relaxed)) {
        set_bit(CARRIERS, amp_cell_index(carrier));
        atomic_store(&carrier->c_carries, 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct amp_cell *cell = amp_cell_at(amp_handle_index(handles[i]));
        if (cell != carrier)
            atomic_fetch_add(&cell->c_carried, 1);
    }
}

void
amp_handle_sent_done(void)
{
    if (amp_self.sending) {
        amp_self.sending = false;
        amp_handling(false);
    }
}

/*
 * Counts of what stands for an object in this thread.
 */

static __thread struct {
    uint32_t **pieces; /* of AMP_ROW_CHUNK counts each, or NULL */
    uint32_t n;
} kept;

int
amp_keep_room(uint32_t index)
{
    uint32_t piece = index / AMP_ROW_CHUNK;
    if (piece >= kept.n) {
        uint32_t n = piece + 1 > 2 * kept.n ? piece + 1 : 2 * kept.n;
        uint32_t **more = realloc(kept.pieces, n * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        memset(more + kept.n, 0, (n - kept.n) * sizeof *more);
        kept.pieces = more;
        kept.n = n;
    }
    if (kept.pieces[piece] == NULL)
        kept.pieces[piece] = calloc(AMP_ROW_CHUNK, sizeof **kept.pieces);
    return kept.pieces[piece] ? 0 : -ENOMEM;
}

/* NULL: nothing in this thread ever stood for the cell. */
static uint32_t *
kept_count(uint32_t index)
{
    uint32_t piece = index / AMP_ROW_CHUNK;
    if (piece >= kept.n || kept.pieces[piece] == NULL)
        return NULL;
    return &kept.pieces[piece][index % AMP_ROW_CHUNK];
}

void
amp_keep(amp_handle handle)
{
    ++*kept_count(amp_handle_index(handle));
}

bool
amp_unkeep(amp_handle handle)
{
    uint32_t *count = kept_count(amp_handle_index(handle));
    return count != NULL && *count > 0 && --*count == 0;
}

bool
amp_is_kept(amp_handle handle)
{
    const uint32_t *count = kept_count(amp_handle_index(handle));
    return count != NULL && *count > 0;
}

void
amp_handle_thread_leave(void)
{
    for (uint32_t i = 0; i < kept.n; i++)
        free(kept.pieces[i]);
    free(kept.pieces);
    kept.pieces = NULL;
    kept.n = 0;
}

/* For each object that the member holds. */
static void
each_held(uint32_t member, void (*visit)(uint32_t member, uint32_t cell))
{
    for (uint32_t piece = 0; piece < pieces(); piece++) {
        _Atomic uint64_t *words = bits_word(member, piece * AMP_ROW_CHUNK);
        for (uint32_t i = 0; i < AMP_ROW_CHUNK / 64; i++) {
            uint64_t bits = atomic_load(&words[i]);
            for (; bits != 0; bits &= bits - 1)
                visit(member, piece * AMP_ROW_CHUNK + i * 64 + (uint32_t) __builtin_ctzll(bits));
        }
    }
}

static void
bury_bit(uint32_t member, uint32_t index)
{
    amp_handle handle = amp_cell_handle(amp_cell_at(index));
    clear_bit(member, index);
    consider(handle);
}

void
amp_holders_bury(uint32_t member)
{
    _Atomic uint32_t *handling_mark = &amp_member_at(member)->m_handling;
    bool handled = atomic_load_explicit(handling_mark, memory_order_acquire);
    if (handled)
        atomic_fetch_add(&amp_arena.header->h_lapses, 1);
    atomic_store(handling_mark, 1); /* should this burier die too, the next one looks at all */
    each_held(member, bury_cell);
    each_held(member, bury_bit);
    settle_doubts();
    if (handled)
        look_at_all(member);
}

uint32_t
amp_cells_live(void)
{
    uint32_t live = 0;
    uint32_t top = amp_cells_top();
    for (uint32_t i = 1; i < top; i++)
        live += PHASE(atomic_load_explicit(&amp_cell_at(i)->c_state, memory_order_relaxed)) ==
                AMP_CELL_LIVE;
    return live;
}
