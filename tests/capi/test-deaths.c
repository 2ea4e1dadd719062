/*
 * What programs in C share outlives them: a process is killed while it holds a lock, has permits, puts and
 * gets; the others go on, and are told where there is something to tell.
 */
#include "luamp.h"

#include "../core/tap.h"

#include <signal.h>

static struct {
    _Atomic int ready; /* what the child is about to be killed in */
    _Atomic uint64_t put;
} *board;

/* Runs the function in a child, and kills that when it is ready. */
static void
kill_in(void (*function)(luamp_Object *), luamp_Object *object)
{
    luamp_Process *child;
    int status = 0;
    atomic_store(&board->ready, 0);
    int result = luamp_fork("victim", LUAMP_DIES_WITH_PARENT, &child);
    if (result == LUAMP_IN_CHILD) {
        function(object);
        atomic_store(&board->ready, 1);
        tap_stay();
    }
    tap_need(result == LUAMP_OK);
    tap_need(tap_until(atomic_load(&board->ready)));
    tap_need(luamp_process_kill(child, SIGKILL) == LUAMP_OK);
    tap_need(luamp_process_wait(child, luamp_after(30), &status) == LUAMP_OK);
    is(status, -SIGKILL, "the child is killed");
    is(luamp_process_kill(child, SIGKILL), LUAMP_GONE, "and gone");
    luamp_process_free(child);
}

static void
acquire(luamp_Object *object)
{
    tap_need(luamp_acquire(object, LUAMP_FOREVER) == LUAMP_OK);
}

static void
test_lock(void)
{
    luamp_Object *lock;
    luamp_new_lock("l", &lock);
    kill_in(acquire, lock);
    is(luamp_acquire(lock, LUAMP_NOW), LUAMP_OWNER_DIED, "the next owner of its lock is told");
    is(luamp_release(lock), LUAMP_OK, "and owns it");
    is(luamp_acquire(lock, LUAMP_NOW), LUAMP_OK, "from then on it is as ever");
    luamp_release(lock);
    luamp_close(lock);

    luamp_new_rlock("r", &lock);
    kill_in(acquire, lock);
    is(luamp_acquire(lock, luamp_after(30)), LUAMP_OWNER_DIED, "the same of an RLock");
    ok(luamp_release(lock) == LUAMP_OK && luamp_release(lock) == LUAMP_NOT_OWNER, "held once");
    luamp_close(lock);
}

/* Who sleeps on a lock is woken by the death of its owner. */
static void
test_sleeper(void)
{
    luamp_Object *lock;
    luamp_Process *owner, *sleeper;
    int status = -1;
    luamp_new_lock("l", &lock);
    atomic_store(&board->ready, 0);
    if (luamp_fork("owner", LUAMP_DIES_WITH_PARENT, &owner) == LUAMP_IN_CHILD) {
        acquire(lock);
        atomic_store(&board->ready, 1);
        tap_stay();
    }
    tap_need(tap_until(atomic_load(&board->ready) == 1));
    if (luamp_fork("sleeper", LUAMP_DIES_WITH_PARENT, &sleeper) == LUAMP_IN_CHILD) {
        tap_without_slices();
        atomic_store(&board->ready, 2);
        luamp_exit(luamp_acquire(lock, LUAMP_FOREVER));
    }
    tap_need(tap_until(atomic_load(&board->ready) == 2 &&
                       tap_state(luamp_process_pid(sleeper)) == 'S'));
    luamp_process_kill(owner, SIGKILL);
    is(luamp_process_wait(sleeper, luamp_after(30), &status), LUAMP_OK, "a sleeper is woken");
    is(status, LUAMP_OWNER_DIED, "and told");
    luamp_process_wait(owner, luamp_after(30), NULL);
    luamp_process_free(owner);
    luamp_process_free(sleeper);
    luamp_close(lock);
}

static void
test_semaphores(void)
{
    luamp_Object *semaphore;
    luamp_new_bounded_semaphore("b", 2, &semaphore);
    kill_in(acquire, semaphore);
    ok(luamp_acquire(semaphore, LUAMP_NOW) == LUAMP_OK &&
           luamp_acquire(semaphore, LUAMP_NOW) == LUAMP_OK,
       "its permits of a bounded semaphore come back");
    is(luamp_acquire(semaphore, LUAMP_NOW), LUAMP_TIMEOUT, "and no others");
    luamp_close(semaphore);
    luamp_new_semaphore("s", 1, &semaphore);
    kill_in(acquire, semaphore);
    is(luamp_acquire(semaphore, LUAMP_NOW), LUAMP_TIMEOUT, "those of a plain one do not");
    luamp_close(semaphore);
}

/* Puts without end. */
static void
test_queue(void)
{
    luamp_Object *queue;
    luamp_Process *producer;
    luamp_Reader *reader = luamp_reader_new();
    bool whole = true;
    uint64_t total = 0;
    luamp_new_queue("q", 64, &queue);
    for (int round = 0; round < 20; round++) {
        atomic_store(&board->put, 0);
        if (luamp_fork("producer", LUAMP_DIES_WITH_PARENT, &producer) == LUAMP_IN_CHILD) {
            luamp_Writer *writer = luamp_writer_new();
            for (int64_t n = 1;; n++) {
                luamp_write_list(writer);
                for (int i = 0; i < 100; i++)
                    luamp_write_integer(writer, n);
                luamp_write_end(writer);
                if (luamp_put(queue, writer, LUAMP_FOREVER) != LUAMP_OK)
                    luamp_exit(1);
                atomic_store(&board->put, (uint64_t) n);
            }
        }
        int64_t last = 0;
        int status = 0;
        bool killed = false;
        for (;;) {
            int result = luamp_get(queue, reader, killed ? LUAMP_NOW : luamp_after(30));
            if (result == LUAMP_TIMEOUT && killed)
                break;
            size_t items = 0;
            int64_t n = 0, first = 0;
            whole = whole && result == LUAMP_OK && luamp_read_table(reader, &items) == LUAMP_OK &&
                    items == 100 && luamp_read_integer(reader, &first) == LUAMP_OK &&
                    first == last + 1;
            for (int i = 1; i < 100; i++)
                whole = whole && luamp_read_integer(reader, &n) == LUAMP_OK && n == first;
            whole = whole && luamp_read_end(reader) == LUAMP_OK;
            if (!whole)
                break;
            last = first;
            total++;
            if (!killed && last > 20 + round) { /* in the middle of whatever it does */
                luamp_process_kill(producer, SIGKILL);
                luamp_process_wait(producer, luamp_after(30), &status);
                killed = true;
            }
        }
        whole = whole && (uint64_t) last >= atomic_load(&board->put);
        if (!killed) {
            luamp_process_kill(producer, SIGKILL);
            luamp_process_wait(producer, luamp_after(30), &status);
        }
        luamp_process_free(producer);
    }
    ok(whole, "what a producer has put before it was killed arrives, whole and in order");
    diag("%llu messages", (unsigned long long) total);
    luamp_put_bytes(queue, "last", 4, LUAMP_NOW);
    is(luamp_queue_close(queue), LUAMP_OK, "the queue is closed");
    is(luamp_put_bytes(queue, "x", 1, LUAMP_FOREVER), LUAMP_CLOSED, "nothing can be put");
    is(luamp_get(queue, reader, LUAMP_FOREVER), LUAMP_OK, "what is in it is got");
    is(luamp_get(queue, reader, LUAMP_FOREVER), LUAMP_CLOSED, "and then no more comes");
    luamp_reader_free(reader);
    luamp_close(queue);
}

/* Takes a message, and is killed before it says so: the message is gone with it, and the queue goes on. */
static void
take_one(luamp_Object *queue)
{
    luamp_Reader *reader = luamp_reader_new();
    tap_need(luamp_get(queue, reader, LUAMP_NOW) == LUAMP_OK);
}

static void
test_consumer(void)
{
    luamp_Object *queue;
    luamp_Reader *reader = luamp_reader_new();
    size_t length = 0;
    luamp_new_queue("q", 0, &queue);
    luamp_put_bytes(queue, "1", 1, LUAMP_NOW);
    luamp_put_bytes(queue, "22", 2, LUAMP_NOW);
    kill_in(take_one, queue);
    is(luamp_queue_size(queue), 1, "a consumer that is killed has what it took");
    ok(luamp_get(queue, reader, LUAMP_NOW) == LUAMP_OK &&
           luamp_read_string(reader, NULL, &length) == LUAMP_OK && length == 2,
       "and the next is for others");
    luamp_reader_free(reader);
    luamp_close(queue);
}

/* The same by a fork of the C library's. */
static void
test_plain_fork(void)
{
    luamp_Object *lock, *queue;
    luamp_Reader *reader = luamp_reader_new();
    luamp_new_lock("l", &lock);
    luamp_new_queue("q", 0, &queue);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (luamp_acquire(lock, LUAMP_NOW) != LUAMP_OK ||
            luamp_put_bytes(queue, "held", 4, LUAMP_NOW) != LUAMP_OK)
            _exit(1);
        tap_stay();
    }
    is(luamp_get(queue, reader, luamp_after(30)), LUAMP_OK, "a child of fork is a member");
    is(luamp_acquire(lock, LUAMP_NOW), LUAMP_TIMEOUT, "and holds a lock");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    is(luamp_acquire(lock, LUAMP_NOW), LUAMP_OWNER_DIED, "until it dies");
    luamp_release(lock);
    luamp_reader_free(reader);
    luamp_close(queue);
    luamp_close(lock);
}

static void
test_status(void)
{
    luamp_Process *child;
    int status = -1;
    if (luamp_fork(NULL, 0, &child) == LUAMP_IN_CHILD)
        luamp_exit(7);
    is(luamp_process_wait(child, luamp_after(30), &status), LUAMP_OK, "a child is waited for");
    is(status, 7, "its status is told");
    status = -1;
    ok(luamp_process_wait(child, LUAMP_NOW, &status) == LUAMP_OK && status == 7, "again, too");
    luamp_process_free(child);
    if (luamp_fork(NULL, 0, &child) == LUAMP_IN_CHILD)
        tap_stay();
    is(luamp_process_wait(child, luamp_after(0.001), NULL), LUAMP_TIMEOUT, "one that lives is not");
    luamp_process_kill(child, SIGKILL);
    waitpid(luamp_process_pid(child), NULL, 0);
    is(luamp_process_wait(child, luamp_after(30), NULL), LUAMP_GONE,
       "one that others have waited for is gone");
    luamp_process_free(child);
    is(luamp_fork("x", 64, &child), LUAMP_MISUSE, "unknown flags are refused");
}

int
main(void)
{
    if (!tap_forks())
        return tap_skip_all("kills processes");
    board = tap_shared(sizeof *board);
    setvbuf(stdout, NULL, _IOLBF, 0);
    tap_need(luamp_join("test") == LUAMP_OK);
    test_status();
    test_lock();
    test_sleeper();
    test_semaphores();
    test_queue();
    test_consumer();
    test_plain_fork();
    return tap_done();
}
