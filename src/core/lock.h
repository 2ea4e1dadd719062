/*
 * lock: a robust lock for shared memory.
 *
 * The lock word has the format of the kernel's robust futexes and lies in a structure with the
 * layout of the C library's pthread_mutex_t, so that it can be linked into the thread's own robust
 * list beside the C library's mutexes: when a thread dies, however it dies, the kernel marks every
 * word that it owns and wakes a waiter. The next owner is told.
 *
 * Why not the C library's robust mutex: its unlock first frees the word and then wakes. When the
 * unlocking thread, or the waiter that it woke, dies in between and a third thread has taken the
 * lock meanwhile, that third one does not know that somebody sleeps, and the sleeper sleeps for
 * ever on a free lock. Here a contended release is one FUTEX_WAKE_OP: the word becomes "free,
 * with waiters" and a sleeper is woken in the same step of the kernel. The waiters' bit stays, so
 * that whoever takes the lock next, in whatever way, wakes the next sleeper when it releases. The
 * bit is dropped only by a release that wakes all, which is tried after a release that found
 * nobody asleep.
 *
 * Rules:
 *  - A lock is all zeroes when free; its memory is never used for anything else afterwards,
 *    because a dying thread's kernel may still look at it.
 *  - `l_previous` and `l_next` are addresses of the owner's own process, and nobody else reads
 *    them.
 *  - A thread may hold AMP_LOCKS_MAX locks of the script: the kernel looks at 2048 at most.
 *
 * Rank, outermost first; whoever holds one takes only those to its right:
 *    a lock of the script < role lock of a side < recovery < table of objects < producers <
 *    consumers < an object's own < roster < arena.
 */
#ifndef AMP_LOCK_H
#define AMP_LOCK_H

#include "wait.h"

#include <errno.h>
#include <stddef.h>

#define AMP_LOCKS_MAX 1900
#define AMP_OWNER_DIED 1 /* result: the lock is yours, and its last owner died with it */

struct amp_lock {
    amp_word l_word;    /* thread id of the owner | FUTEX_WAITERS | FUTEX_OWNER_DIED */
    _Atomic uint32_t l_hint; /* the last contended release found nobody asleep; a hint only */
    uint32_t l_depth;   /* recursive lock: how often its owner has it. Owner only */
    uint32_t l_spare[3];
    void *l_previous;   /* the owner's robust list; owner only */
    void *l_next;
};

_Static_assert(offsetof(struct amp_lock, l_next) - offsetof(struct amp_lock, l_word) == 32,
               "the robust list of this C library has the word 32 bytes before the link");

/* Whether the kernel of this machine does for a dead owner's lock what this file relies on: 0, or -ENOTSUP;
   or why it could not be tried: -ENOMEM, -EAGAIN. Tried with a thread that dies holding a lock; costs
   some 10 microseconds. */
int amp_lock_try_kernel(void);

/* Called by a thread that has not seen the lock free; see amp_lock_enter and amp_lock_acquire. */
int amp_lock_wait(struct amp_lock *lock, amp_time deadline, struct amp_what *what);
void amp_lock_wake(struct amp_lock *lock);

/* The calling thread ends: the kernel will give away the locks that it holds. Nothing is done but
   for the thread sanitizer, which does not see the kernel do it. */
void amp_lock_thread_leave(void);

#define AMP_COMPILER_BARRIER() atomic_signal_fence(memory_order_seq_cst)

/* The kernel looks at the lock that is "pending" besides those in the list: it covers the
   instructions between taking the word and linking it in, and between unlinking and freeing it. */
static inline void
amp_lock_pending(struct amp_lock *lock)
{
    amp_self.robust->list_op_pending = (struct robust_list *) &lock->l_next;
    AMP_COMPILER_BARRIER();
}

static inline void
amp_lock_settled(void)
{
    AMP_COMPILER_BARRIER();
    amp_self.robust->list_op_pending = NULL;
}

/* Links the lock into the list, newest first. The lowest bit of a link marks a priority-inheriting
   mutex of the C library. */
static inline void
amp_lock_link(struct amp_lock *lock)
{
    void *first = amp_self.robust->list.next;
    void **first_links = (void **) ((uintptr_t) first & ~(uintptr_t) 1);
    lock->l_next = first;
    lock->l_previous = &amp_self.robust->list;
    first_links[-1] = &lock->l_next;
    AMP_COMPILER_BARRIER();
    amp_self.robust->list.next = (struct robust_list *) &lock->l_next;
}

static inline void
amp_lock_unlink(struct amp_lock *lock)
{
    void **next = (void **) ((uintptr_t) lock->l_next & ~(uintptr_t) 1);
    void **previous = (void **) ((uintptr_t) lock->l_previous & ~(uintptr_t) 1);
    next[-1] = lock->l_previous;
    *previous = lock->l_next;
    AMP_COMPILER_BARRIER();
    lock->l_previous = NULL;
    lock->l_next = NULL;
}

static inline bool
amp_lock_try_free(struct amp_lock *lock)
{
    uint32_t free = 0;
    amp_lock_pending(lock);
    if (!atomic_compare_exchange_strong_explicit(&lock->l_word, &free, amp_self.tid,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    amp_lock_link(lock);
    amp_lock_settled();
    return true;
}

/* Takes a lock of the core's own, held for a few instructions: waits however long it takes, without
   running handlers. 0, or AMP_OWNER_DIED: the caller repairs what the lock guards. */
static inline int
amp_lock_enter(struct amp_lock *lock)
{
    if (__builtin_expect(amp_lock_try_free(lock), 1))
        return 0;
    struct amp_what what = {.uninterruptible = true};
    return amp_lock_wait(lock, AMP_FOREVER, &what);
}

/* Takes a lock that may be held for long. 0, AMP_OWNER_DIED, -ETIMEDOUT, -EINTR, -EDEADLK. */
static inline int
amp_lock_acquire(struct amp_lock *lock, amp_time deadline, struct amp_what *what)
{
    if (__builtin_expect(amp_lock_try_free(lock), 1))
        return 0;
    return amp_lock_wait(lock, deadline, what);
}

/* Takes the lock only if that needs no waiting. 0, AMP_OWNER_DIED, or -EBUSY. */
static inline int
amp_lock_try(struct amp_lock *lock)
{
    if (amp_lock_try_free(lock))
        return 0;
    struct amp_what what = {.uninterruptible = true};
    int result = amp_lock_wait(lock, AMP_AT_ONCE, &what);
    return result == -ETIMEDOUT ? -EBUSY : result;
}

/* True when the calling thread owns the lock. */
static inline bool
amp_lock_is_mine(const struct amp_lock *lock)
{
    uint32_t word = atomic_load_explicit(&lock->l_word, memory_order_relaxed); /* own writes only */
    return (word & FUTEX_TID_MASK) == amp_self.tid && amp_self.tid != 0;
}

/* The owner's thread id, 0 when free. Somebody else's may have changed by now. */
static inline uint32_t
amp_lock_owner(const struct amp_lock *lock)
{
    return atomic_load_explicit(&lock->l_word, memory_order_relaxed) & FUTEX_TID_MASK;
}

/* Gives the lock back. The caller owns it. */
static inline void
amp_lock_leave(struct amp_lock *lock)
{
    uint32_t mine = amp_self.tid;
    amp_lock_pending(lock);
    amp_lock_unlink(lock);
    if (__builtin_expect(!atomic_compare_exchange_strong_explicit(
                             &lock->l_word, &mine, 0, memory_order_release, memory_order_relaxed),
                         0))
        amp_lock_wake(lock);
    amp_lock_settled();
}

#endif
