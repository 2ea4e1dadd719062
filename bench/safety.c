/*
 * What it costs that a process may be killed at any instruction: the core's lock and queue, and the same
 * without their crash protocol, when nobody else wants them. The plain lock is a word and a futex. The
 * plain queue is the core's own source, compiled once more with the plain lock, and with a commit that
 * is a store and then a wake. Who is killed leaves the one locked for ever and the sleepers of the other
 * asleep.
 *
 * The rounds of all are run in turn, in one process, and measured by its processor's time. Printed are
 * the medians in nanoseconds, and the median of the rounds' ratios with their quartiles.
 *
 *     make benchmark-safety              in a build tree
 *     bench/safety [ROUNDS [COUNT]]
 */
#include "core/family.h"

#include "core/word.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MAX 999
#define LONGEST 1024

/*
 * Without the protocol.
 */

/* The word is 0: free, 1: taken, 2: taken, and somebody sleeps. */
static inline int
plain_enter(struct amp_lock *lock)
{
    uint32_t free = 0;
    if (__builtin_expect(atomic_compare_exchange_strong_explicit(
                             &lock->l_word, &free, 1, memory_order_acquire, memory_order_relaxed), 1))
        return 0;
    while (atomic_exchange_explicit(&lock->l_word, 2, memory_order_acquire) != 0)
        amp_futex.wait(&lock->l_word, 2, NULL);
    return 0;
}

static inline void
plain_leave(struct amp_lock *lock)
{
    if (atomic_exchange_explicit(&lock->l_word, 0, memory_order_release) == 2)
        amp_futex.wake(&lock->l_word, 1);
}

static inline void
plain_commit(amp_word *word, uint32_t step, int wake)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, (value & ~AMP_SLEEPER) + 2 * step, memory_order_release);
    if (value & AMP_SLEEPER)
        amp_futex.wake(word, wake);
}

#define amp_lock_enter plain_enter
#define amp_lock_leave plain_leave
#define amp_commit plain_commit
#define amp_lease_done plain_lease_done
#define amp_lease_set_deadline plain_lease_set_deadline
#define amp_lease_task plain_lease_task
#define amp_message_done plain_message_done
#define amp_pipe_end_init plain_pipe_end_init
#define amp_pipe_end_operations plain_pipe_end_operations
#define amp_ring_add plain_ring_add
#define amp_ring_close plain_ring_close
#define amp_ring_init plain_ring_init
#define amp_ring_init_leases plain_ring_init_leases
#define amp_ring_is_full plain_ring_is_full
#define amp_ring_is_ready plain_ring_is_ready
#define amp_ring_join plain_ring_join
#define amp_ring_operations plain_ring_operations
#define amp_ring_prepare_wait plain_ring_prepare_wait
#define amp_ring_publish plain_ring_publish
#define amp_ring_publish_many plain_ring_publish_many
#define amp_ring_reserve plain_ring_reserve
#define amp_ring_size plain_ring_size
#define amp_ring_take plain_ring_take
#define amp_ring_take_lease plain_ring_take_lease
#define amp_ring_take_small plain_ring_take_small
#define amp_ring_task_done plain_ring_task_done
#define amp_ring_thread_leave plain_ring_thread_leave
#define amp_ring_unfinished plain_ring_unfinished
uint32_t amp_ring_size(const struct amp_cell *queue); /* used before it is defined */
#include "core/ring.c"

static void
use_plain_queue(struct amp_cell *queue, const void *bytes, uint32_t length)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    unsigned char *where;
    if (plain_ring_reserve(queue, length, NULL, 0, AMP_AT_ONCE, &what, &where) != 0)
        abort();
    memcpy(where, bytes, length);
    plain_ring_publish(queue);
    if (plain_ring_take(queue, AMP_AT_ONCE, &what, &message) != 0)
        abort();
    plain_message_done(&message);
}

#undef amp_lock_enter
#undef amp_lock_leave
#undef amp_message_done
#undef amp_ring_init
#undef amp_ring_publish
#undef amp_ring_reserve
#undef amp_ring_take

static void
use_queue(struct amp_cell *queue, const void *bytes, uint32_t length)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    unsigned char *where;
    if (amp_ring_reserve(queue, length, NULL, 0, AMP_AT_ONCE, &what, &where) != 0)
        abort();
    memcpy(where, bytes, length);
    amp_ring_publish(queue);
    if (amp_ring_take(queue, AMP_AT_ONCE, &what, &message) != 0)
        abort();
    amp_message_done(&message);
}

/*
 * What is measured: so many pairs.
 */

static struct {
    struct amp_cell *plain_lock, *lock, *plain_queue, *queue;
    unsigned char message[LONGEST];
} here;

static void
repeat_plain_lock(long n, uint32_t length)
{
    (void) length;
    for (long i = 0; i < n; i++) {
        plain_enter(&here.plain_lock->c_lock0);
        plain_leave(&here.plain_lock->c_lock0);
    }
}

static void
repeat_lock(long n, uint32_t length)
{
    (void) length;
    for (long i = 0; i < n; i++) {
        amp_lock_enter(&here.lock->c_lock0);
        amp_lock_leave(&here.lock->c_lock0);
    }
}

static void
repeat_plain_queue(long n, uint32_t length)
{
    for (long i = 0; i < n; i++)
        use_plain_queue(here.plain_queue, here.message, length);
}

static void
repeat_queue(long n, uint32_t length)
{
    for (long i = 0; i < n; i++)
        use_queue(here.queue, here.message, length);
}

static const struct pair {
    const char *title;
    void (*plain)(long n, uint32_t length);
    void (*safe)(long n, uint32_t length);
    uint32_t length;
} pairs[] = {
    {"lock: acquire and release", repeat_plain_lock, repeat_lock, 0},
    {"queue: put and get 8 bytes", repeat_plain_queue, repeat_queue, 8},
    {"queue: put and get 1 KiB", repeat_plain_queue, repeat_queue, 1024},
};

#define PAIRS (sizeof pairs / sizeof *pairs)

static double
processor_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

static double
nanoseconds(void (*repeat)(long n, uint32_t length), long n, uint32_t length)
{
    double from = processor_time();
    repeat(n, length);
    return (processor_time() - from) / (double) n;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static double
median(double *numbers, int n)
{
    qsort(numbers, (size_t) n, sizeof *numbers, compare);
    return n % 2 ? numbers[n / 2] : (numbers[n / 2 - 1] + numbers[n / 2]) / 2;
}

static struct amp_cell *
make(enum amp_kind kind)
{
    struct amp_cell *cell;
    if (amp_cell_make(kind, "object", &cell) != 0)
        abort();
    if (kind == AMP_QUEUE)
        amp_ring_init(cell, 0, 0);
    amp_cell_ready(cell);
    return cell;
}

int
main(int argc, char **argv)
{
    static double plain[PAIRS][ROUNDS_MAX], safe[PAIRS][ROUNDS_MAX], ratio[PAIRS][ROUNDS_MAX];
    int rounds = argc > 1 ? atoi(argv[1]) : 101;
    long n = argc > 2 ? atol(argv[2]) : 100000;
    if (rounds < 1 || rounds > ROUNDS_MAX || n < 1) {
        fprintf(stderr, "safety: rounds from 1 to %d, and a count\n", ROUNDS_MAX);
        return 1;
    }
    if (amp_family_join("safety") != 0)
        abort();
    here.plain_lock = make(AMP_LOCK);
    here.lock = make(AMP_LOCK);
    here.plain_queue = make(AMP_QUEUE);
    here.queue = make(AMP_QUEUE);
    for (int round = -1; round < rounds; round++) { /* the first only warms up */
        int at = round < 0 ? 0 : round;
        for (size_t i = 0; i < PAIRS; i++) {
            bool safe_first = round & 1;
            if (safe_first)
                safe[i][at] = nanoseconds(pairs[i].safe, n, pairs[i].length);
            plain[i][at] = nanoseconds(pairs[i].plain, n, pairs[i].length);
            if (!safe_first)
                safe[i][at] = nanoseconds(pairs[i].safe, n, pairs[i].length);
            ratio[i][at] = safe[i][at] / plain[i][at];
        }
    }
    printf("| | plain, ns | luamp's, ns | luamp's/plain |\n|---|---|---|---|\n");
    for (size_t i = 0; i < PAIRS; i++) {
        double middle = median(ratio[i], rounds);
        printf("| %s | %.1f | %.1f | %.2f (%.2f to %.2f) |\n", pairs[i].title,
               median(plain[i], rounds), median(safe[i], rounds), middle, ratio[i][rounds / 4],
               ratio[i][rounds - 1 - rounds / 4]);
    }
    return 0;
}
