/*
 * descriptor: a shared object as a descriptor that a loop of the program's can poll.
 *
 * The kernel cannot poll a word. So a thread waits for the word of the object, and makes an eventfd readable
 * when the object is ready; then it rests, until a call that does not wait has found that the object is not
 * ready (luampA_watch_again). In between the descriptor stays readable, whoever takes the messages: it is
 * the program that says when it has seen all.
 *
 * The thread is plain C with all signals blocked; it takes no lock and allocates nothing, so a fork beside
 * it is harmless. It is no member, and holds nothing: the handle does, and ends the thread first. In a child
 * of a fork the thread is not there, and the descriptor is the parent's: it is closed, and another made.
 */
#include "capi.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct luampA_watch {
    struct amp_cell *cell;
    int descriptor;
    pid_t process;       /* in which the thread is */
    pthread_t thread;
    sem_t begun;
    amp_word orders;     /* how many: the thread looks again when one has come */
    _Atomic int state;   /* enum state */
    _Atomic bool stop;
};

/* The thread goes from ARMED to FIRED, a call of the program's from there to ARMED. In between nobody else
   touches the descriptor. */
enum state {
    ARMED,    /* the thread watches the object; the descriptor is not readable */
    FIRING,
    FIRED,    /* it is; the thread rests */
    CLEARING,
};

/* Sets the flag for sleepers on the object's word: false when it is ready. */
static bool
prepare(struct amp_cell *cell, amp_word **word, uint32_t *value)
{
    if (amp_cell_kind(cell) == AMP_QUEUE) {
        *word = &cell->q_published;
        return amp_ring_prepare_wait(cell, value);
    }
    struct amp_event event = amp_event_of(cell);
    *word = event.word;
    return amp_event_prepare_wait(&event, value);
}

static void
make_readable(struct luampA_watch *watch)
{
    uint64_t one = 1;
    atomic_store(&watch->state, FIRING);
    while (write(watch->descriptor, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    atomic_store(&watch->state, FIRED);
}

static void *
run(void *argument)
{
    struct luampA_watch *watch = argument;
    amp_thread_enter();
    sem_post(&watch->begun);
    for (;;) {
        struct amp_what what = {.uninterruptible = true};
        amp_word *words[2] = {&watch->orders};
        uint32_t expected[2] = {atomic_load(&watch->orders)};
        unsigned n = 1;
        if (atomic_load(&watch->stop))
            return NULL;
        if (atomic_load(&watch->state) == ARMED) {
            if (!prepare(watch->cell, &words[1], &expected[1])) {
                make_readable(watch);
                continue;
            }
            n = 2;
        }
        amp_wait_many(words, expected, n, AMP_FOREVER, &what);
    }
}

static void
order(struct luampA_watch *watch)
{
    atomic_fetch_add(&watch->orders, 1);
    amp_futex.wake(&watch->orders, AMP_WAKE_ALL);
}

void
luampA_watch_again(struct luampA_watch *watch)
{
    uint64_t count;
    int fired = FIRED;
    if (watch->process != getpid())
        return;
    while (atomic_load(&watch->state) == FIRING) /* for a system call */
        sched_yield();
    if (!atomic_compare_exchange_strong(&watch->state, &fired, CLEARING))
        return;
    while (read(watch->descriptor, &count, sizeof count) < 0 && errno == EINTR)
        continue;
    atomic_store(&watch->state, ARMED);
    order(watch);
}

void
luampA_watch_end(struct luampA_watch *watch)
{
    if (watch->process == getpid()) {
        atomic_store(&watch->stop, true);
        order(watch);
        pthread_join(watch->thread, NULL);
        sem_destroy(&watch->begun);
    }
    close(watch->descriptor);
    free(watch);
}

/* 0 or a negative errno. */
static int
start(struct luampA_watch *watch)
{
    sigset_t all, old;
    sem_init(&watch->begun, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failure = pthread_create(&watch->thread, NULL, run, watch);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    /* A fork must not fall into its birth, in which it may hold locks of the C library's. */
    while (failure == 0 && sem_wait(&watch->begun) != 0)
        continue;
    return -failure;
}

static int
make_watch(luamp_Object *object)
{
    struct luampA_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return LUAMP_NO_MEMORY;
    watch->cell = object->cell;
    watch->process = getpid();
    watch->state = ARMED;
    watch->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int failure = watch->descriptor < 0 ? -errno : start(watch);
    if (failure != 0) {
        if (watch->descriptor >= 0)
            close(watch->descriptor);
        free(watch);
        errno = -failure;
        return LUAMP_SYSTEM;
    }
    object->watch = watch;
    return LUAMP_OK;
}

int
luamp_descriptor(luamp_Object *object, int *descriptor)
{
    int result = luampA_enter(object, LUAMPA_QUEUES | LUAMPA_EVENTS);
    if (result == LUAMP_OK && descriptor == NULL)
        result = LUAMP_MISUSE;
    if (result != LUAMP_OK)
        return result;
    if (object->watch && object->watch->process != getpid()) {
        luampA_watch_end(object->watch);
        object->watch = NULL;
    }
    if (object->watch == NULL)
        result = make_watch(object);
    if (result == LUAMP_OK)
        *descriptor = object->watch->descriptor;
    return result;
}
