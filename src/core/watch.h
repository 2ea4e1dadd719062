/*
 * watch: words as a descriptor.
 *
 * Words and descriptors cannot be waited for in one system call. For the time of one such wait, a
 * thread waits for the words and then makes a descriptor readable. It is plain C with all signals
 * blocked, takes no lock and allocates nothing, so a fork beside it is harmless; and it sees what
 * the kernel wakes, so who changes the word need not know of it.
 */
#ifndef AMP_WATCH_H
#define AMP_WATCH_H

#include "wait.h"

#include <pthread.h>

struct amp_watch {
    int descriptor; /* becomes readable when one of the words has changed */
    pthread_t thread;
    amp_word stop;
    unsigned n;
    amp_word *words[AMP_WAIT_MANY_MAX];
    uint32_t expected[AMP_WAIT_MANY_MAX];
};

/* At most AMP_WAIT_MANY_MAX - 1 words, whose flags are set. 0, or what could not be had. */
int amp_watch_begin(struct amp_watch *watch, amp_word *const *words, const uint32_t *expected,
                    unsigned n);

/* The thread is gone and the descriptor closed when this returns. */
void amp_watch_end(struct amp_watch *watch);

#endif
