/*
 * event: a flag to wait for.
 *
 * One commit word; an odd count is "set". set and clear go to the next count, so a waiter sees a
 * pulse of set and clear as well. Setting wakes everybody, and everybody looks again by itself: a
 * killed waiter takes nothing with it. The setters' lock is taken only when somebody sleeps: it
 * keeps two setters from both adding to the word.
 */
#ifndef AMP_EVENT_H
#define AMP_EVENT_H

#include "lock.h"
#include "word.h"

struct amp_event {
    struct amp_lock *setters; /* pointers into shared memory */
    amp_word *word;
};

void amp_event_set(const struct amp_event *event);
void amp_event_clear(const struct amp_event *event);
bool amp_event_is_set(const struct amp_event *event);

/* 0 once the event is set, or was set since the call; -ETIMEDOUT, -EINTR, -EDEADLK. */
int amp_event_wait(const struct amp_event *event, amp_time deadline, struct amp_what *what);

/* For a wait on several objects: sets the flag for sleepers, and stores the word's value. False
   when the event is set. */
bool amp_event_prepare_wait(const struct amp_event *event, uint32_t *value);

#endif
