/*
 * The objects of luamp.h in one process: what each call returns, and that misuse is told.
 */
#include "luamp.h"

#include "../core/tap.h"

#include <math.h>
#include <signal.h>

static void
test_results(void)
{
    bool told = true;
    for (int result = LUAMP_SYSTEM; result <= LUAMP_IN_CHILD; result++)
        told = told && strcmp(luamp_strerror(result), "unknown result") != 0;
    ok(told, "every result has a text");
    ok(strcmp(luamp_strerror(99), "unknown result") == 0, "and another number is told as such");
    ok(luamp_after(0) == LUAMP_NOW && luamp_after(-1) == LUAMP_NOW && luamp_after(NAN) == LUAMP_NOW,
       "no seconds are now");
    ok(luamp_after(INFINITY) == LUAMP_FOREVER, "infinite ones are for ever");
    luamp_Time soon = luamp_after(0.5);
    ok(soon > amp_now() && soon <= amp_now() + AMP_SECOND / 2, "others are so many from now");
}

static void
test_lock(void)
{
    luamp_Object *lock;
    is(luamp_new_lock("ledger", &lock), LUAMP_OK, "a lock is made");
    is(luamp_kind(lock), LUAMP_LOCK, "it is one");
    ok(strcmp(luamp_name(lock), "ledger") == 0, "by its name");
    is(luamp_release(lock), LUAMP_NOT_OWNER, "what is not held is not released");
    is(luamp_acquire(lock, LUAMP_NOW), LUAMP_OK, "it is acquired");
    is(luamp_acquire(lock, LUAMP_NOW), LUAMP_TIMEOUT, "once");
    luamp_Time deadline = luamp_after(0.01);
    is(luamp_acquire(lock, deadline), LUAMP_TIMEOUT, "also by who waits");
    ok(amp_now() >= deadline, "until the deadline");
    is(luamp_acquire(lock, LUAMP_FOREVER), LUAMP_DEADLOCK, "who waits for itself for ever is told");
    is(luamp_release(lock), LUAMP_OK, "it is released");
    is(luamp_event_set(lock), LUAMP_WRONG_KIND, "a lock is no event");
    luamp_close(lock);

    is(luamp_new_rlock(NULL, &lock), LUAMP_OK, "an RLock is made");
    ok(luamp_acquire(lock, LUAMP_NOW) == LUAMP_OK && luamp_acquire(lock, LUAMP_NOW) == LUAMP_OK,
       "it is acquired twice");
    ok(luamp_release(lock) == LUAMP_OK && luamp_release(lock) == LUAMP_OK &&
           luamp_release(lock) == LUAMP_NOT_OWNER,
       "and released twice");
    luamp_close(lock);
    luamp_close(NULL);
    is(luamp_acquire(NULL, LUAMP_NOW), LUAMP_MISUSE, "nothing is no object");
    is(luamp_new_lock("x", NULL), LUAMP_MISUSE, "and needs a place for it");
}

static void
test_semaphores(void)
{
    luamp_Object *s;
    is(luamp_new_semaphore("s", 1, &s), LUAMP_OK, "a semaphore is made");
    is(luamp_acquire(s, LUAMP_NOW), LUAMP_OK, "with a permit");
    is(luamp_acquire(s, LUAMP_NOW), LUAMP_TIMEOUT, "and no more");
    ok(luamp_release(s) == LUAMP_OK && luamp_release(s) == LUAMP_OK, "anybody may give some");
    luamp_close(s);
    is(luamp_new_bounded_semaphore("b", 1, &s), LUAMP_OK, "a bounded one is made");
    is(luamp_release(s), LUAMP_OUT_OF_RANGE, "which has no more than its permits");
    ok(luamp_acquire(s, LUAMP_NOW) == LUAMP_OK && luamp_release(s) == LUAMP_OK, "it gives them back");
    luamp_close(s);
    is(luamp_new_semaphore("s", UINT32_MAX, &s), LUAMP_OUT_OF_RANGE, "too many permits are refused");
}

static void
test_event(void)
{
    luamp_Object *event;
    is(luamp_new_event("e", &event), LUAMP_OK, "an event is made");
    is(luamp_event_is_set(event), 0, "not set");
    is(luamp_event_wait(event, LUAMP_NOW), LUAMP_TIMEOUT, "so there is nothing to wait for");
    luamp_event_set(event);
    ok(luamp_event_is_set(event) == 1 && luamp_event_wait(event, LUAMP_FOREVER) == LUAMP_OK, "set");
    luamp_event_clear(event);
    is(luamp_event_is_set(event), 0, "cleared");
    luamp_close(event);
}

static void
test_values(void)
{
    luamp_Object *v;
    int64_t n = 5;
    double number = 5;
    is(luamp_new_value("v", '!', &v), LUAMP_MISUSE, "a typecode must be known");
    is(luamp_new_value("v", 'b', &v), LUAMP_OK, "a value of a byte is made");
    ok(luamp_value_get(v, &n) == LUAMP_OK && n == 0, "0 at first");
    is(luamp_value_set(v, 128), LUAMP_OUT_OF_RANGE, "what does not fit is refused");
    ok(luamp_value_set(v, 100) == LUAMP_OK && luamp_value_add(v, 20, &n) == LUAMP_OK && n == 100,
       "add tells what it was");
    is(luamp_value_add(v, 20, NULL), LUAMP_OUT_OF_RANGE, "a sum must fit");
    ok(luamp_value_exchange(v, -128, &n) == LUAMP_OK && n == 120, "so it stayed");
    is(luamp_value_compare_exchange(v, 1, 2), 0, "it is exchanged if it is what was expected");
    is(luamp_value_compare_exchange(v, -128, 2), 1, "as here");
    is(luamp_value_set_number(v, 1), LUAMP_WRONG_KIND, "it is no float");
    ok(luamp_acquire(v, LUAMP_NOW) == LUAMP_OK && luamp_acquire(v, LUAMP_NOW) == LUAMP_OK &&
           luamp_release(v) == LUAMP_OK && luamp_release(v) == LUAMP_OK,
       "a value has a lock of its own");
    luamp_close(v);
    luamp_new_value("f", 'f', &v);
    ok(luamp_value_get_number(v, &number) == LUAMP_OK && number == 0, "a float is made");
    is(luamp_value_set_number(v, 1e300), LUAMP_OUT_OF_RANGE, "it is of four bytes");
    ok(luamp_value_set_number(v, 1.5) == LUAMP_OK &&
           luamp_value_add_number(v, 1, &number) == LUAMP_OK && number == 1.5 &&
           luamp_value_get_number(v, &number) == LUAMP_OK && number == 2.5,
       "and can be added to");
    is(luamp_value_get(v, &n), LUAMP_WRONG_KIND, "it is no integer");
    luamp_close(v);
    luamp_new_value("?", '?', &v);
    is(luamp_value_set(v, 2), LUAMP_OUT_OF_RANGE, "a boolean is 0 or 1");
    is(luamp_value_add(v, 1, NULL), LUAMP_WRONG_KIND, "and is not added to");
    luamp_close(v);
}

/* An object lives as long as anything stands for it. */
static void
test_lives(void)
{
    uint32_t before = amp_cells_live();
    luamp_Object *q, *same;
    luamp_new_queue("q", 0, &q);
    is(luamp_dup(q, &same), LUAMP_OK, "a further handle is had");
    luamp_close(q);
    is(luamp_put_bytes(same, "x", 1, LUAMP_NOW), LUAMP_OK, "the object lives while one is open");
    luamp_close(same);
    is(amp_cells_live(), before, "and ends with the last");

    luamp_new_queue("q", 0, &q);
    luamp_new_event("e", &same);
    luamp_Writer *w = luamp_writer_new();
    luamp_Reader *r = luamp_reader_new();
    luamp_write_object(w, same);
    luamp_close(same);
    ok(luamp_put(q, w, LUAMP_NOW) == LUAMP_OK && amp_cells_live() == before + 2,
       "it lives in a message");
    is(luamp_get(q, r, LUAMP_NOW), LUAMP_OK, "and in one that was got");
    is(luamp_read_object(r, &same), LUAMP_OK, "of which a handle is taken");
    is(luamp_kind(same), LUAMP_EVENT, "it is what it was");
    luamp_reader_free(r);
    is(luamp_event_set(same), LUAMP_OK, "and lives on by the handle");
    luamp_close(same);
    is(amp_cells_live(), before + 1, "until that is closed");
    luamp_new_event("e", &same);
    luamp_write_object(w, same);
    luamp_close(same);
    luamp_put(q, w, LUAMP_NOW);
    luamp_close(q);
    luamp_writer_free(w);
    is(amp_cells_live(), before, "messages that nobody gets take theirs with them");
}

/* A signal ends a wait when its handler says so. */
static void
interrupt(int number)
{
    (void) number;
    luamp_interrupt();
}

static void
nothing(int number)
{
    (void) number;
}

static void *
signal_soon(void *argument)
{
    pthread_t sleeper = *(pthread_t *) argument;
    for (int i = 0; i < 50; i++)
        tap_nap();
    pthread_kill(sleeper, SIGUSR2); /* its handler does nothing: the wait goes on */
    for (int i = 0; i < 50; i++)
        tap_nap();
    pthread_kill(sleeper, SIGUSR1);
    return NULL;
}

static void
test_interrupt(void)
{
    luamp_Object *q;
    luamp_Reader *r = luamp_reader_new();
    pthread_t self = pthread_self(), thread;
    luamp_new_queue("q", 0, &q);
    sigaction(SIGUSR1, &(struct sigaction) {.sa_handler = interrupt}, NULL);
    sigaction(SIGUSR2, &(struct sigaction) {.sa_handler = nothing}, NULL);
    tap_need(pthread_create(&thread, NULL, signal_soon, &self) == 0);
    is(luamp_get(q, r, luamp_after(30)), LUAMP_INTERRUPTED, "luamp_interrupt ends a wait");
    pthread_join(thread, NULL);
    is(luamp_get(q, r, luamp_after(0.001)), LUAMP_TIMEOUT, "one");
    luamp_interrupt();
    is(luamp_get(q, r, luamp_after(30)), LUAMP_INTERRUPTED, "also one that is to come");
    luamp_reader_free(r);
    luamp_close(q);
}

/* Threads are members by what they do, and their handles are their own. */
static void *
use_from_thread(void *argument)
{
    luamp_Object *queue = argument, *mine, *made;
    intptr_t failed = 0;
    failed += luamp_put_bytes(queue, "thread", 6, LUAMP_FOREVER) != LUAMP_OK;
    failed += luamp_dup(queue, &mine) != LUAMP_OK;
    failed += luamp_new_event("left open", &made) != LUAMP_OK;
    luamp_close(mine);
    luamp_close(made);
    return (void *) failed;
}

static void
test_threads(void)
{
    luamp_Object *q;
    pthread_t threads[4];
    intptr_t failed = 0;
    luamp_new_queue("q", 0, &q);
    for (int i = 0; i < 4; i++)
        tap_need(pthread_create(&threads[i], NULL, use_from_thread, q) == 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed += (intptr_t) result;
    }
    is(failed, 0, "threads use the objects of another");
    is(luamp_queue_size(q), 4, "and what they put is there");
    unsigned lives = 0;
    for (uint32_t i = 0; i < amp_members_top(); i++)
        lives += amp_member_phase(amp_member_at(i)) != AMP_FREE;
    is(lives, 1, "when they have ended they are members no more");
    luamp_close(q);
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    tap_need(luamp_join("test") == LUAMP_OK);
    test_results();
    test_lock();
    test_semaphores();
    test_event();
    test_values();
    test_lives();
    if (tap_signals_arrive())
        test_interrupt();
    test_threads();
    return tap_done();
}
