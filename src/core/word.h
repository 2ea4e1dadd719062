/*
 * word: the commit word.
 *
 * A 32-bit word, `count * 2 + SLEEPER`. The count is what happened so far (messages published,
 * rounds of a barrier, ...); SLEEPER says that somebody sleeps on this count. Nobody asleep: a
 * compare-and-swap to the next count. Somebody asleep: the kernel adds an odd number and wakes in
 * one step; on a word whose lowest bit is set that counts, clears SLEEPER and wakes. So a death
 * never falls between publishing and waking: before the one instruction nothing has happened, after
 * it all has.
 *
 * SLEEPER is set by amp_wait on the very count that the sleeper saw, and cleared only by a commit.
 * One that stays behind (its sleeper timed out or died) costs the next commit a system call.
 *
 * Who may commit is the object's business: a commit that finds SLEEPER is only right when no other
 * can be under way, so every object has either a lock for it or an argument.
 *
 * Counts wrap after 2^31. They are compared for equality, or subtracted.
 */
#ifndef AMP_WORD_H
#define AMP_WORD_H

#include "wait.h"

#define AMP_SLEEPER 1u
#define AMP_COMMIT_MAX 1023 /* the largest step of one commit: (AMP_ADD_MAX + 1) / 2 - 1 */

/* The count in a word's value. */
static inline uint32_t
amp_count(uint32_t value)
{
    return value >> 1;
}

/* a - b, of counts. */
static inline uint32_t
amp_count_difference(uint32_t a, uint32_t b)
{
    return (a - b) & 0x7fffffffu;
}

/* Adds `step` to the count and wakes up to `wake` sleepers if there are any, in one step.
   Releases what the caller wrote before. The caller sees to it that nobody else changes the count
   meanwhile, or that adding to any count is right. */
static inline void
amp_commit(amp_word *word, uint32_t step, int wake)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed); /* only SLEEPER can change */
    while (!(value & AMP_SLEEPER)) {
        if (atomic_compare_exchange_weak_explicit(word, &value, value + 2 * step,
                                                  memory_order_release, memory_order_relaxed))
            return;
    }
    /* The kernel's step is no release operation to the compiler. */
    atomic_thread_fence(memory_order_seq_cst);
    amp_futex.add_and_wake(word, (int) (2 * step - 1), wake);
}

/* As amp_commit of one step, but who sleeps sleeps on: somebody else is awake for it. */
static inline void
amp_commit_quietly(amp_word *word)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(word, &value, value + 2, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

#endif
