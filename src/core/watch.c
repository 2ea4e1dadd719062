/*
 * watch: see watch.h.
 */
#include "watch.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *
watch_words(void *argument)
{
    struct amp_watch *watch = argument;
    struct amp_what what = {.uninterruptible = true};
    amp_thread_enter();
    for (;;) {
        for (unsigned i = 0; i < watch->n; i++) {
            if (atomic_load_explicit(watch->words[i], memory_order_acquire) != watch->expected[i]) {
                uint64_t one = 1;
                while (write(watch->descriptor, &one, sizeof one) < 0 && errno == EINTR)
                    ;
                return NULL;
            }
        }
        amp_wait_many(watch->words, watch->expected, watch->n, AMP_FOREVER, &what);
    }
}

int
amp_watch_begin(struct amp_watch *watch, amp_word *const *words, const uint32_t *expected,
                unsigned n)
{
    watch->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->descriptor < 0)
        return -errno;
    atomic_init(&watch->stop, 0);
    memcpy(watch->words, words, n * sizeof *words);
    memcpy(watch->expected, expected, n * sizeof *expected);
    watch->words[n] = &watch->stop;
    watch->expected[n] = 0;
    watch->n = n + 1;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failure = pthread_create(&watch->thread, NULL, watch_words, watch);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failure != 0)
        close(watch->descriptor);
    return -failure;
}

void
amp_watch_end(struct amp_watch *watch)
{
    atomic_store(&watch->stop, 1);
    amp_futex.wake(&watch->stop, AMP_WAKE_ALL);
    pthread_join(watch->thread, NULL);
    close(watch->descriptor);
}
