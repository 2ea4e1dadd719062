/*
 * The squares of N numbers by two workers: pool_map N [CHUNK [SECONDS]] prints how many are made in a
 * second. A ring has the tasks, each a chunk of numbers, and another one the results. Without CHUNK,
 * or with 0, there are four chunks a worker, as luamp and Python have by default. With SECONDS, each
 * number takes a worker so long, and what is printed is the share that the perfect time is of the
 * time that it took.
 */
#include "ring.h"

#define WORKERS 2
#define CHUNK_MAX (RING_MESSAGE_MAX / sizeof(int64_t) - 1)

struct chunk {
    int64_t first;                /* place of the first in the list; negative: there are no more */
    int64_t numbers[CHUNK_MAX];
};

static struct chunk chunk;
static double task_seconds;

static uint32_t
chunk_size(long n)
{
    return (uint32_t) ((size_t) (n + 1) * sizeof(int64_t));
}

static int64_t
square(int64_t x)
{
    if (task_seconds > 0) {
        double till = seconds_now() + task_seconds;
        while (seconds_now() < till)
            continue;
    }
    return x * x;
}

static void
work(struct ring *tasks, struct ring *results)
{
    for (;;) {
        uint32_t size = ring_get(tasks, &chunk);
        if (chunk.first < 0)
            _exit(0);
        long n = (long) (size / sizeof(int64_t)) - 1;
        for (long i = 0; i < n; i++)
            chunk.numbers[i] = square(chunk.numbers[i]);
        ring_put(results, &chunk, size);
    }
}

static long
collect(struct ring *results, int64_t *squares)
{
    uint32_t size = ring_get(results, &chunk);
    memcpy(squares + chunk.first, chunk.numbers, size - sizeof(int64_t));
    return (long) (size / sizeof(int64_t)) - 1;
}

static void
map(struct ring *tasks, struct ring *results, const int64_t *list, int64_t *squares, long n,
    long each)
{
    /* No more under way than either ring has room for: so none waits for ever. */
    long under_way_max = (long) (RING_CAPACITY / ring_message_size(chunk_size(each)));
    long sent = 0, received = 0, under_way = 0;
    while (received < n) {
        if (sent < n && under_way < under_way_max) {
            long m = n - sent < each ? n - sent : each;
            chunk.first = sent;
            memcpy(chunk.numbers, list + sent, (size_t) m * sizeof *list);
            ring_put(tasks, &chunk, chunk_size(m));
            sent += m;
            under_way++;
        } else {
            received += collect(results, squares);
            under_way--;
        }
    }
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 10000);
    long each = count_argument(argc, argv, 2, 0);
    task_seconds = argc > 3 ? strtod(argv[3], NULL) : 0;
    if (each == 0)
        each = (n + 4 * WORKERS - 1) / (4 * WORKERS);
    if (each > (long) CHUNK_MAX)
        each = (long) CHUNK_MAX;
    int64_t *list = calloc((size_t) n, sizeof *list), *squares = calloc((size_t) n, sizeof *list);
    if (list == NULL || squares == NULL)
        fail("calloc");
    for (long i = 0; i < n; i++)
        list[i] = i;
    struct ring *tasks = make_ring(), *results = make_ring();
    pid_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork_or_fail();
        if (workers[i] == 0)
            work(tasks, results);
    }
    map(tasks, results, list, squares, n < 4 ? n : 4, 1); /* the workers are there */
    double from = seconds_now();
    map(tasks, results, list, squares, n, each);
    if (task_seconds > 0)
        printf("%.4f\n", (double) n * task_seconds / WORKERS / (seconds_now() - from));
    else
        print_per_second(from, n);
    chunk.first = -1;
    for (int i = 0; i < WORKERS; i++)
        ring_put(tasks, &chunk, chunk_size(0));
    for (int i = 0; i < WORKERS; i++)
        join_child(workers[i]);
    return squares[n - 1] == (n - 1) * (n - 1) ? 0 : 1;
}
