/*
 * A queue or an event in a loop of the program's: its descriptor is readable when it is ready, and only then
 * for long.
 */
#include "luamp.h"

#include "../core/tap.h"

#include <poll.h>

static bool
is_readable(int descriptor, int milliseconds)
{
    struct pollfd poll_for = {.fd = descriptor, .events = POLLIN};
    return poll(&poll_for, 1, milliseconds) == 1;
}

#define PATIENCE 30000

static void
test_queue(void)
{
    luamp_Object *queue;
    luamp_Reader *reader = luamp_reader_new();
    int descriptor = -1, same = -2;
    luamp_new_queue("q", 0, &queue);
    is(luamp_descriptor(queue, &descriptor), LUAMP_OK, "a queue has a descriptor");
    ok(luamp_descriptor(queue, &same) == LUAMP_OK && same == descriptor, "one");
    ok(!is_readable(descriptor, 20), "it is not readable while the queue is empty");
    luamp_put_bytes(queue, "1", 1, LUAMP_NOW);
    ok(is_readable(descriptor, PATIENCE), "it is when a message is there");
    luamp_put_bytes(queue, "2", 1, LUAMP_NOW);
    is(luamp_get(queue, reader, LUAMP_NOW), LUAMP_OK, "who takes one of two");
    ok(is_readable(descriptor, PATIENCE), "can poll for the other");
    luamp_get(queue, reader, LUAMP_NOW);
    is(luamp_get(queue, reader, LUAMP_NOW), LUAMP_TIMEOUT, "who has seen that it is empty");
    ok(tap_until(!is_readable(descriptor, 0)), "does not find it readable");
    ok(!is_readable(descriptor, 20), "until");
    luamp_put_bytes(queue, "3", 1, LUAMP_NOW);
    ok(is_readable(descriptor, PATIENCE), "another message comes");
    luamp_get(queue, reader, LUAMP_NOW);
    luamp_get(queue, reader, LUAMP_NOW);
    luamp_queue_close(queue);
    ok(is_readable(descriptor, PATIENCE), "or it is closed");
    luamp_close(queue);
    ok(fcntl(descriptor, F_GETFD) < 0, "it is closed with the handle");
    luamp_reader_free(reader);
}

static void
test_event(void)
{
    luamp_Object *event, *lock;
    int descriptor = -1;
    luamp_new_event("e", &event);
    luamp_event_set(event);
    luamp_descriptor(event, &descriptor);
    ok(is_readable(descriptor, PATIENCE), "an event that is set is readable");
    luamp_event_clear(event);
    is(luamp_event_wait(event, LUAMP_NOW), LUAMP_TIMEOUT, "cleared");
    ok(tap_until(!is_readable(descriptor, 0)), "it is not");
    luamp_event_set(event);
    ok(is_readable(descriptor, PATIENCE), "set again it is");
    luamp_close(event);
    luamp_new_lock("l", &lock);
    is(luamp_descriptor(lock, &descriptor), LUAMP_WRONG_KIND, "a lock has none");
    luamp_close(lock);
}

/* Many messages by another thread: none is overlooked, and the loop ends. */
enum { MANY = 20000 };

static void *
produce(void *argument)
{
    intptr_t failed = 0;
    for (int i = 0; i < MANY; i++)
        failed += luamp_put_bytes(argument, "x", 1, LUAMP_FOREVER) != LUAMP_OK;
    return (void *) failed;
}

static void
test_loop(void)
{
    luamp_Object *queue;
    luamp_Reader *reader = luamp_reader_new();
    pthread_t thread;
    int descriptor = -1, got = 0, polls = 0;
    void *failed;
    luamp_new_queue("q", 3, &queue);
    luamp_descriptor(queue, &descriptor);
    tap_need(pthread_create(&thread, NULL, produce, queue) == 0);
    while (got < MANY && is_readable(descriptor, PATIENCE)) {
        polls++;
        while (luamp_get(queue, reader, LUAMP_NOW) == LUAMP_OK)
            got++;
    }
    is(got, MANY, "a loop gets every message");
    pthread_join(thread, &failed);
    is((intptr_t) failed, 0, "that was put");
    diag("%d polls", polls);
    luamp_close(queue);
    luamp_reader_free(reader);
}

/* A child has the parent's descriptor, and asks for its own. */
static void
test_fork(void)
{
    luamp_Object *queue;
    luamp_Process *child;
    int descriptor = -1, status = -1;
    luamp_new_queue("q", 0, &queue);
    luamp_descriptor(queue, &descriptor);
    if (luamp_fork("child", LUAMP_DIES_WITH_PARENT, &child) == LUAMP_IN_CHILD) {
        int own = -1;
        bool right = luamp_descriptor(queue, &own) == LUAMP_OK && is_readable(own, PATIENCE);
        luamp_close(queue);
        luamp_exit(right ? 0 : 1);
    }
    luamp_put_bytes(queue, "x", 1, LUAMP_NOW);
    ok(luamp_process_wait(child, luamp_after(30), &status) == LUAMP_OK && status == 0,
       "a child has a descriptor of its own");
    ok(is_readable(descriptor, PATIENCE), "and the parent its own");
    luamp_process_free(child);
    luamp_close(queue);
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    tap_need(luamp_join("test") == LUAMP_OK);
    test_queue();
    test_event();
    test_loop();
    if (tap_forks())
        test_fork();
    return tap_done();
}
