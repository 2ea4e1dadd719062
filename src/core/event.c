/*
 * event: see event.h for the protocol.
 */
#include "event.h"

static inline bool
says_set(uint32_t value)
{
    return amp_count(value) & 1;
}

void
amp_event_set(const struct amp_event *event)
{
    uint32_t value = atomic_load_explicit(event->word, memory_order_relaxed);
    while (!says_set(value) && !(value & AMP_SLEEPER)) {
        /* release: pairs with amp_event_is_set() and amp_event_wait() */
        if (atomic_compare_exchange_weak_explicit(event->word, &value, value + 2,
                                                  memory_order_release, memory_order_relaxed))
            return;
    }
    if (says_set(value))
        return;
    amp_lock_enter(event->setters); /* a dead owner has committed or has not: nothing to repair */
    value = atomic_load_explicit(event->word, memory_order_relaxed);
    while (!says_set(value)) {
        if (value & AMP_SLEEPER) { /* now only who has this lock can change the count */
            atomic_thread_fence(memory_order_seq_cst);
            amp_futex.add_and_wake(event->word, 1, AMP_WAKE_ALL);
            break;
        }
        /* Set and cleared meanwhile, so nobody sleeps: as above. */
        if (atomic_compare_exchange_weak_explicit(event->word, &value, value + 2,
                                                  memory_order_release, memory_order_relaxed))
            break;
    }
    amp_lock_leave(event->setters);
}

void
amp_event_clear(const struct amp_event *event)
{
    /* Nobody sleeps on a set event, and only a clear can change it: a compare-and-swap is
       enough. */
    uint32_t value = atomic_load_explicit(event->word, memory_order_relaxed);
    while (says_set(value)) {
        if (atomic_compare_exchange_weak_explicit(event->word, &value, value + 2,
                                                  memory_order_release, memory_order_relaxed))
            return;
    }
}

bool
amp_event_is_set(const struct amp_event *event)
{
    return says_set(atomic_load_explicit(event->word, memory_order_acquire));
}

int
amp_event_wait(const struct amp_event *event, amp_time deadline, struct amp_what *what)
{
    uint32_t first = atomic_load_explicit(event->word, memory_order_acquire);
    uint32_t value = first;
    for (;;) {
        if (says_set(value) || amp_count(value) != amp_count(first))
            return 0;
        int result = amp_wait(event->word, value, AMP_SLEEPER, deadline, what);
        if (result < 0)
            return result;
        value = atomic_load_explicit(event->word, memory_order_acquire);
    }
}

bool
amp_event_prepare_wait(const struct amp_event *event, uint32_t *value)
{
    uint32_t word = atomic_load(event->word);
    do {
        if (says_set(word))
            return false;
        *value = word | AMP_SLEEPER;
    } while (word != *value && !atomic_compare_exchange_weak(event->word, &word, *value));
    return true;
}
