/*
 * semaphore: permits that anyone may give and take, and bounded ones that have owners.
 *
 * The permits are a commit word whose count goes both ways. SLEEPER is only ever set while there
 * are no permits, so the word is even, or 1.
 *
 * Plain semaphore:
 *  - acquire: compare-and-swap to one permit less. None there: the role lock makes this thread
 *    the one sleeper; a sleeper that is killed hands the role on, and the next looks at the
 *    permits itself.
 *  - release: compare-and-swap to one more. Somebody sleeps (the word is 1): the releasers' lock
 *    keeps a second release away, and the kernel adds one and wakes in the same step.
 *  Death: the commit is one instruction. Permits of the dead stay taken: nobody owns them.
 *
 * Bounded semaphore: `held[member]` says how many permits each member has. That is the truth; the
 * word is derived from it (limit - sum of held), and both change under the releasers' lock. When
 * its owner died, the next one counts again. When a member died, amp_semaphore_bury gives its
 * permits back.
 */
#ifndef AMP_SEMAPHORE_H
#define AMP_SEMAPHORE_H

#include "lock.h"
#include "word.h"

#define AMP_PERMITS_MAX 0x3fffffffu

struct amp_semaphore {
    struct amp_lock *releasers; /* all four are pointers into shared memory */
    struct amp_lock *role;
    amp_word *permits;
    _Atomic uint32_t *held; /* of a bounded one: one count a member; else NULL */
    _Atomic uint32_t *members; /* how many there are now */
    uint32_t limit;         /* of a bounded one */
};

/* One permit less, if there is one: of a plain semaphore that is an acquire that need not wait. */
static inline bool
amp_permit_take(amp_word *permits)
{
    uint32_t value = atomic_load_explicit(permits, memory_order_relaxed);
    while (amp_count(value) > 0) {
        /* acquire: pairs with the release of whoever gave the permit */
        if (atomic_compare_exchange_weak_explicit(permits, &value, value - 2, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    }
    return false;
}

/* One permit more of a plain semaphore: 0, -EOVERFLOW, or -EBUSY: somebody sleeps, who wants
   amp_semaphore_release. */
static inline int
amp_permit_give(amp_word *permits)
{
    uint32_t value = atomic_load_explicit(permits, memory_order_relaxed);
    while (!(value & AMP_SLEEPER)) {
        if (amp_count(value) >= AMP_PERMITS_MAX)
            return -EOVERFLOW;
        /* release: pairs with amp_permit_take() */
        if (atomic_compare_exchange_weak_explicit(permits, &value, value + 2, memory_order_release,
                                                  memory_order_relaxed))
            return 0;
    }
    return -EBUSY;
}

/* 0, -ETIMEDOUT, -EINTR, -EDEADLK. */
int amp_semaphore_acquire(const struct amp_semaphore *semaphore, amp_time deadline,
                          struct amp_what *what);

/* 0; -EOVERFLOW when there would be more than AMP_PERMITS_MAX permits; of a bounded one -EPERM when
   the calling thread has none, -EOVERFLOW when all have been given back. */
int amp_semaphore_release(const struct amp_semaphore *semaphore);

uint32_t amp_semaphore_value(const struct amp_semaphore *semaphore);

/* Gives back the permits of a member that has died. */
void amp_semaphore_bury(const struct amp_semaphore *semaphore, uint32_t member);

#endif
