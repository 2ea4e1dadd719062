/*
 * futex: the only file that makes the system call.
 *
 * The operations go through a table, so that a unit test can put its own kernel in their place and
 * see what a primitive does when a wake-up comes early, late, or not at all. All operations are the
 * shared ones (no FUTEX_PRIVATE_FLAG): the words lie in memory that several processes map.
 */
#ifndef AMP_FUTEX_H
#define AMP_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

typedef _Atomic uint32_t amp_word; /* a word that a thread may sleep on */

/*
 * For the thread sanitizer, which follows what threads do to a word, but not what the kernel does.
 * Three of the operations below change the word in the caller's name, and whoever sees the change
 * may rely on what the caller wrote before: that is a release, and it is told so. (A fence is
 * nothing to it either.)
 */
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define AMP_RELEASED(word) __tsan_release((void *) (word))
#else
#define AMP_RELEASED(word) ((void) 0)
#endif

#define AMP_WAKE_ALL INT32_MAX
#define AMP_WAIT_MANY_MAX 128 /* the kernel's limit of words in one call */

struct amp_futex_operations {
    /* Sleeps while *word == expected, for at most *relative (read by the kernel when it enters).
       0 when woken; -EAGAIN, -ETIMEDOUT, -EINTR. */
    int (*wait)(amp_word *word, uint32_t expected, const struct timespec *relative);

    /* Sleeps while every words[i] == expected[i], until *absolute on CLOCK_MONOTONIC; the index of
       a word that woke it, or -EAGAIN, -ETIMEDOUT, -EINTR, -ENOSYS (before Linux 5.16). */
    int (*wait_many)(amp_word *const *words, const uint32_t *expected, unsigned n,
                     const struct timespec *absolute);

    /* Wakes up to `count` sleepers; how many there were. */
    int (*wake)(amp_word *word, int count);

    /* In one step of the kernel: *word += addend, and up to `count` sleepers are woken. */
    int (*add_and_wake)(amp_word *word, int addend, int count);

    /* The same with *word = value; value is a power of two, or zero. */
    int (*set_and_wake)(amp_word *word, uint32_t value, int count);

    /* The same with *word &= ~1. */
    int (*clear_flag_and_wake)(amp_word *word, int count);
};

#define AMP_ADD_MAX 2047 /* the largest addend: the kernel has twelve bits for it, one the sign */

extern struct amp_futex_operations amp_futex;

#endif
