/*
 * handle: the objects of a family, and who holds them.
 *
 * An object is a cell: 512 bytes of the arena, found by its index. Its handle is index and
 * generation, so that a handle of a freed object is never mistaken for its successor. Locks stand
 * at the same four places in every cell, whatever its kind: memory that was a lock word stays one
 * (lock.h).
 *
 * Who holds a cell is said by bits, one for each member and cell; no counter can be left wrong by
 * a death. The bits lie by member: a fork copies the parent's few, a burial clears a member's
 * few. (Members' pieces of the same 512 cells lie side by side, so a family with few objects
 * touches one page.)
 *
 * An object is freed when nobody holds it and nothing carries it: no message, no entry of a table, no
 * object that it is a part of. `c_carried` counts them: raised before the carrier's own commit, lowered
 * after the commit that ends it, so that a death in between leaves it too high and never too low. Such
 * a death is a lapse; the burial counts it, and from then on the counts of the objects that there were
 * by then are not believed when they are not zero: all that may carry the object is looked through
 * instead. (Without the count, to drop one of n objects in a queue would be to look at n messages.)
 * What an object carries of itself does not count: it would never end.
 *
 * A message may move while somebody looks: a receiver first sets its bit, then counts a transfer, then
 * takes the message; who looks begins again when a transfer was counted.
 *
 * Death. Making, sending and dropping run with `m_handling` set: the burial of a member that died so
 * counts a lapse, looks at all cells, and frees what is half made by it or held by nobody. The end of an
 * object runs under the table's lock, noted in `h_dying`; the next owner of the lock finishes it, and
 * lowers no count by that.
 */
#ifndef AMP_HANDLE_H
#define AMP_HANDLE_H

#include "roster.h"

enum amp_kind {
    AMP_NONE,
    AMP_LOCK,
    AMP_RLOCK,
    AMP_SEMAPHORE,
    AMP_BOUNDED_SEMAPHORE,
    AMP_EVENT,
    AMP_CONDITION,
    AMP_BARRIER,
    AMP_QUEUE,
    AMP_PIPE_END,
    AMP_VALUE,
    AMP_ARRAY,
    AMP_DICT,
    AMP_LIST,
    AMP_LOCAL,
    AMP_SOCKET,
    AMP_LISTENER,
    AMP_KINDS, /* below those of wait.h, which are no objects */
};

enum amp_cell_phase {
    AMP_CELL_FREE,
    AMP_CELL_MADE, /* by c_maker, not yet held */
    AMP_CELL_LIVE,
};

typedef uint64_t amp_handle; /* generation << 32 | index; 0: none */

#define AMP_CELL_NAME 48

/* A position in a queue: run of pages << 32 | offset in it; 0: the beginning of the first. */
typedef _Atomic uint64_t amp_position;

struct amp_cell {
    /* The first line: who it is. */
    _Atomic uint64_t c_state;        /* generation << 16 | kind << 8 | phase */
    _Atomic uint32_t c_maker;        /* member that makes it, until it is LIVE */
    _Atomic uint8_t c_carries;       /* a message in it had an object once */
    uint8_t c_ending;                /* its end has begun; see the kinds' end() */
    uint8_t c_spare[2];
    char c_name[AMP_CELL_NAME];

    /* The second and the third: for a queue, what producers and what consumers write. */
    struct amp_lock c_lock0;
    union {
        struct {                             /* AMP_QUEUE, producers' side; see ring.c */
            amp_position q_tail[2];
            amp_word q_published;
            uint32_t q_taken_seen;
        };
        struct {                             /* AMP_SEMAPHORE, AMP_BOUNDED_SEMAPHORE */
            amp_word s_permits;
            uint32_t s_limit;
            uint32_t s_held;                 /* run with one count a member */
        };
        struct {                             /* AMP_EVENT */
            amp_word e_word;
        };
        struct {                             /* AMP_CONDITION, AMP_BARRIER */
            amp_word b_round;                /* a barrier's */
            uint32_t b_parties;
            _Atomic uint32_t b_arrived;
            _Atomic uint32_t b_broken;
            uint32_t b_runner;               /* member that runs the action, or AMP_NOBODY */
            uint32_t d_next;                 /* a condition's next number */
        };
        struct {                             /* AMP_VALUE, AMP_ARRAY */
            _Atomic uint64_t v_bits;         /* a value's */
            uint64_t v_length;               /* an array's, in elements */
            uint32_t v_run;                  /* an array's run */
            uint32_t v_type;                 /* the typecode */
        };
        struct {                             /* AMP_DICT, AMP_LIST; see dict.c */
            _Atomic uint32_t t_store;        /* run of pages with the entries */
            uint32_t t_version;              /* of the last entry that was written */
            uint32_t t_count;                /* entries in it; a cache */
        };
        struct {                             /* AMP_SOCKET; see endpoint.c */
            amp_word k_sending;              /* who has sent a part of a message */
        };
        unsigned char c_first[24];
    };
    struct amp_lock c_lock1;
    union {
        struct {                             /* AMP_QUEUE, consumers' side */
            amp_position q_head[2];
            amp_word q_taken;
            uint32_t q_published_seen;
        };
        struct {                             /* AMP_SOCKET */
            amp_word k_receiving;            /* who has received a part of a message */
        };
        unsigned char c_second[24];
    };
    struct amp_lock c_lock2;
    struct amp_lock c_lock3;
    _Atomic uint32_t c_carried;          /* messages, entries and objects that it is a part of */
    uint32_t c_lapses;                   /* h_lapses when it was made */

    /* The rest. */
    union {
        struct {                             /* AMP_QUEUE */
            _Atomic uint32_t q_closed;       /* enum amp_ring_closed */
            uint32_t q_limit;                /* messages, 0: no limit */
            uint32_t q_segments_max;         /* 0: no limit */
            uint32_t q_first;                /* the oldest segment */
            uint64_t q_tail_size;            /* bytes of the tail's segment; a cache */
            uint32_t q_next_pages;           /* of the next new segment */
            amp_word q_done;                 /* tasks done */
            uint32_t q_leases;               /* run of leases, or 0 */
            uint32_t q_leases_n;
            _Atomic uint32_t q_taken_in_vain; /* count of takes that a producer has paused at, */
            _Atomic uint32_t q_vain_pauses;  /* and how often in a row none came of it */
            _Atomic uint32_t q_watched;      /* a consumer is awake for the next message; see ring.h */
        };
        struct {                             /* AMP_PIPE_END: its queues, or 0 */
            amp_handle p_in, p_out;
        };
        struct {                             /* AMP_CONDITION: its lock */
            amp_handle d_lock;
        };
        struct {                             /* AMP_SOCKET, AMP_LISTENER; see endpoint.c */
            _Atomic uint32_t k_over;         /* enum amp_over */
            uint32_t k_process;              /* that made it: its forks have the descriptor, too */
        };
        struct {                             /* AMP_BARRIER */
            double b_timeout;                /* seconds, negative: none */
            uint32_t b_has_action;
        };
        unsigned char c_rest[232];
    };
};

_Static_assert(sizeof(struct amp_cell) == AMP_CELL_SIZE, "a cell is what the layout says");
_Static_assert(offsetof(struct amp_cell, c_lock0) == 64 &&
                   offsetof(struct amp_cell, c_lock1) == 128,
               "each side of a queue has a cache line of its own");

/* What the kinds do; see family.c for the table. All may be NULL. */
struct amp_kind_operations {
    /* Frees what the cell has besides itself. Run again from its beginning after a death. The
       handles of the objects that it carried are told by amp_handle_doubt, before anything else. */
    void (*end)(struct amp_cell *cell);
    /* True when a message in the cell carries the object. */
    bool (*carries)(struct amp_cell *cell, amp_handle handle);
    /* A member that holds the cell drops it, or died. */
    void (*bury)(struct amp_cell *cell, uint32_t member);
    /* A member of this process has let go of the object, which may have ended. Nothing is held. */
    void (*left)(amp_handle handle);
};
extern const struct amp_kind_operations *const amp_kinds[AMP_KINDS];

static inline struct amp_cell *
amp_cell_at(uint32_t index)
{
    return amp_at(amp_arena.header->h_cells + (uint64_t) index * AMP_CELL_SIZE);
}

static inline uint32_t
amp_cell_index(const struct amp_cell *cell)
{
    return (uint32_t) ((amp_offset(cell) - amp_arena.header->h_cells) / AMP_CELL_SIZE);
}

static inline enum amp_kind
amp_cell_kind(const struct amp_cell *cell)
{
    return (enum amp_kind) (atomic_load_explicit(&cell->c_state, memory_order_relaxed) >> 8 & 0xff);
}

static inline bool
amp_cell_is_live(const struct amp_cell *cell)
{
    return (atomic_load_explicit(&cell->c_state, memory_order_relaxed) & 0xff) == AMP_CELL_LIVE;
}

static inline uint32_t
amp_handle_index(amp_handle handle)
{
    return (uint32_t) handle;
}

amp_handle amp_cell_handle(const struct amp_cell *cell);

/* What an object is called that the caller does not hold, and that may end now: a copy. */
void amp_cell_name(uint32_t index, char name[AMP_CELL_NAME]);

/* The live object in cell `index`, its kind and its name; 0 when there is none, or none any more.
   Indices go from 1 to below amp_cells_top(). */
uint32_t amp_cells_top(void);
amp_handle amp_cell_told(uint32_t index, enum amp_kind *kind, char name[AMP_CELL_NAME]);

/* The cell of a handle, or NULL when it names nothing alive. */
struct amp_cell *amp_cell_of(amp_handle handle);

/* Takes a cell for a new object; all of it but the locks is zero. The caller fills it in and calls
   amp_cell_ready, or gives it up with amp_cell_abandon. 0, or -ENOMEM. */
int amp_cell_make(enum amp_kind kind, const char *name, struct amp_cell **cell);

/* The object exists, and the calling thread holds it. */
amp_handle amp_cell_ready(struct amp_cell *cell);

void amp_cell_abandon(struct amp_cell *cell);

/* The calling thread holds the object. Only while somebody else does, or a message that carries it
   cannot be taken by another. */
void amp_hold(amp_handle handle);

/* The member, whose slot the caller has reserved, holds the objects too: those that a thread is given
   at its start. The calling thread holds them. */
void amp_hold_for(uint32_t member, const amp_handle *handles, uint32_t n);

/* Counts a transfer: after amp_hold, before the message is taken. */
void amp_hold_transferred(void);

/* Who has to do with the object, seen from this process. */
enum {
    AMP_HELD_HERE = 1,      /* a member of this process holds it, or one that it is about to make */
    AMP_HELD_ELSEWHERE = 2, /* a member of another process does */
    AMP_CARRIED = 4,        /* a message carries it */
};
unsigned amp_holders(amp_handle handle);

/* True when the member holds the object. */
bool amp_holds(uint32_t member, amp_handle handle);

/* The calling thread no longer holds the object, which ends if nobody else does. */
void amp_unhold(amp_handle handle);

/* The objects become part of `carrier`: before, and after the one step that makes them so, be it a
   message that is published, an entry of a table, or a lock that is its condition's. */
void amp_handle_sent(struct amp_cell *carrier, const uint64_t *handles, uint32_t n);
void amp_handle_sent_done(void);

/* Told by the end of a carrier. */
void amp_handle_doubt(struct amp_cell *carrier, amp_handle handle);

/* Objects leave a carrier that goes on: amp_handling(true) before the step by which they do; after it
   amp_handles_taken when the caller holds them, or amp_handles_dropped. Handling nests. */
void amp_handling(bool on);
void amp_handles_taken(struct amp_cell *carrier, const uint64_t *handles, uint32_t n);
void amp_handles_dropped(struct amp_cell *carrier, const uint64_t *handles, uint32_t n);

/*
 * A thread may have several things that stand for one object: values of several Lua states, handles of
 * a program in C. They share the member's one bit, so they are counted, in memory of the thread's own;
 * who has let go of the last one of them calls amp_unhold. A fork's child has a copy, as of the bits.
 */

/* Room for amp_keep of this cell: 0 or -ENOMEM. */
int amp_keep_room(uint32_t index);

/* One more. There is room, and the member holds the object or is about to. */
void amp_keep(amp_handle handle);

/* One less: true when none is left. */
bool amp_unkeep(amp_handle handle);

bool amp_is_kept(amp_handle handle);

/* The calling thread is no member any more. */
void amp_handle_thread_leave(void);

/* All that `from` holds, `to` holds too. For a fork: `to` is reserved. */
void amp_holders_copy(uint32_t from, uint32_t to);

/* Burial: the cells' own steps, then the bits. */
void amp_holders_bury(uint32_t member);

/* Live objects: for tests and reports. */
uint32_t amp_cells_live(void);

#endif
