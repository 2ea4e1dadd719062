/*
 * wait: the only door to sleep.
 *
 * Whatever blocks in luamp blocks here: on a word (amp_wait), on several words (amp_wait_many), on
 * descriptors (amp_wait_descriptors). What has to happen around every wait therefore stands in one
 * place: the deadline; spinning a little first; publishing in the member's slot what it waits for;
 * noticing a signal whose handler the script wants to run; looking around at the end of every
 * slice, because no sleep lasts longer than one.
 *
 * A wait does not loop. It returns 0 when the caller should look at its state again, which it must
 * be ready to do for no reason; the caller calls again with the same `amp_what`. The correct loop:
 *
 *     struct amp_what what = {.kind = ..., .object = ...};
 *     for (;;) {
 *         uint32_t seen = atomic_load(word);
 *         if (what I want is there)
 *             break;
 *         int failure = amp_wait(word, seen, FLAG, deadline, &what);
 *         if (failure)
 *             return failure;
 *     }
 *
 * Signals. A handler of the process calls amp_signal_arrived() and returns. It sets a flag, and it
 * zeroes the time-out that the kernel reads when it enters the wait: a signal that falls between
 * our look at the flag and the system call turns that call into one that does not block. A wait
 * that finds the flag set returns -EINTR; the caller unwinds, holding nothing, its caller runs the
 * script's handlers, and begins again with the same deadline.
 */
#ifndef AMP_WAIT_H
#define AMP_WAIT_H

#include "clock.h"
#include "futex.h"

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define AMP_SLICE (250 * AMP_MILLISECOND)   /* no sleep is longer */
#define AMP_SUSPICION (1 * AMP_SECOND)      /* who waited so long looks for a deadlock */
#define AMP_NOBODY UINT32_MAX               /* no member */

/* What a member can wait for besides an object, whose kinds are enum amp_kind of handle.h. */
enum {
    AMP_JOINING = 100, /* the end of a member */
    AMP_SELECTING,
};

/* What a wait is for. The caller's own; `since` is set by the first wait. */
struct amp_what {
    uint32_t kind;      /* what is waited for: enum amp_kind, AMP_JOINING, AMP_SELECTING, or 0 */
    uint32_t cell;      /* index of the object's cell, or 0; AMP_JOINING: of the member's slot, */
    uint32_t generation; /* and which of its members it is */
    uint64_t lock;      /* arena offset of a lock that is waited for without limit, or 0: an edge to
                           its owner, by which a deadlock is found */
    bool uninterruptible; /* a short wait inside the core: signals wait until it is over */
    bool is_endless;    /* without limit, though a step of it has one */
    bool follows;       /* others decide: it is for a member's end, or for what a pool's worker brings */
    bool is_idle;       /* for work that others may have: who waits so is never told of a deadlock */
    amp_time since;
};

/* How a thread sleeps. */
struct amp_sleep {
    bool is_closed;     /* without limit, and only members can end it */
    amp_time began;     /* when it first slept on this word with this value; since then it has done nothing */
    amp_time looked;    /* when it last went to sleep, as that still was the word's value; */
    uint32_t deaths;    /* and how many members had ended by then */
};

/* The same, as others see it: in the waiting member's slot. Written by the member only, before
   and after it sleeps; read by anyone, who must expect to find it half changed: `serial` is odd
   while it is being written, and differs when it was. */
struct amp_waiting {
    _Atomic uint32_t w_serial;
    _Atomic uint32_t w_kind; /* 0: not waiting */
    _Atomic uint32_t w_cell;
    _Atomic uint32_t w_generation;
    _Atomic uint64_t w_lock;
    _Atomic int64_t w_since;
    _Atomic int64_t w_began;
    _Atomic int64_t w_looked;
    _Atomic uint32_t w_deaths;
    _Atomic bool w_is_closed;
    _Atomic bool w_follows;
    _Atomic bool w_is_idle;
};

/* What a thread knows of itself. Private to the thread, but for its signal handlers. */
struct amp_self {
    uint32_t tid;                     /* as the kernel writes it into a lock word; 0: unknown */
    uint32_t member;                  /* index of its slot, or AMP_NOBODY */
    struct robust_list_head *robust;  /* the C library's own list of robust locks */
    struct amp_waiting *waiting;      /* in its slot, or NULL */
    const _Atomic uint32_t *deaths;   /* the family's count of members that have ended, or NULL */
    uint32_t held;                    /* locks of the script that it holds */
    uint32_t handling;                /* how deep it is in making or dropping objects */
    bool sending;                     /* objects became part of a carrier, but that is not in force */
    volatile sig_atomic_t signalled;  /* a handler of the script is to be run */
    volatile sig_atomic_t waiting_now; /* inside a system call that may sleep, or about to be */
    struct timespec limit;            /* the time-out that the kernel reads; see above */
    struct amp_sleep sleep;           /* its last one, */
    const amp_word *slept_on;         /* on what, */
    uint32_t slept_value;             /* while it was this, */
    amp_time slept_since;             /* of a wait since then */
    const sigset_t *process_mask;     /* of a thread that has signals blocked: the mask of the process
                                         that it forks; else NULL */
};

extern __thread struct amp_self amp_self;

/* What is looked at at the end of every slice: set once by the roster. Returns 0, or -EDEADLK when
   the wait that `what` describes can never end. */
extern int (*amp_look_around)(const struct amp_what *what);

/* How many others than members can end a wait of this process: a program that luamp is embedded in, a
   handler of the script's, a limit of time. 1 before anybody has said. Children inherit it. */
extern _Atomic int amp_outsiders;

/* How often a wait looks at its word before it sleeps; 0 on one processor, negative before anybody has
   asked. Set by the first amp_thread_enter, may be changed by tests and benchmarks. */
extern _Atomic int amp_spins;

/* Fills in amp_self for the calling thread. Called before anything else in a new thread, and in the
   child after a fork. */
void amp_thread_enter(void);

/* For signal handlers: async-signal-safe. */
void amp_signal_arrived(void);

/* Looks at *word for a little while. True when it no longer is `seen`. */
bool amp_spin(amp_word *word, uint32_t seen);

/* So many amp_spins last some 150 microseconds: the life of a thread that does next to nothing, and
   the time in which a processor that has fallen asleep is up again. */
#define AMP_LONG_SPIN 15

/* Waits while *word == seen. `flag` is the bit that tells those who change the word that somebody
   sleeps: it is set before the sleep (`seen` may have it already). Results: 0, look again;
   -ETIMEDOUT; -EINTR; -EDEADLK. */
int amp_wait(amp_word *word, uint32_t seen, uint32_t flag, amp_time deadline,
             struct amp_what *what);

/* Waits while all words are as expected; the flag bits have been set by the caller. At most
   AMP_WAIT_MANY_MAX words. Results as amp_wait. */
int amp_wait_many(amp_word *const *words, const uint32_t *expected, unsigned n, amp_time deadline,
                  struct amp_what *what);

/* As poll(2): the number of descriptors that are ready, 0 for "look again", or a failure. */
int amp_wait_descriptors(struct pollfd *descriptors, unsigned n, amp_time deadline,
                         struct amp_what *what);

/* Sleeps until the deadline: -ETIMEDOUT when it has come, or -EINTR. */
int amp_sleep(amp_time deadline);

#endif
