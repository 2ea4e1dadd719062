/*
 * Queues: every message arrives once, whole and in order, whoever waits, closes or dies.
 */
#include "objects.h"

#include <signal.h>
#include <sys/time.h>

static struct amp_futex_operations kernel;

static struct {
    amp_handle handle;
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int result[TAP_WORKERS_MAX];
    _Atomic int stop;
    _Atomic uint64_t put, got, sum_put, sum_got;
    _Atomic uint8_t seen[1 << 22];
} *board;

static struct amp_cell *
shared(void)
{
    return amp_cell_of(board->handle);
}

static struct amp_cell *
queue(uint32_t limit, uint32_t segments)
{
    struct amp_cell *q = queue_make(limit, segments);
    board->handle = amp_cell_handle(q);
    return q;
}

static amp_time
milliseconds(int n)
{
    return amp_now() + n * AMP_MILLISECOND;
}

/*
 * One process.
 */

static void
test_order(void)
{
    struct amp_cell *q = queue(0, 0);
    uint64_t number;
    ok(!amp_ring_is_ready(q) && !amp_ring_is_full(q) && amp_ring_size(q) == 0,
       "a new queue is empty");
    is(queue_get(q, &number, AMP_AT_ONCE), -EAGAIN, "who does not wait is told so");
    amp_time deadline = milliseconds(5);
    is(queue_get(q, &number, deadline), -ETIMEDOUT, "and so is who waits a short time");
    ok(amp_now() >= deadline, "which has gone by");
    is(queue_put(q, 1, 8, AMP_AT_ONCE), 0, "a message is put");
    ok(amp_ring_is_ready(q) && amp_ring_size(q) == 1, "and is there");
    is(queue_get(q, &number, AMP_FOREVER), 0, "and got");
    is(number, 1, "it is the one");

    bool right = true;
    for (uint64_t i = 0; i < 20000; i++)
        right = right && queue_put(q, i, i % 300 + 8, AMP_AT_ONCE) == 0;
    is(amp_ring_size(q), 20000, "thousands are put");
    for (uint64_t i = 0; i < 20000; i++)
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i;
    ok(right, "and come out in order");
    is(queue_get(q, &number, AMP_AT_ONCE), -EAGAIN, "and no more");
    tap_unhold(q);
}

static void
test_lengths(void)
{
    struct amp_cell *q = queue(0, 0);
    static const size_t lengths[] = {0, 1, 7, 8, 9, 100, 4095, 4096, 4097, 16360, 16384, 65536,
                                     1 << 20, (1 << 20) - 40, 5 << 20, 3, (16 << 20) + 1};
    enum { N = sizeof lengths / sizeof *lengths };
    bool right = true;
    uint64_t number;
    size_t length;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            right = right && queue_put(q, 200, lengths[i], AMP_AT_ONCE) == 0;
        for (int i = 0; i < N; i++)
            right = right &&
                    queue_get_objects(q, &number, &length, NULL, NULL, AMP_AT_ONCE) == 0 &&
                    length == lengths[i];
    }
    ok(right, "messages of every length arrive whole, larger ones than any segment too");
    /* Lengths around what is left of a segment. */
    for (size_t n = 3900; n < 4200; n++)
        right = right && queue_put(q, n, n, AMP_AT_ONCE) == 0;
    for (size_t n = 3900; n < 4200; n++)
        right = right && queue_get_objects(q, &number, &length, NULL, NULL, AMP_AT_ONCE) == 0 &&
                number == n && length == n;
    ok(right, "wherever the end of a segment falls");

    struct amp_what what = {.kind = AMP_QUEUE};
    unsigned char *where;
    is(amp_ring_reserve(q, AMP_MESSAGE_MAX + 1, NULL, 0, AMP_AT_ONCE, &what, &where), -EMSGSIZE,
       "a message that is too large is refused");
    is(amp_ring_reserve(q, SIZE_MAX, NULL, 0, AMP_AT_ONCE, &what, &where), -EMSGSIZE,
       "and one of absurd size");
    is(amp_ring_reserve(q, AMP_MESSAGE_MAX - 4096, NULL, 0, AMP_AT_ONCE, &what, &where), -ENOMEM,
       "one that is larger than the arena is refused otherwise");
    is(queue_put(q, 5, 8, AMP_AT_ONCE), 0, "then others may be put");
    is(queue_get(q, &number, AMP_AT_ONCE), 0, "and got");
    is(number, 5, "as ever");
    tap_unhold(q);
}

/* Takes four gigabytes of memory, so only on request. */
/*
 * Several in one step. Their numbers follow each other.
 */

static struct amp_small
small_of(uint64_t number)
{
    struct amp_small small = {.length = (uint8_t) (8 + number % 8)};
    pattern_fill(small.bytes, small.length, number);
    return small;
}

/* Puts up to `n`, the first one being `number`: how many, by their count before and after. */
static uint32_t
put_batch(struct amp_cell *q, uint64_t number, unsigned n)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_small first = small_of(number), more[AMP_BATCH];
    unsigned char *where;
    if (amp_ring_reserve(q, first.length, NULL, 0, AMP_AT_ONCE, &what, &where) != 0)
        return 0;
    memcpy(where, first.bytes, first.length);
    for (unsigned i = 0; i + 1 < n && i < AMP_BATCH; i++)
        more[i] = small_of(number + 1 + i);
    uint32_t before = amp_ring_size(q);
    amp_ring_publish_many(q, 1 + amp_ring_add(q, more, n - 1));
    return amp_ring_size(q) - before;
}

static bool
is_not_a_multiple_of_100(const void *bytes, size_t length)
{
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return length >= 8 && number % 100 != 0;
}

static void
test_batches(void)
{
    struct amp_cell *q = queue(0, 0);
    struct amp_small small[AMP_BATCH];
    uint64_t put = 1, got = 1, number;
    bool right = true;
    int batches = 0;
    for (unsigned i = 0; got < 200000; i++) {
        while (put < got + i % 700)
            put += put_batch(q, put, i % 90 + 1);
        if (i % 3 == 0)
            right = right && queue_put(q, put++, 8, AMP_AT_ONCE) == 0;
        for (unsigned k = 0; k < i % 5 && got < put; k++) {
            unsigned n = amp_ring_take_small(q, small, i % 80 + 1, is_not_a_multiple_of_100);
            batches += n > 1;
            right = right && n <= AMP_BATCH && n <= i % 80 + 1 && (n == 0 || n % 2 == 1);
            for (unsigned m = 0; m < n; m++) {
                right = right && pattern_holds(small[m].bytes, small[m].length, got);
                got++;
            }
            if (n == 0) {
                right = right && got % 100 == 0 && queue_get(q, &number, AMP_AT_ONCE) == 0 &&
                        number == got;
                got++;
            }
        }
    }
    ok(right, "small messages put and taken many at a time, and one, come in order");
    ok(batches > 100, "and many at a time they were (%d)", batches);
    tap_unhold(q);

    q = queue(8, 0);
    is(put_batch(q, 1, 20), 7, "a queue of 8 has room for an odd number in one step");
    is(put_batch(q, 8, 20), 1, "and then for one");
    is(put_batch(q, 9, 20), 0, "and then for none");
    is(amp_ring_take_small(q, small, 2, is_not_a_multiple_of_100), 1, "who wants 2 gets 1");
    is(amp_ring_take_small(q, small, AMP_BATCH, is_not_a_multiple_of_100), 7, "who wants all, all");
    is(amp_ring_take_small(q, small, AMP_BATCH, is_not_a_multiple_of_100), 0, "and then none");
    tap_unhold(q);
}

static void
test_largest(void)
{
    const char *wanted = getenv("TEST_LARGE");
    if (wanted == NULL || *wanted != '1') {
        tap_skip("the largest message arrives whole", "takes 4 GiB; set TEST_LARGE=1");
        return;
    }
    tap_family_end();
    tap_family(UINT64_C(16) << 30);
    struct amp_cell *q = queue_make(0, 0);
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    unsigned char *where;
    size_t length = AMP_MESSAGE_MAX;
    while (amp_ring_reserve(q, length, NULL, 0, AMP_AT_ONCE, &what, &where) == -EMSGSIZE)
        length--;
    diag("%zu bytes", length);
    where[0] = 1;
    where[length - 1] = 2;
    amp_ring_publish(q);
    queue_put(q, 77, 100, AMP_AT_ONCE);
    uint64_t number;
    is(amp_ring_take(q, AMP_AT_ONCE, &what, &message), 0, "the largest message arrives");
    ok(message.length == length && message.bytes[0] == 1 && message.bytes[length - 1] == 2,
       "whole");
    amp_message_done(&message);
    ok(queue_get(q, &number, AMP_AT_ONCE) == 0 && number == 77, "and so does the one behind it");
    tap_unhold(q);
}

static void
test_limit(void)
{
    struct amp_cell *q = queue(3, 0);
    uint64_t number;
    for (uint64_t i = 1; i <= 3; i++)
        queue_put(q, i, 8, AMP_AT_ONCE);
    ok(amp_ring_is_full(q), "a queue with a limit is full");
    is(queue_put(q, 4, 8, AMP_AT_ONCE), -EAGAIN, "who does not wait is told so");
    amp_time deadline = milliseconds(5);
    is(queue_put(q, 4, 8, deadline), -ETIMEDOUT, "and so is who waits a short time");
    ok(amp_now() >= deadline, "which has gone by");
    is(amp_ring_size(q), 3, "and nothing was put");
    queue_get(q, &number, AMP_AT_ONCE);
    is(queue_put(q, 4, 8, AMP_AT_ONCE), 0, "when one was got another can be put");
    bool right = number == 1;
    for (uint64_t i = 2; i <= 4; i++)
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i;
    ok(right, "all come out in order");

    atomic_store(&q->q_published, 0xfffffffcu); /* the last counts before 2^31 */
    atomic_store(&q->q_taken, 0xfffffffcu);
    atomic_store(&q->q_tail[0], atomic_load(&q->q_tail[1]));
    atomic_store(&q->q_head[0], atomic_load(&q->q_head[1]));
    q->q_taken_seen = q->q_published_seen = 0x7ffffffeu;
    for (uint64_t i = 1; i <= 10; i++) {
        right = right && queue_put(q, i, 8, AMP_AT_ONCE) == 0 &&
                queue_put(q, i + 100, 8, AMP_AT_ONCE) == 0 &&
                queue_put(q, i + 200, 8, AMP_AT_ONCE) == 0 &&
                queue_put(q, 0, 8, AMP_AT_ONCE) == -EAGAIN && amp_ring_size(q) == 3;
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i;
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i + 100;
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i + 200;
    }
    ok(right, "also where the counts go round");
    tap_unhold(q);
}

static void
test_segments(void)
{
    uint64_t used = amp_arena_used();
    struct amp_cell *q = queue(0, 2);
    uint64_t number, n = 0;
    bool right = true;
    for (int round = 0; round < 50; round++) {
        uint64_t first = n;
        while (queue_put(q, n, 1000, AMP_AT_ONCE) == 0)
            n++;
        right = right && n > first;
        for (uint64_t i = first; i < n; i++)
            right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i;
    }
    ok(right, "a queue of so many segments fills up and empties, again and again");
    for (size_t size = 1; size < 4 << 20; size *= 3)
        right = right && queue_put(q, size, size + 8, AMP_AT_ONCE) == 0 &&
                queue_get(q, &number, AMP_AT_ONCE) == 0 && number == size;
    ok(right, "and takes a message of any size when it is empty");
    tap_unhold(q);
    is(amp_arena_used(), used, "its memory comes back with it");

    q = queue(0, 0);
    for (uint64_t i = 0; i < 200000; i++) {
        queue_put(q, i, 200, AMP_AT_ONCE);
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i;
    }
    ok(right && amp_arena_used() - used < 1 << 20,
       "a queue that is emptied as it is filled takes no end of memory");
    tap_unhold(q);
    is(amp_arena_used(), used, "nor does it keep any");
}

/* Messages that are read in place, and ones that are copied, several at a time. */
static void
test_reading(void)
{
    struct amp_cell *q = queue(0, 0);
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message[4];
    static const size_t lengths[4] = {100000, 200000, 100, 50};
    for (uint64_t i = 0; i < 4; i++)
        queue_put(q, i, lengths[i], AMP_AT_ONCE);
    for (int i = 0; i < 4; i++)
        amp_ring_take(q, AMP_AT_ONCE, &what, &message[i]);
    for (uint64_t i = 4; i < 500; i++) { /* what would write over a segment that is being read */
        uint64_t number;
        queue_put(q, i, 90000, AMP_AT_ONCE);
        queue_get(q, &number, AMP_AT_ONCE);
    }
    bool whole = true;
    for (uint64_t i = 0; i < 4; i++)
        whole = whole && message[i].length == lengths[i] &&
                pattern_holds(message[i].bytes, message[i].length, i);
    ok(whole, "messages stay whole as long as they are read");
    for (int i = 3; i >= 0; i--)
        amp_message_done(&message[i]);
    is(atomic_load(&amp_member_at(amp_self.member)->m_pin), 0, "then nothing is pinned");
    tap_unhold(q);
}

static void
test_close(void)
{
    struct amp_cell *q = queue(0, 0);
    uint64_t number;
    queue_put(q, 1, 8, AMP_AT_ONCE);
    amp_ring_close(q, AMP_RING_NO_PUTS);
    is(queue_put(q, 2, 8, AMP_FOREVER), -EPIPE, "nothing can be put into a closed queue");
    ok(amp_ring_is_ready(q), "it is ready");
    is(queue_get(q, &number, AMP_FOREVER), 0, "what is in it can be got");
    is(queue_get(q, &number, AMP_FOREVER), -EPIPE, "then who gets is told that it is closed");
    is(queue_get(q, &number, AMP_AT_ONCE), -EPIPE, "who does not wait as well");
    amp_ring_close(q, AMP_RING_NO_PUTS);
    amp_ring_close(q, AMP_RING_NO_GETS);
    is(queue_put(q, 2, 8, AMP_AT_ONCE), -EPIPE, "to close twice changes nothing");
    tap_unhold(q);

    q = queue(0, 0);
    amp_ring_close(q, AMP_RING_NO_GETS);
    is(queue_put(q, 1, 8, AMP_AT_ONCE), -EPIPE, "nor can be put what nobody will read");
    tap_unhold(q);
}

static void
test_prepare_wait(void)
{
    struct amp_cell *q = queue(0, 0);
    uint32_t value;
    ok(amp_ring_prepare_wait(q, &value), "an empty queue can be waited for among others");
    is(value, atomic_load(&q->q_published), "its word has the flag");
    ok(value & AMP_SLEEPER, "as it says");
    ok(amp_ring_prepare_wait(q, &value), "by more than one");
    queue_put(q, 1, 8, AMP_AT_ONCE);
    ok(atomic_load(&q->q_published) != value, "a put changes the word");
    ok(!amp_ring_prepare_wait(q, &value), "a queue with a message needs no waiting");
    uint64_t number;
    queue_get(q, &number, AMP_AT_ONCE);
    amp_ring_prepare_wait(q, &value);
    amp_ring_close(q, AMP_RING_NO_PUTS);
    ok(atomic_load(&q->q_published) != value, "so does a close");
    ok(!amp_ring_prepare_wait(q, &value), "a closed queue needs none either");
    tap_unhold(q);
}

/*
 * Tasks and leases.
 */

static void
test_tasks(void)
{
    struct amp_cell *q = queue(0, 0);
    struct amp_what what = {.kind = AMP_QUEUE};
    uint64_t number;
    is(amp_ring_join(q, AMP_AT_ONCE, &what), 0, "a queue without tasks is done");
    is(amp_ring_task_done(q), -ERANGE, "no more can be done than was put");
    for (int i = 0; i < 3; i++) {
        queue_put(q, 1, 8, AMP_AT_ONCE);
        queue_get(q, &number, AMP_AT_ONCE);
    }
    is(amp_ring_join(q, AMP_AT_ONCE, &what), -ETIMEDOUT, "tasks that were got are not done");
    is(amp_ring_join(q, milliseconds(5), &what), -ETIMEDOUT, "not after a short time either");
    for (int i = 0; i < 3; i++)
        is(amp_ring_task_done(q), 0, "task %d is done", i);
    is(amp_ring_join(q, AMP_FOREVER, &what), 0, "then all are");
    is(amp_ring_task_done(q), -ERANGE, "and no more");
    tap_unhold(q);
}

static int
take_lease_and_die(void *argument)
{
    int how = *(int *) argument;
    struct amp_cell *q = shared();
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    if (amp_ring_take_lease(q, 1, AMP_AT_ONCE, &what, &message) != 0)
        return 1;
    amp_message_done(&message);
    if (how == 2)
        amp_lease_done(q, 1);
    raise(SIGKILL);
    return 0;
}

static void
test_leases(void)
{
    uint64_t used = amp_arena_used();
    struct amp_cell *q;
    amp_time deadline;
    tap_need(amp_cell_make(AMP_QUEUE, "tasks", &q) == 0);
    amp_ring_init(q, 0, 0);
    is(amp_ring_init_leases(q, 3), 0, "a queue has leases");
    board->handle = amp_cell_ready(q);
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    is(amp_ring_take_lease(q, 0, AMP_AT_ONCE, &what, &message), -EAGAIN, "no task");
    is(amp_lease_task(q, 0, &deadline), 0, "no lease");
    for (uint64_t i = 11; i <= 13; i++)
        queue_put(q, i, 8, AMP_AT_ONCE);
    is(amp_ring_take_lease(q, 0, AMP_AT_ONCE, &what, &message), 0, "a task is taken");
    amp_message_done(&message);
    is(amp_lease_task(q, 0, &deadline), 11, "and its lease says which");
    is(deadline, 0, "without a deadline");
    amp_lease_set_deadline(q, 0, 4711);
    amp_lease_task(q, 0, &deadline);
    is(deadline, 4711, "until it has one");
    is(amp_lease_task(q, 1, &deadline), 0, "another's lease says nothing");
    amp_lease_done(q, 0);
    is(amp_lease_task(q, 0, &deadline), 0, "when it is done the lease says so");
    if (tap_forks()) {
        int how = 1;
        struct amp_child child = tap_child(take_lease_and_die, &how);
        tap_join(&child);
        is(amp_lease_task(q, 1, &deadline), 12, "of a dead worker it says what it worked on");
        amp_lease_done(q, 1);
        how = 2;
        child = tap_child(take_lease_and_die, &how);
        tap_join(&child);
        is(amp_lease_task(q, 1, &deadline), 0, "but not what it had done");
    }
    tap_unhold(q);
    is(amp_arena_used(), used, "leases end with the queue");
}

/*
 * Many.
 */

#define MESSAGES 4000u
#define PRODUCERS 20

static int
produce_or_consume(int index)
{
    struct amp_cell *q = shared();
    if (index < PRODUCERS) {
        uint64_t sum = 0;
        for (uint64_t i = 0; i < MESSAGES / 8; i++) {
            uint64_t number = (uint64_t) index * MESSAGES + i;
            size_t length = number % 7 == 0 ? 5000 + number % 3000 : 8 + number % 64;
            if (queue_put(q, number, length, AMP_FOREVER) != 0)
                return 1;
            sum += number * (length | 1);
        }
        atomic_fetch_add(&board->sum_put, sum);
        atomic_fetch_add(&board->put, MESSAGES / 8);
        return 0;
    }
    uint64_t last[PRODUCERS];
    memset(last, 0xff, sizeof last);
    for (;;) {
        uint64_t number;
        size_t length;
        int result = queue_get_objects(q, &number, &length, NULL, NULL, AMP_FOREVER);
        if (result == -EPIPE)
            return 0;
        if (result != 0)
            return 2;
        uint64_t from = number / MESSAGES;
        if (from >= PRODUCERS || atomic_fetch_add(&board->seen[number], 1) != 0)
            return 3;
        if (last[from] != UINT64_MAX && last[from] >= number)
            return 4; /* one producer's messages overtook each other */
        last[from] = number;
        atomic_fetch_add(&board->sum_got, number * (length | 1));
        if (atomic_fetch_add(&board->got, 1) + 1 == PRODUCERS * (MESSAGES / 8))
            amp_ring_close(q, AMP_RING_NO_PUTS);
    }
}

static void
test_many(const char *under, uint32_t limit, uint32_t segments)
{
    memset(board, 0, sizeof *board);
    uint64_t used = amp_arena_used();
    struct amp_cell *q = queue(limit, segments);
    is(tap_together(2 * PRODUCERS, produce_or_consume), 0,
       "%s: messages of many to many arrive once, whole, and in their senders' order", under);
    ok(board->got == board->put && board->put == PRODUCERS * (MESSAGES / 8), "%s: all of them",
       under);
    is(board->sum_got, board->sum_put, "%s: by their sums", under);
    tap_unhold(q);
    is(amp_arena_used(), used, "%s: and all memory comes back", under);
}

static int
sleepless(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    sched_yield();
    return 0;
}

static void
test_kinds_of_queues(void)
{
    test_many("unbounded", 0, 0);
    test_many("bounded to 5", 5, 0);
    test_many("bounded to 1", 1, 0);
    test_many("in two segments", 0, 2);
    amp_futex.wait = sleepless;
    test_many("waits that return at once", 3, 0);
    amp_futex = kernel;
    if (tap_forks()) {
        tap_without_slices();
        test_many("sleeps without slices", 3, 0);
        tap_with_slices();
    }
}

static int
do_tasks(int index)
{
    struct amp_cell *q = shared();
    struct amp_what what = {.kind = AMP_QUEUE};
    uint64_t number;
    if (index == 0) {
        for (int i = 0; i < 500; i++)
            queue_put(q, 1, 8, AMP_FOREVER);
        int result = amp_ring_join(q, amp_now() + TAP_PATIENCE, &what);
        int done = atomic_load(&board->started[0]);
        amp_ring_close(q, AMP_RING_NO_PUTS);
        return result != 0 || done != 500;
    }
    while (queue_get(q, &number, AMP_FOREVER) == 0) {
        atomic_fetch_add(&board->started[0], 1);
        if (amp_ring_task_done(q) != 0)
            return 1;
    }
    return 0;
}

static void
test_many_tasks(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *q = queue(0, 0);
    is(tap_together(6, do_tasks), 0, "who joins is let go when all tasks are done, not before");
    tap_unhold(q);
}

/*
 * Waiting, without slices, and deaths.
 */

static int
get_and_tell(void *argument)
{
    int i = *(int *) argument;
    uint64_t number = 0;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = queue_get(shared(), &number, AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? (int) number : result);
    return 0;
}

static int
put_and_tell(void *argument)
{
    int i = *(int *) argument;
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = queue_put(shared(), (uint64_t) (1000 + i), 8, AMP_FOREVER);
    atomic_store(&board->result[i], result == 0 ? 1000 + i : result);
    return 0;
}

static int
join_and_tell(void *argument)
{
    int i = *(int *) argument;
    struct amp_what what = {.kind = AMP_QUEUE};
    tap_without_slices();
    atomic_store(&board->started[i], 1);
    int result = amp_ring_join(shared(), AMP_FOREVER, &what);
    atomic_store(&board->result[i], result == 0 ? 1000 : result);
    return 0;
}

static struct amp_child
asleep(int (*function)(void *), int i)
{
    struct amp_child child = tap_child(function, &i);
    tap_sleeps(&child, &board->started[i]);
    return child;
}

static void
test_wakes(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *q = queue(2, 0);
    uint64_t number;
    struct amp_child child = asleep(get_and_tell, 0);
    queue_put(q, 7, 8, AMP_AT_ONCE);
    ok(tap_until(board->result[0] == 7), "a put wakes who waits for a message");
    tap_join(&child);

    queue_put(q, 1, 8, AMP_AT_ONCE);
    queue_put(q, 2, 8, AMP_AT_ONCE);
    child = asleep(put_and_tell, 1);
    queue_get(q, &number, AMP_AT_ONCE);
    ok(tap_until(board->result[1] == 1001), "a get wakes who waits for room");
    tap_join(&child);

    struct amp_child putters[3], getters[3];
    for (int i = 0; i < 3; i++)
        putters[i] = asleep(put_and_tell, 2 + i);
    amp_ring_close(q, AMP_RING_NO_PUTS);
    int told = 0;
    for (int i = 0; i < 3; i++)
        told += tap_join(&putters[i]) == 0 && board->result[2 + i] == -EPIPE;
    is(told, 3, "a close is told to all who wait for room");
    tap_unhold(q);

    q = queue(0, 0);
    for (int i = 0; i < 3; i++)
        getters[i] = asleep(get_and_tell, 5 + i);
    amp_ring_close(q, AMP_RING_NO_PUTS);
    told = 0;
    for (int i = 0; i < 3; i++)
        told += tap_join(&getters[i]) == 0 && board->result[5 + i] == -EPIPE;
    is(told, 3, "and to all who wait for messages");
    tap_unhold(q);

    q = queue(0, 0);
    for (int i = 0; i < 3; i++) {
        queue_put(q, 1, 8, AMP_AT_ONCE);
        queue_get(q, &number, AMP_AT_ONCE);
    }
    for (int i = 0; i < 2; i++)
        getters[i] = asleep(join_and_tell, 10 + i);
    amp_ring_task_done(q);
    amp_ring_task_done(q);
    is(board->result[10], 0, "tasks that are done wake nobody");
    amp_ring_task_done(q);
    ok(tap_until(board->result[10] == 1000 && board->result[11] == 1000),
       "the last one wakes all who join");
    tap_join(&getters[0]);
    tap_join(&getters[1]);
    tap_unhold(q);
}

static int
stop_myself(void *argument)
{
    int i = *(int *) argument;
    uint64_t number;
    atomic_store(&board->started[i], 1);
    queue_get(shared(), &number, AMP_FOREVER);
    return 0;
}

/* A consumer that is awake for a message lets those who sleep sleep on. */
static void
test_watcher(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *q = queue(0, 0);
    uint64_t number;
    struct amp_child child = asleep(get_and_tell, 0);
    atomic_store(&q->q_watched, 1);
    queue_put(q, 1, 8, AMP_AT_ONCE);
    ok(atomic_load(&q->q_published) & AMP_SLEEPER, "a message for a watcher wakes nobody else");
    is(queue_get(q, &number, AMP_AT_ONCE), 0, "and the watcher takes it");
    queue_put(q, 2, 8, AMP_AT_ONCE);
    ok(tap_until(board->result[0] == 2), "the next one has no watcher, and wakes who sleeps");
    tap_join(&child);

    child = asleep(get_and_tell, 1);
    atomic_store(&q->q_watched, 0);
    queue_put(q, 3, 8, AMP_AT_ONCE);
    ok(tap_until(board->result[1] == 3), "a watcher that gave up is not relied on");
    tap_join(&child);

    int two = 2;
    child = tap_child(stop_myself, &two);
    tap_sleeps(&child, &board->started[2]);
    atomic_store(&q->q_watched, 3 << 1 | 1);
    queue_put(q, 4, 8, AMP_AT_ONCE);
    is(tap_join(&child), 0, "a message that was left to a dead watcher is found all the same");
    tap_unhold(q);
}

/* Of a large message only the room matters here. */
static int
put_room(struct amp_cell *q, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    unsigned char *where;
    int result = amp_ring_reserve(q, 4 << 20, NULL, 0, deadline, &what, &where);
    if (result == 0)
        amp_ring_publish(q);
    return result;
}

static void
take_room(struct amp_cell *q)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    is(amp_ring_take(q, AMP_AT_ONCE, &what, &message), 0, "a large message is taken");
    amp_message_done(&message);
}

/* Who sleeps on a word leaves its flag there. */
static bool
has_slept(const struct amp_cell *q)
{
    return atomic_load(&q->q_taken) & AMP_SLEEPER;
}

/* A producer of large messages that is far ahead pauses once for a consumer, and puts all the same. */
static void
test_step(void)
{
    struct amp_cell *q = queue(0, 0);
    is(put_room(q, AMP_FOREVER), 0, "a large message is put");
    is(put_room(q, AMP_FOREVER), 0, "and another");
    ok(!has_slept(q), "without a pause: nobody has ever taken one");
    take_room(q);
    is(put_room(q, AMP_AT_ONCE), 0, "a third, at once");
    ok(!has_slept(q), "without sleep");
    take_room(q);
    is(put_room(q, AMP_FOREVER), 0, "a fourth");
    ok(has_slept(q), "after a pause for the consumer that took two");
    is(amp_ring_size(q), 2, "which was in vain");
    take_room(q);
    take_room(q);
    ok(!has_slept(q), "a consumer finds the flag");
    is(put_room(q, AMP_FOREVER), 0, "a fifth");
    ok(!has_slept(q), "without a pause: the queue was empty");
    amp_ring_close(q, AMP_RING_NO_PUTS);
    is(put_room(q, AMP_FOREVER), -EPIPE, "and into a closed queue none");
    ok(!has_slept(q), "at once");
    tap_unhold(q);
}

/* One thread puts and takes in turn: nobody takes while it pauses, and it hardly ever does. */
static void
test_step_alone(void)
{
    struct amp_cell *q = queue(0, 0);
    int pauses = 0;
    for (int i = 0; i < 4; i++)
        put_room(q, AMP_AT_ONCE);
    for (int i = 0; i < 120; i++) {
        take_room(q);
        put_room(q, AMP_FOREVER);
        pauses += has_slept(q);
    }
    ok(pauses > 0 && pauses < 10, "who puts and takes in turn pauses %d times of 120", pauses);
    tap_unhold(q);
}

/* The one that sleeps is stopped, as by a debugger; another waits behind it. */
static void
test_stopped_sleeper(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *q = queue(0, 0);
    int zero = 0, one = 1;
    struct amp_child stopped = tap_child(stop_myself, &zero);
    tap_sleeps(&stopped, &board->started[0]);
    kill(stopped.pid, SIGSTOP);
    tap_need(tap_until(tap_state(stopped.pid) == 'T'));
    struct amp_child child = tap_child(stop_myself, &one);
    tap_sleeps(&child, &board->started[1]);
    queue_put(q, 1, 8, AMP_AT_ONCE);
    is(tap_join(&child), 0, "a sleeper that is stopped keeps nobody from a message for long");
    tap_kill(&stopped);
    amp_roster_sweep();
    tap_unhold(q);
}

static int
die_with_lock(void *argument)
{
    int which = *(int *) argument;
    struct amp_cell *q = shared();
    struct amp_what what = {.kind = AMP_QUEUE};
    unsigned char *where;
    if (which == 0) { /* a producer, with its message half written into a new segment */
        if (amp_ring_reserve(q, 100000, NULL, 0, AMP_AT_ONCE, &what, &where) != 0)
            return 1;
        memset(where, 0xee, 50000);
    } else {
        amp_lock_enter(which == 1 ? &q->c_lock1 : which == 2 ? &q->c_lock2 : &q->c_lock3);
    }
    raise(SIGKILL);
    return 0;
}

static void
test_deaths(void)
{
    memset(board, 0, sizeof *board);
    struct amp_cell *q = queue(0, 0);
    uint64_t number, used = 0;
    bool right = true;
    for (uint64_t i = 0; i < 3; i++)
        queue_put(q, i, 10000, AMP_AT_ONCE);
    for (int which = 0; which < 4; which++) {
        struct amp_child child = tap_child(die_with_lock, &which);
        right = right && tap_join(&child) == -SIGKILL;
        queue_put(q, 3 + (uint64_t) which, 10000, AMP_AT_ONCE);
        if (which == 0)
            used = amp_arena_used();
    }
    for (uint64_t i = 0; i < 7; i++)
        right = right && queue_get(q, &number, AMP_AT_ONCE) == 0 && number == i;
    ok(right, "a queue works on, whichever of its locks somebody died with");
    for (int i = 0; i < 20; i++) {
        int producer = 0;
        struct amp_child child = tap_child(die_with_lock, &producer);
        tap_join(&child);
    }
    queue_put(q, 1, 10000, AMP_AT_ONCE);
    ok(amp_arena_used() <= used + (1 << 20), "what dead producers had taken is taken back");
    tap_unhold(q);

    memset(board, 0, sizeof *board);
    q = queue(0, 0);
    struct amp_child child[6];
    for (int i = 0; i < 6; i++)
        child[i] = asleep(get_and_tell, i);
    tap_kill(&child[0]);
    tap_kill(&child[1]);
    for (int i = 0; i < 4; i++)
        queue_put(q, (uint64_t) (i + 10), 8, AMP_AT_ONCE);
    int failed = 0;
    for (int i = 2; i < 6; i++)
        failed += tap_join(&child[i]) != 0 || board->result[i] < 10;
    is(failed, 0, "consumers that are killed while they sleep take no message with them");
    tap_unhold(q);

    memset(board, 0, sizeof *board);
    q = queue(1, 0);
    queue_put(q, 1, 8, AMP_AT_ONCE);
    for (int i = 0; i < 6; i++)
        child[i] = asleep(put_and_tell, i);
    tap_kill(&child[0]);
    tap_kill(&child[1]);
    failed = 0;
    for (int i = 0; i < 5; i++)
        failed += queue_get(q, &number, amp_now() + TAP_PATIENCE) != 0;
    for (int i = 2; i < 6; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "nor do killed producers keep the room from others");
    tap_unhold(q);
    amp_roster_sweep();
}

/* A reader dies with a message that it reads in place: its segment is used again. */
static int
read_in_place_and_die(void *argument)
{
    (void) argument;
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message message;
    if (amp_ring_take(shared(), AMP_AT_ONCE, &what, &message) != 0 || !message.pinned)
        return 1;
    raise(SIGKILL);
    return 0;
}

static void
test_death_of_reader(void)
{
    uint64_t used = amp_arena_used();
    struct amp_cell *q = queue(0, 0);
    uint64_t number;
    for (int round = 0; round < 10; round++) {
        queue_put(q, 1, 1 << 20, AMP_AT_ONCE);
        struct amp_child child = tap_child(read_in_place_and_die, NULL);
        tap_join(&child);
        queue_put(q, 2, 1 << 20, AMP_AT_ONCE);
        queue_get(q, &number, AMP_AT_ONCE);
    }
    ok(amp_arena_used() - used <= 5 << 20, "what dead readers were reading is used again");
    tap_unhold(q);
    is(amp_arena_used(), used, "and comes back");
}

/*
 * Deaths at random. Producers put numbers of their own in a row, consumers note each number they
 * got. A producer that is killed has put all up to some number; one that a killed consumer had
 * just taken is lost with it. Producers rest now and then, so that their numbers are enough; and where
 * the queue is long, for consumers that get no processor must not let it fill all memory.
 */

#define NUMBER_BITS 20 /* of one producer's numbers */

static int
produce_for_ever(void *argument)
{
    int index = *(int *) argument;
    tap_without_slices();
    struct amp_cell *q = shared();
    for (uint64_t i = (uint64_t) atomic_load(&board->started[index]);; i++) {
        bool rests = i % 64 == 0;
        while (!atomic_load(&board->stop) && (rests || amp_ring_size(q) > 1000)) {
            tap_nap();
            rests = false;
        }
        if (atomic_load(&board->stop) || i >> NUMBER_BITS != 0)
            return 0;
        uint64_t number = (uint64_t) index << NUMBER_BITS | i;
        size_t length = i % 5 == 0 ? 6000 : 40;
        if (queue_put(q, number, length, AMP_FOREVER) != 0)
            return 1;
        /* The next of us begins behind the last one that was put, or puts that one again. */
        atomic_store(&board->started[index], (int) i + 1);
    }
}

static int
consume_for_ever(void *argument)
{
    (void) argument;
    tap_without_slices();
    struct amp_cell *q = shared();
    for (;;) {
        uint64_t number;
        int result = queue_get(q, &number, AMP_FOREVER);
        if (result == -EPIPE)
            return 0;
        if (result != 0)
            return 1;
        atomic_fetch_add(&board->seen[number], 1);
        atomic_fetch_add(&board->got, 1);
    }
}

static void
test_deaths_at_random(uint32_t limit)
{
    enum { N = 3, DEATHS = 90 };
    memset(board, 0, sizeof *board);
    uint64_t used = amp_arena_used();
    struct amp_cell *q = queue(limit, 0);
    struct amp_child producer[N], consumer[N];
    for (int i = 0; i < N; i++) {
        producer[i] = tap_child(produce_for_ever, &i);
        consumer[i] = tap_child(consume_for_ever, NULL);
    }
    bool alive = true;
    for (int k = 0; k < DEATHS && alive; k++) {
        int i = k / 2 % N;
        struct amp_child *victim = k % 2 ? &producer[i] : &consumer[i];
        tap_nap();
        tap_kill(victim);
        amp_roster_sweep();
        *victim = k % 2 ? tap_child(produce_for_ever, &i) : tap_child(consume_for_ever, NULL);
        uint64_t before = atomic_load(&board->got);
        alive = tap_until(atomic_load(&board->got) > before + 2);
    }
    ok(alive, "limit %u: messages flow on whoever is killed", limit);
    atomic_store(&board->stop, 1);
    int failed = 0;
    for (int i = 0; i < N; i++)
        failed += tap_join(&producer[i]) != 0;
    amp_ring_close(q, AMP_RING_NO_PUTS);
    for (int i = 0; i < N; i++)
        failed += tap_join(&consumer[i]) != 0;
    is(failed, 0, "limit %u: none arrives torn", limit);
    int lost = 0, doubled = 0;
    for (int i = 0; i < N; i++) {
        int n = atomic_load(&board->started[i]);
        for (int k = 0; k < n; k++) {
            int seen = board->seen[i << NUMBER_BITS | k];
            lost += seen == 0;
            doubled += seen > 1;
        }
    }
    ok(lost <= DEATHS / 2, "limit %u: a killed consumer takes one message with it at most", limit);
    ok(doubled <= DEATHS / 2,
       "limit %u: a killed producer's last is there once, or again from its heir",
       limit);
    diag("%llu messages, %d lost with %d consumers, %d put again after %d producers",
         (unsigned long long) board->got, lost, DEATHS / 2, doubled, DEATHS / 2);
    tap_unhold(q);
    is(amp_arena_used(), used, "limit %u: all memory comes back", limit);
}

static void
handler(int signal)
{
    (void) signal;
    amp_signal_arrived();
}

static void
test_signal(void)
{
    struct sigaction action = {.sa_handler = handler};
    struct itimerval timer = {.it_value = {.tv_usec = 20000}};
    struct amp_cell *q = queue(1, 0);
    uint64_t number;
    sigaction(SIGALRM, &action, NULL);
    tap_without_slices();
    setitimer(ITIMER_REAL, &timer, NULL);
    is(queue_get(q, &number, AMP_FOREVER), -EINTR, "a signal ends the wait for a message");
    amp_self.signalled = 0;
    queue_put(q, 1, 8, AMP_AT_ONCE);
    setitimer(ITIMER_REAL, &timer, NULL);
    is(queue_put(q, 2, 8, AMP_FOREVER), -EINTR, "and the one for room");
    amp_self.signalled = 0;
    tap_with_slices();
    is(amp_ring_size(q), 1, "with nothing put or taken");
    tap_unhold(q);
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_order();
    test_lengths();
    test_limit();
    test_batches();
    test_segments();
    test_reading();
    test_step();
    test_step_alone();
    test_close();
    test_prepare_wait();
    test_tasks();
    test_leases();
    test_kinds_of_queues();
    test_many_tasks();
    if (tap_forks()) {
        test_wakes();
        test_stopped_sleeper();
        test_watcher();
        test_deaths();
        test_death_of_reader();
        test_deaths_at_random(0);
        test_deaths_at_random(4);
        test_signal();
    }
    tap_is_settled(before, "nothing is left behind");
    test_largest();
    return tap_done();
}
